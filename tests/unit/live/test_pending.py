"""Samples that wait for labels, compared with River's loop and with a plain dict."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random

import numpy as np
import pytest
from helpers import (
    TIMES,
    contents_of,
    forge,
    members_of,
    npy,
    state_of,
    write_lines,
    write_parquet,
)
from late_labels import (
    Plain,
    by_river,
    good_rows,
    random_rows,
    rows_for,
    sparse,
    timing,
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


def begin(path, lr=0.1, join="id", **asked):
    """Return a new model for a file with late labels."""
    return LiveModel.start([open_source(str(path))], ReadOptions(join=join, **asked), lr=lr, seed=0)


def learn(live, path, **options):
    """Learn a file from the model's cursor on; return the results."""
    sources = [open_source(str(path))]
    return list(live.run(sources, live.resume(sources), **options))


def predictions_in(results):
    """Return the predictions by row."""
    return {
        row: predicted
        for result in results
        for row, predicted in zip(result.rows.tolist(), result.predictions, strict=True)
    }


def rejected_in(results):
    """Return the rejected rows with reasons."""
    return [(each.row, each.reason) for result in results for each in result.rejected]


def bytes_of(live, folder):
    """Return the bytes of a model's checkpoint."""
    live.save(folder / "saved.npz")
    return contents_of(folder / "saved.npz")


def story_of(live):
    """Return all state that a rejected row must not change."""
    progress = live.progress
    arrays = {name: array.tobytes() for name, array in progress.arrays.items()}
    pending = list(live.pending.samples), live.pending.n_evicted
    return state_of(live.model), pending, to_json(progress), arrays, live.schema


def dataset_of(seed, n=300):
    """Return a few hundred samples, and the formats for them."""
    if seed % 3 == 2:
        return sparse(seed, n), ("json",)
    dataset = (datasets.ImageSegments, datasets.Phishing)[seed % 3]()
    samples = [({name: float(v) for name, v in x.items()}, y) for x, y in dataset.take(n + seed)]
    return samples[seed:], ("json", "csv", "parquet")


def require_as_river(live, results, model, metric, expected, exact=0.0):
    """Check the results against River's: to the bit, or within a tolerance."""
    found, progress, names = predictions_in(results), live.progress, model.classes_
    assert {row: found[row] for row in expected} == expected
    assert live.model.classes_ == names
    assert sorted(live.model.features_) == sorted(model.features_)
    places = [live.model.features_.index(name) for name in model.features_]
    for ours, theirs in (
        (live.model.weights[:, places], model.weights),
        (live.model.biases, model.biases),
    ):
        if exact:
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=exact)
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


@pytest.mark.parametrize("seed", range(20))
def test_as_rivers_progressive_validation_with_delays(seed, tmp_path):
    samples, forms = dataset_of(seed)
    for standardize in (False, True):
        model = SGDPerceptron(lr=0.1 if standardize else 0.01, seed=0)
        whole = preprocessing.StandardScaler() | model if standardize else model
        metric, rows, expected = by_river(samples, timing(seed, len(samples)), whole)
        for form in forms:
            path = write_rows(tmp_path / form, form, rows, tuple(samples[0][0]))
            live = begin(path, model.lr, standardize=standardize)
            results = learn(live, path, every=1 + 37 * (seed % 2))
            exact = 1e-12 if standardize else 0.0
            require_as_river(live, results, model, metric, expected, exact)


@pytest.mark.parametrize("seed", range(4))
def test_the_weight_of_a_sample_comes_with_its_features(seed, tmp_path):
    rng = random.Random(seed)
    samples = [(x, y, {"w": rng.choice([0.5, 1.0, 3.0])}) for x, y in sparse(seed, 200)]
    model = SGDPerceptron(lr=0.5, seed=0)
    metric, rows, expected = by_river(samples, timing(seed, len(samples)), model)
    path = write_lines(tmp_path / "s.jsonl", rows)
    live = begin(path, 0.5, weight="w")
    require_as_river(live, learn(live, path), model, metric, expected)


