"""Pending samples, compared with River's progressive validation and with a plain dict."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random

import numpy as np
import pytest
from helpers import (
    CASE_FACTOR,
    capture_state,
    encode_npy,
    forge_archive,
    read_contents,
    read_members,
    write_jsonl,
    write_parquet,
)
from late_labels import (
    LateLabelOracle,
    draw_rows,
    draw_rows_for_format,
    draw_sparse_samples,
    draw_timing,
    draw_valid_rows,
    simulate_with_river,
    write_rows,
)
from river import datasets, preprocessing

from stream_perceptron import DivergedError, LiveModel, SampleError, SGDPerceptron
from stream_perceptron.checkpoint.codec import to_json
from stream_perceptron.data import open_source
from stream_perceptron.data.sampling import RandomDraws
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.errors import CheckpointError, StreamPerceptronError, VerificationError
from stream_perceptron.verification import verify


def start_model(path, lr=0.1, join="id", **read_options):
    """Start a model for a file with late labels."""
    return LiveModel.start(
        [open_source(str(path))], ReadOptions(join=join, **read_options), lr=lr, seed=0
    )


def learn_from_cursor(live, path, **options):
    """Learn a file from the model's cursor on; return the results."""
    sources = [open_source(str(path))]
    return list(live.run(sources, live.resume(sources), **options))


def collect_predictions(results):
    """Return the predictions by row."""
    return {
        row: predicted
        for result in results
        for row, predicted in zip(result.rows.tolist(), result.predictions, strict=True)
    }


def collect_rejections(results):
    """Return the rejected rows with reasons."""
    return [
        (rejection.row, rejection.reason) for result in results for rejection in result.rejected
    ]


def save_to_bytes(live, folder):
    """Save a model; return the contents of its checkpoint."""
    live.save(folder / "saved.npz")
    return read_contents(folder / "saved.npz")


def snapshot_state(live):
    """Return all state that a rejected row must not change."""
    progress = live.progress
    arrays = {name: array.tobytes() for name, array in progress.arrays.items()}
    pending = list(live.pending.samples), live.pending.n_evicted
    return capture_state(live.model), pending, to_json(progress), arrays, live.schema


def load_samples(seed, n=300):
    """Return a few hundred samples, and the formats that can hold them."""
    if seed % 3 == 2:
        return draw_sparse_samples(seed, n), ("json",)
    dataset = (datasets.ImageSegments, datasets.Phishing)[seed % 3]()
    samples = [({name: float(v) for name, v in x.items()}, y) for x, y in dataset.take(n + seed)]
    return samples[seed:], ("json", "csv", "parquet")