@pytest.mark.parametrize("most", range(1, 21))
def test_as_a_plain_dict(most, tmp_path):
    """Rows are valid and invalid, and few may wait, so that some are forgotten."""
    rows = random_rows(most, 600, 4 + 2 * most)
    plain = Plain(SGDPerceptron(lr=0.1, seed=0), most)
    for number, row in enumerate(rows, 1):
        plain.take(number, row)
    path = write_lines(tmp_path / "s.jsonl", rows)
    live = begin(path, max_pending=most)
    results = learn(live, path, skip_rejected=True, every=random.Random(most).randrange(1, 60))
    found, progress = predictions_in(results), live.progress

    assert plain.rejected == [row for row, _ in rejected_in(results)]
    assert {row: found[row] for row in plain.predicted} == plain.predicted
    assert list(live.pending.samples) == list(plain.samples)
    assert live.pending.n_evicted == plain.n_evicted
    assert plain.n_evicted > 0
    assert state_of(live.model) == state_of(plain.model)
    assert plain.accuracy == progress.accuracy
    n_asked = sum(1 for number in plain.predicted if rows[number - 1].get("label") is None)
    assert (len(plain.tested), n_asked, len(plain.rejected)) == (
        progress.samples, progress.unlabeled, progress.skipped
    )  # fmt: skip
    assert len(rows) == progress.rows


def in_parts(live, path, cuts, folder, rng):
    """Learn a file up to some rows, and continue each time with a saved or copied model."""
    results = []
    for limit in [*sorted(cuts), None]:
        how = rng.choice(["load", "load", "copy", "pickle"])
        if how == "copy":
            live = copy.deepcopy(live)
        elif how == "pickle":
            live = pickle.loads(pickle.dumps(live))
        elif live.progress.rows:
            live.save(folder / "part.npz")
            live = LiveModel.load(folder / "part.npz")
        results += learn(live, path, skip_rejected=True, limit=limit)
    return live, results


FORMS = (
    "csv", "json", "json nested", "parquet", "arrow", "json lists", "parquet lists", "arrow lists"
)  # fmt: skip


def require_alike(form, seed, n, folder):
    """Check that checkpoints, predictions and reasons are equal; return the model."""
    rows, names = rows_for(form, seed, n)
    path, rng = write_rows(folder / "source", form, rows, names), random.Random(seed)
    asked = {"max_pending": 2 + seed % 4}
    if not form.endswith("lists"):
        asked |= {"standardize": seed % 6 > 2, "one_hot": ("colour",) * (seed % 3 > 0)}
    some = {*rng.sample(range(1, 12), 4), *rng.sample(range(12, len(rows)), 4)}
    every = range(1, min(len(rows), 60))
    found = []
    for how in ({}, {"n_single_rows": 10**9}, {"every": rng.randrange(1, 50)}, some, every):
        live = begin(path, **asked)
        if isinstance(how, dict):
            results = learn(live, path, skip_rejected=True, **how)
        else:
            live, results = in_parts(live, path, how, folder, rng)
        told = predictions_in(results), rejected_in(results), story_of(live)
        found.append((*told, bytes_of(live, folder)))
        verify(live, [open_source(str(path))])
    assert found[0][1]
    for other in found[1:]:
        assert found[0] == other
    return live


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", FORMS)
def test_however_rows_are_cut(form, seed, tmp_path):
    live = require_alike(form, seed, 400, tmp_path)
    assert live.pending.samples
    assert live.pending.n_evicted
    assert live.progress.samples > 20


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_short_streams_that_are_cut_at_every_row(form, tmp_path):
    for seed in range(10, 10 + 5 * TIMES):
        require_alike(form, seed, 40, tmp_path)


BEFORE = [
    {"id": 1, "a": 1.0, "b": 2.0},
    {"id": 2, "a": -1.0, "b": 0.5},
    {"id": 2, "label": "left"},
    {"id": 3, "a": 2.0, "b": 1.0, "label": "right"},
    {"id": 4, "a": 0.5, "b": 0.25},
]
AFTER = [{"id": 4, "label": "left"}, {"id": 2, "a": 3.0}, {"id": 1, "label": "right"}]
BAD = {
    "features twice": ({"id": 1, "a": 3.0}, "'1'.* already pending"),
    "features and a label": ({"id": 4, "a": 3.0, "label": "left"}, "'4'.* already pending"),
    "no id": ({"a": 3.0}, "'id'"),
    "null for an id": ({"id": None, "label": "left"}, "'id'"),
    "a label of nobody": ({"id": 9, "label": "left"}, "'9'.* is pending"),
    "a label again": ({"id": 2, "label": "left"}, "'2'.* is pending"),
    "a label for a sample that had it": ({"id": 3, "label": "right"}, "'3'.* is pending"),
    "nothing, of a sample that waits": ({"id": 1}, "neither"),
    "nothing": ({"id": 9, "a": None}, "neither"),
}


@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
@pytest.mark.parametrize("name", BAD)
def test_a_rejected_row_ends_the_run_and_changes_nothing(name, form, tmp_path):
    bad, why = BAD[name]
    path = write_rows(tmp_path / form, form, [*BEFORE, bad, *AFTER], ("a", "b"))
    before, live, whole = begin(path), begin(path), begin(path)
    learn(before, path, limit=len(BEFORE))
    with pytest.raises(SampleError, match=f"^{path}: row 6: .*{why}") as caught:
        learn(live, path)
    assert "\n" not in str(caught.value)
    assert story_of(live) == story_of(before)
    assert list(live.pending.samples) == ["1", "4"]

    # It can be resumed.
    learn(live, path, skip_rejected=True)
    ((row, reason),) = rejected_in(learn(whole, path, skip_rejected=True))
    assert str(caught.value) == f"{path}: row {row}: {reason}"
    assert bytes_of(live, tmp_path) == bytes_of(whole, tmp_path)
    assert list(live.pending.samples) == ["2"]
    assert (whole.progress.samples, whole.progress.unlabeled, whole.progress.skipped) == (4, 4, 1)


def test_a_blank_text_is_no_id(tmp_path):
    path = write_lines(tmp_path / "s.jsonl", [*BEFORE, {"id": "", "a": 1.0}])
    with pytest.raises(SampleError, match="row 6: .*'id'"):
        learn(begin(path), path)


def test_ids_are_compared_as_texts(tmp_path):
    """They may be integers in a table, or numbers and texts in JSON."""
    columns = {"id": [17, 18, 19], "a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0]}
    table = write_parquet(tmp_path / "s.parquet", columns)
    labels = [{"id": "17", "label": "x"}, {"id": 18, "label": "y"}]
    sources = [open_source(str(p)) for p in (table, write_lines(tmp_path / "s.jsonl", labels))]
    live = LiveModel.start(sources, ReadOptions(join="id"), seed=0)
    list(live.run(sources, live.resume(sources)))

    assert (live.progress.samples, list(live.pending.samples)) == (2, ["19"])
    assert live.model.features_ == ["a", "b"]
    assert all(isinstance(key, str) for key in live.pending.samples)


def test_a_label_that_would_diverge_is_left_to_wait(tmp_path):
    rows = [{"id": i, "a": 1.0, "label": "x" if i % 2 else "y"} for i in range(9)]
    rows += [{"id": "far", "a": 1e200}, {"id": "near", "a": 1.0}, {"id": "near", "label": "x"}]
    path = write_lines(tmp_path / "s.jsonl", [*rows, {"id": "far", "label": "x"}])
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, ReadOptions(join="id"), activation="identity", seed=0)
    with pytest.raises(DivergedError, match="row 13: diverged at sample 11"):
        list(live.run(sources))

    assert (live.progress.samples, list(live.pending.samples)) == (10, ["far"])
    assert np.isfinite(live.model.weights).all()


@pytest.mark.parametrize("what", ["epochs", "stop", "draws"])
def test_runs_that_cannot_join_are_refused(what, tmp_path):
    path = write_lines(tmp_path / "s.jsonl", good_rows(0, 50))
    live, sources = begin(path), [open_source(str(path))]
    before = story_of(live)
    if what == "draws":
        sources = [RandomDraws(sources, 0)]
    with pytest.raises(ValueError, match="join"):
        list(live.run(sources, **{"epochs": {"epochs": 2}, "stop": {"stop": True}}.get(what, {})))
    assert story_of(live) == before


@pytest.mark.parametrize("change", ["forgotten", "one less", "one more"])
def test_verify_looks_at_what_waits(change, tmp_path):
    path = write_lines(tmp_path / "s.jsonl", random_rows(0, 300))
    live, sources = begin(path, max_pending=5), [open_source(str(path))]
    learn(live, path, skip_rejected=True)
    verify(live, sources)
    samples = live.pending.samples
    if change == "forgotten":
        live.pending.n_evicted += 1
    elif change == "one less":
        del samples[next(iter(samples))]
    else:
        samples["other"] = next(iter(samples.values()))
    with pytest.raises(VerificationError):
        verify(live, sources)