def require_same_results_as_river(live, results, model, metric, expected, tolerance=0.0):
    """Check that results equal those of River: bit by bit, or within a tolerance."""
    predictions, progress, names = collect_predictions(results), live.progress, model.classes_
    assert {row: predictions[row] for row in expected} == expected
    assert live.model.classes_ == names
    assert sorted(live.model.features_) == sorted(model.features_)
    feature_ids = [live.model.features_.index(name) for name in model.features_]
    for ours, theirs in (
        (live.model.weights[:, feature_ids], model.weights),
        (live.model.biases, model.biases),
    ):
        if tolerance:
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
        else:
            assert ours.tobytes() == theirs.tobytes()
    assert metric.get() == progress.accuracy
    matrix = [[metric.cm[a][b] for b in names] for a in names]
    assert matrix == progress.confusion.matrix(range(len(names))).tolist()
    n = len(expected)
    assert (
        progress.samples, progress.unlabeled, progress.skipped, progress.rows
    ) == (n, n, 0, 2 * n)  # fmt: skip
    assert (live.pending.samples, live.pending.n_evicted) == ({}, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_late_labels_match_river_progressive_validation(seed, tmp_path):
    samples, forms = load_samples(seed)
    for standardize in (False, True):
        model = SGDPerceptron(lr=0.1 if standardize else 0.01, seed=0)
        whole = preprocessing.StandardScaler() | model if standardize else model
        metric, rows, expected = simulate_with_river(
            samples, draw_timing(seed, len(samples)), whole
        )
        for form in forms:
            path = write_rows(tmp_path / form, form, rows, tuple(samples[0][0]))
            live = start_model(path, model.lr, standardize=standardize)
            results = learn_from_cursor(live, path, every=1 + 37 * (seed % 2))
            tolerance = 1e-12 if standardize else 0.0
            require_same_results_as_river(live, results, model, metric, expected, tolerance)


@pytest.mark.parametrize("seed", range(4))
def test_sample_weight_is_read_from_the_row_with_the_features(seed, tmp_path):
    rng = random.Random(seed)
    samples = [
        (x, y, {"w": rng.choice([0.5, 1.0, 3.0])}) for x, y in draw_sparse_samples(seed, 200)
    ]
    model = SGDPerceptron(lr=0.5, seed=0)
    metric, rows, expected = simulate_with_river(samples, draw_timing(seed, len(samples)), model)
    path = write_jsonl(tmp_path / "s.jsonl", rows)
    live = start_model(path, 0.5, weight="w")
    require_same_results_as_river(live, learn_from_cursor(live, path), model, metric, expected)


@pytest.mark.parametrize("max_pending", range(1, 21))
def test_pending_samples_match_a_plain_dict(max_pending, tmp_path):
    """Some rows are invalid, and few samples may be pending, so that some are evicted."""
    rows = draw_rows(max_pending, 600, 4 + 2 * max_pending)
    plain = LateLabelOracle(SGDPerceptron(lr=0.1, seed=0), max_pending)
    for number, row in enumerate(rows, 1):
        plain.process_row(number, row)
    path = write_jsonl(tmp_path / "s.jsonl", rows)
    live = start_model(path, max_pending=max_pending)
    results = learn_from_cursor(
        live, path, skip_rejected=True, every=random.Random(max_pending).randrange(1, 60)
    )
    predictions, progress = collect_predictions(results), live.progress

    assert plain.rejected == [row for row, _ in collect_rejections(results)]
    assert {row: predictions[row] for row in plain.predicted} == plain.predicted
    assert list(live.pending.samples) == list(plain.samples)
    assert live.pending.n_evicted == plain.n_evicted
    assert plain.n_evicted > 0
    assert capture_state(live.model) == capture_state(plain.model)
    assert plain.accuracy == progress.accuracy
    n_unlabeled = sum(1 for number in plain.predicted if rows[number - 1].get("label") is None)
    assert (len(plain.tested), n_unlabeled, len(plain.rejected)) == (
        progress.samples, progress.unlabeled, progress.skipped
    )  # fmt: skip
    assert len(rows) == progress.rows


def learn_in_parts(live, path, split_points, folder, rng):
    """Learn a file in runs that each continue with a saved, copied or pickled model."""
    results = []
    for limit in [*sorted(split_points), None]:
        method = rng.choice(["load", "load", "copy", "pickle"])
        if method == "copy":
            live = copy.deepcopy(live)
        elif method == "pickle":
            live = pickle.loads(pickle.dumps(live))
        elif live.progress.rows:
            live.save(folder / "part.npz")
            live = LiveModel.load(folder / "part.npz")
        results += learn_from_cursor(live, path, skip_rejected=True, limit=limit)
    return live, results


FORMS = (
    "csv", "json", "json nested", "parquet", "arrow", "json lists", "parquet lists", "arrow lists"
)  # fmt: skip


def require_identical_runs(form, seed, n, folder):
    """Learn a file in several ways; check that the results are identical, and return the model."""
    rows, names = draw_rows_for_format(form, seed, n)
    path, rng = write_rows(folder / "source", form, rows, names), random.Random(seed)
    read_options = {"max_pending": 2 + seed % 4}
    if not form.endswith("lists"):
        read_options |= {"standardize": seed % 6 > 2, "one_hot": ("colour",) * (seed % 3 > 0)}
    random_stops = {*rng.sample(range(1, 12), 4), *rng.sample(range(12, len(rows)), 4)}
    stops_at_every_row = range(1, min(len(rows), 60))
    run_options = {}, {"n_single_rows": 10**9}, {"every": rng.randrange(1, 50)}
    outcomes = []
    for options_or_stops in (*run_options, random_stops, stops_at_every_row):
        live = start_model(path, **read_options)
        if isinstance(options_or_stops, dict):
            results = learn_from_cursor(live, path, skip_rejected=True, **options_or_stops)
        else:
            live, results = learn_in_parts(live, path, options_or_stops, folder, rng)
        outcome = collect_predictions(results), collect_rejections(results), snapshot_state(live)
        outcomes.append((*outcome, save_to_bytes(live, folder)))
        verify(live, [open_source(str(path))])
    rejections = outcomes[0][1]
    assert rejections
    for other in outcomes[1:]:
        assert outcomes[0] == other
    return live


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("form", FORMS)
def test_splitting_runs_does_not_change_results(form, seed, tmp_path):
    live = require_identical_runs(form, seed, 400, tmp_path)
    assert live.pending.samples
    assert live.pending.n_evicted
    assert live.progress.samples > 20


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_splitting_short_streams_at_every_row_does_not_change_results(form, tmp_path):
    for seed in range(10, 10 + 3 * CASE_FACTOR):
        require_identical_runs(form, seed, 40, tmp_path)


ROWS_BEFORE = [
    {"id": 1, "a": 1.0, "b": 2.0},
    {"id": 2, "a": -1.0, "b": 0.5},
    {"id": 2, "label": "left"},
    {"id": 3, "a": 2.0, "b": 1.0, "label": "right"},
    {"id": 4, "a": 0.5, "b": 0.25},
]
ROWS_AFTER = [{"id": 4, "label": "left"}, {"id": 2, "a": 3.0}, {"id": 1, "label": "right"}]
REJECTED_ROWS = {
    "features twice": ({"id": 1, "a": 3.0}, "'1'.* already pending"),
    "features and a label": ({"id": 4, "a": 3.0, "label": "left"}, "'4'.* already pending"),
    "no ID": ({"a": 3.0}, "'id'"),
    "null ID": ({"id": None, "label": "left"}, "'id'"),
    "label of an unknown sample": ({"id": 9, "label": "left"}, "'9'.* is pending"),
    "second label": ({"id": 2, "label": "left"}, "'2'.* is pending"),
    "label of a labeled sample": ({"id": 3, "label": "right"}, "'3'.* is pending"),
    "neither features nor label, pending ID": ({"id": 1}, "neither"),
    "neither features nor label, unknown ID": ({"id": 9, "a": None}, "neither"),
}


@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
@pytest.mark.parametrize("name", REJECTED_ROWS)
def test_rejected_row_ends_the_run_and_changes_nothing(name, form, tmp_path):
    rejected_row, pattern = REJECTED_ROWS[name]
    path = write_rows(tmp_path / form, form, [*ROWS_BEFORE, rejected_row, *ROWS_AFTER], ("a", "b"))
    before, live, whole = start_model(path), start_model(path), start_model(path)
    learn_from_cursor(before, path, limit=len(ROWS_BEFORE))
    with pytest.raises(SampleError, match=f"^{path}: row 6: .*{pattern}") as caught:
        learn_from_cursor(live, path)
    assert "\n" not in str(caught.value)
    assert snapshot_state(live) == snapshot_state(before)
    assert list(live.pending.samples) == ["1", "4"]

    # The run can be resumed.
    learn_from_cursor(live, path, skip_rejected=True)
    ((row, reason),) = collect_rejections(learn_from_cursor(whole, path, skip_rejected=True))
    assert str(caught.value) == f"{path}: row {row}: {reason}"
    assert save_to_bytes(live, tmp_path) == save_to_bytes(whole, tmp_path)
    assert list(live.pending.samples) == ["2"]
    assert (whole.progress.samples, whole.progress.unlabeled, whole.progress.skipped) == (4, 4, 1)


def test_empty_text_is_not_an_id(tmp_path):
    path = write_jsonl(tmp_path / "s.jsonl", [*ROWS_BEFORE, {"id": "", "a": 1.0}])
    with pytest.raises(SampleError, match="row 6: .*'id'"):
        learn_from_cursor(start_model(path), path)


def test_ids_are_compared_as_texts(tmp_path):
    """IDs may be integers in a table, and numbers or texts in JSON."""
    columns = {"id": [17, 18, 19], "a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0]}
    table = write_parquet(tmp_path / "s.parquet", columns)
    labels = [{"id": "17", "label": "x"}, {"id": 18, "label": "y"}]
    sources = [open_source(str(p)) for p in (table, write_jsonl(tmp_path / "s.jsonl", labels))]
    live = LiveModel.start(sources, ReadOptions(join="id"), seed=0)
    list(live.run(sources, live.resume(sources)))

    assert (live.progress.samples, list(live.pending.samples)) == (2, ["19"])
    assert live.model.features_ == ["a", "b"]
    assert all(isinstance(key, str) for key in live.pending.samples)


def test_sample_that_would_diverge_stays_pending(tmp_path):
    rows = [{"id": i, "a": 1.0, "label": "x" if i % 2 else "y"} for i in range(9)]
    rows += [{"id": "far", "a": 1e200}, {"id": "near", "a": 1.0}, {"id": "near", "label": "x"}]
    path = write_jsonl(tmp_path / "s.jsonl", [*rows, {"id": "far", "label": "x"}])
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, ReadOptions(join="id"), activation="identity", seed=0)
    with pytest.raises(DivergedError, match="row 13: diverged at sample 11"):
        list(live.run(sources))

    assert (live.progress.samples, list(live.pending.samples)) == (10, ["far"])
    assert np.isfinite(live.model.weights).all()


@pytest.mark.parametrize("setting", ["epochs", "stop", "draws"])
def test_join_is_an_error_with_epochs_stop_or_random_draws(setting, tmp_path):
    path = write_jsonl(tmp_path / "s.jsonl", draw_valid_rows(0, 50))
    live, sources = start_model(path), [open_source(str(path))]
    before = snapshot_state(live)
    if setting == "draws":
        sources = [RandomDraws(sources, 0)]
    with pytest.raises(ValueError, match="late labels need a single pass in order"):
        list(
            live.run(sources, **{"epochs": {"epochs": 2}, "stop": {"stop": True}}.get(setting, {}))
        )
    assert snapshot_state(live) == before


@pytest.mark.parametrize("change", ["one evicted", "one fewer", "one more"])
def test_verify_checks_pending_samples(change, tmp_path):
    path = write_jsonl(tmp_path / "s.jsonl", draw_rows(0, 300))
    live, sources = start_model(path, max_pending=5), [open_source(str(path))]
    learn_from_cursor(live, path, skip_rejected=True)
    verify(live, sources)
    samples = live.pending.samples
    if change == "one evicted":
        live.pending.n_evicted += 1
    elif change == "one fewer":
        del samples[next(iter(samples))]
    else:
        samples["other"] = next(iter(samples.values()))
    with pytest.raises(VerificationError):
        verify(live, sources)


def forge_pending_samples(parts, rng):
    """Return the members of a checkpoint with a random change to its pending samples."""
    parts, meta = dict(parts), json.loads(parts["meta.json"])
    if rng.random() < 0.4:
        pending_fields = meta["run"]["waiting"]
        key = rng.choice(sorted(pending_fields))
        value = pending_fields[key]
        odd_values = [-1, 10**9, 2**62, "x", None, [], {}, [1], ["x", "x"], 0.5, True]
        if isinstance(value, list):
            odd_values += 3 * [value[:-1], value[::-1], [*value, "x"], value + value]
        pending_fields[key] = rng.choice(odd_values)
        return parts | {"meta.json": json.dumps(meta).encode()}
    name = rng.choice([name for name in parts if name.startswith("waiting")])
    array = np.load(io.BytesIO(parts[name])).copy()
    method = rng.randrange(6)
    if method == 0 or not array.size:
        array = array[:-1] if array.size else np.ones(3, array.dtype)
    elif method == 1:
        array = array.astype(rng.choice([np.float32, np.int8, np.int64, np.bool_]))
    elif method == 2:
        array = np.stack([array, array])
    else:
        odd_values = [-1, 0, 1, 5, 120, 2**31 - 1]
        if array.dtype.kind == "f":
            odd_values += [np.nan, np.inf, 1e300]
        array[rng.randrange(len(array))] = np.array(rng.choice(odd_values)).astype(array.dtype)
    return parts | {name: encode_npy(array)}


@pytest.mark.parametrize("form", ["json", "csv", "parquet lists"])
def test_forged_pending_samples_are_rejected_or_usable(form, tmp_path):
    rows, names = draw_rows_for_format(form, 1)
    path = write_rows(tmp_path / "source", form, rows, names)
    one_hot = () if form.endswith("lists") else ("colour",)
    live, n_rejected, n = start_model(path, max_pending=8, one_hot=one_hot), 0, 300
    learn_from_cursor(live, path, skip_rejected=True, limit=200)
    assert live.pending.samples
    live.save(tmp_path / "m.npz")
    parts, rng, messages = read_members(tmp_path / "m.npz"), random.Random(form), []
    for _ in range(n):
        (tmp_path / "f.npz").write_bytes(forge_archive(forge_pending_samples(parts, rng).items()))
        try:
            live = LiveModel.load(tmp_path / "f.npz")
        except CheckpointError as error:
            n_rejected, messages = n_rejected + 1, [*messages, str(error)]
            continue
        assert len(live.pending.samples) <= 8
        try:
            learn_from_cursor(live, path, skip_rejected=True)
        except StreamPerceptronError as error:
            messages.append(str(error))
        live.save(tmp_path / "f.npz")
        LiveModel.load(tmp_path / "f.npz")
    assert n / 5 < n_rejected < n
    assert not any("\n" in line for line in messages)


def generate_rows_with_new_names(n, rng):
    """Yield rows that each bring new feature names; a few samples are labeled later."""
    for i in range(n):
        names = {f"w{i}_{j}": 1.0 for j in range(3)} | {f"common{rng.randrange(9)}": 2.0}
        yield {"id": i, **names}
        if rng.random() < 0.1:
            yield {"id": i - rng.randrange(20), "label": rng.choice("xy")}


def test_names_of_evicted_samples_are_dropped(tmp_path, run):
    rng, sizes = random.Random(0), []
    source, model = tmp_path / "s.jsonl", tmp_path / "m.npz"
    rows = list(generate_rows_with_new_names(12_000, rng))
    for n in (4000, 12_000):
        write_jsonl(source, rows[:n])
        limits = ["--max-pending", 10, "--max-weights", 3000]
        run("learn", source, "--join", "id", *limits, "-m", model, "--skip-bad", "--quiet")
        live = LiveModel.load(model)
        names = {name for sample in live.pending.samples.values() for name in sample.names}
        assert len(live.pending.names) < len(names) + 4 * 1000
        sizes.append(model.stat().st_size)

    assert sizes[1] < 1.5 * sizes[0]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["file", "pipe"])
def test_splitting_runs_does_not_change_when_names_are_dropped(form, tmp_path, run):
    """A text is accepted under a dropped name, but rejected under the name of a number."""
    rng = random.Random(form)
    rows = list(generate_rows_with_new_names(2500, rng))
    for i in range(200, len(rows), 7):
        names = [name for name in rows[rng.randrange(i)] if name.startswith("w")]
        rows[i] = {"id": f"t{i}", rng.choice(names or ["w0_0"]): "red", "common1": 1.0}
    lines = [json.dumps(row) + "\n" for row in rows]
    options = [
        "--join",
        "id",
        "--max-pending",
        10,
        "--skip-bad",
        "--quiet",
        "--rejected",
        "r.jsonl",
    ]
    outcomes = []
    random_split_points = sorted(rng.sample(range(1, len(lines)), 5))
    for number, split_points in enumerate([[], [999, 1000, 1001, 2000], random_split_points]):
        folder, n_rows_done = tmp_path / str(number), 0
        folder.mkdir()
        (folder / "s.jsonl").write_text("".join(lines))
        for end in [*split_points, len(lines)]:
            extra = {"input": "".join(lines[n_rows_done:end])} if form == "pipe" else {}
            source = [] if form == "pipe" else ["s.jsonl", "--limit", end]
            run("learn", *source, *options, "-m", "m.npz", cwd=folder, check=0, **extra)
            n_rows_done = end
        outcomes.append([read_contents(folder / name) for name in ("m.npz", "r.jsonl")])

    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert b"a text, but was a number before" in outcomes[0][1]