def forged(parts, rng):
    """Return the members of a checkpoint with changed waiting samples."""
    parts, meta = dict(parts), json.loads(parts["meta.json"])
    if rng.random() < 0.4:
        place = meta["run"]["waiting"]
        key = rng.choice(sorted(place))
        value = place[key]
        odd = [-1, 10**9, 2**62, "x", None, [], {}, [1], ["x", "x"], 0.5, True]
        if isinstance(value, list):
            odd += 3 * [value[:-1], value[::-1], [*value, "x"], value + value]
        place[key] = rng.choice(odd)
        return parts | {"meta.json": json.dumps(meta).encode()}
    name = rng.choice([name for name in parts if name.startswith("waiting")])
    array = np.load(io.BytesIO(parts[name])).copy()
    how = rng.randrange(6)
    if how == 0 or not array.size:
        array = array[:-1] if array.size else np.ones(3, array.dtype)
    elif how == 1:
        array = array.astype(rng.choice([np.float32, np.int8, np.int64, np.bool_]))
    elif how == 2:
        array = np.stack([array, array])
    else:
        odd = [-1, 0, 1, 5, 120, 2**31 - 1]
        if array.dtype.kind == "f":
            odd += [np.nan, np.inf, 1e300]
        array[rng.randrange(len(array))] = np.array(rng.choice(odd)).astype(array.dtype)
    return parts | {name: npy(array)}


@pytest.mark.parametrize("form", ["json", "csv", "parquet lists"])
def test_forged_samples_are_refused_or_can_be_used(form, tmp_path):
    rows, names = rows_for(form, 1)
    path = write_rows(tmp_path / "source", form, rows, names)
    one_hot = () if form.endswith("lists") else ("colour",)
    live, refused, n = begin(path, max_pending=8, one_hot=one_hot), 0, 300
    learn(live, path, skip_rejected=True, limit=200)
    assert live.pending.samples
    live.save(tmp_path / "m.npz")
    parts, rng, told = members_of(tmp_path / "m.npz"), random.Random(form), []
    for _ in range(n):
        (tmp_path / "f.npz").write_bytes(forge(forged(parts, rng).items()))
        try:
            live = LiveModel.load(tmp_path / "f.npz")
        except CheckpointError as error:
            refused, told = refused + 1, [*told, str(error)]
            continue
        assert len(live.pending.samples) <= 8
        try:
            learn(live, path, skip_rejected=True)
        except StreamPerceptronError as error:
            told.append(str(error))
        live.save(tmp_path / "f.npz")
        LiveModel.load(tmp_path / "f.npz")
    assert n / 5 < refused < n
    assert not any("\n" in line for line in told)


def rows_with_new_names(n, rng):
    """Yield rows of features with names of their own; few of them get a label, late or never."""
    for i in range(n):
        names = {f"w{i}_{j}": 1.0 for j in range(3)} | {f"common{rng.randrange(9)}": 2.0}
        yield {"id": i, **names}
        if rng.random() < 0.1:
            yield {"id": i - rng.randrange(20), "label": rng.choice("xy")}


def test_names_of_evicted_samples_are_forgotten(tmp_path, run):
    rng, sizes = random.Random(0), []
    source, model = tmp_path / "s.jsonl", tmp_path / "m.npz"
    rows = list(rows_with_new_names(12_000, rng))
    for n in (4000, 12_000):
        write_lines(source, rows[:n])
        limits = ["--max-pending", 10, "--max-weights", 3000]
        run("learn", source, "--join", "id", *limits, "-m", model, "--skip-bad", "--quiet")
        live = LiveModel.load(model)
        names = {name for sample in live.pending.samples.values() for name in sample.names}
        assert len(live.pending.names) < len(names) + 4 * 1000
        sizes.append(model.stat().st_size)

    assert sizes[1] < 1.5 * sizes[0]


@pytest.mark.parametrize("form", ["file", "pipe"])
def test_names_are_forgotten_at_the_same_rows_however_a_run_is_cut(form, tmp_path, run):
    """A text under a forgotten name is a text; under a known one its row is rejected."""
    rng = random.Random(form)
    rows = list(rows_with_new_names(2500, rng))
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
    some_cuts = sorted(rng.sample(range(1, len(lines)), 5))
    for number, cuts in enumerate([[], [999, 1000, 1001, 2000], some_cuts]):
        folder, done = tmp_path / str(number), 0
        folder.mkdir()
        (folder / "s.jsonl").write_text("".join(lines))
        for end in [*cuts, len(lines)]:
            more = {"input": "".join(lines[done:end])} if form == "pipe" else {}
            source = [] if form == "pipe" else ["s.jsonl", "--limit", end]
            run("learn", *source, *options, "-m", "m.npz", cwd=folder, check=0, **more)
            done = end
        outcomes.append([contents_of(folder / name) for name in ("m.npz", "r.jsonl")])

    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert b"a text, but was a number before" in outcomes[0][1]
