"""Pending samples, compared with River's progressive validation and with a plain dict."""

from __future__ import annotations

import io
import json
import random

import numpy as np
import pytest
from helpers import (
    capture_state,
    encode_npy,
    forge_archive,
    get_seeds,
    read_members,
    write_jsonl,
    write_parquet,
)
from late_labels import (
    LateLabelOracle,
    collect_predictions,
    collect_rejections,
    draw_rows,
    draw_rows_for_format,
    draw_sparse_samples,
    draw_timing,
    draw_valid_rows,
    learn_new_rows,
    require_same_results_as_river,
    save_to_bytes,
    simulate_with_river,
    snapshot_state,
    start_model,
    write_rows,
)

from stream_perceptron import DivergedError, LiveModel, SampleError, SGDPerceptron
from stream_perceptron.data import open_source
from stream_perceptron.data.draws import RandomDraws
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.errors import CheckpointError, StreamPerceptronError, VerificationError
from stream_perceptron.verification import verify


@pytest.mark.parametrize("seed", get_seeds(4))
def test_sample_weight_is_read_from_the_row_with_the_features(seed, tmp_path):
    rng = random.Random(seed)
    samples = [
        (x, y, {"w": rng.choice([0.5, 1.0, 3.0])}) for x, y in draw_sparse_samples(seed, 200)
    ]
    model = SGDPerceptron(lr=0.5, seed=0)
    metric, rows, expected = simulate_with_river(samples, draw_timing(seed, len(samples)), model)
    path = write_jsonl(tmp_path / "s.jsonl", rows)
    live = start_model(path, 0.5, weight="w")
    require_same_results_as_river(live, learn_new_rows(live, path), model, metric, expected)


@pytest.mark.parametrize("max_pending", range(1, 21))
def test_pending_samples_match_a_plain_dict(max_pending, tmp_path):
    """Some rows are invalid, and few samples may be pending, so that some are evicted."""
    rows = draw_rows(max_pending, 600, 4 + 2 * max_pending)
    plain = LateLabelOracle(SGDPerceptron(lr=0.1, seed=0), max_pending)
    for number, row in enumerate(rows, 1):
        plain.process_row(number, row)
    path = write_jsonl(tmp_path / "s.jsonl", rows)
    live = start_model(path, max_pending=max_pending)
    results = learn_new_rows(
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
    learn_new_rows(before, path, limit=len(ROWS_BEFORE))
    with pytest.raises(SampleError, match=f"^{path}: row 6: .*{pattern}") as caught:
        learn_new_rows(live, path)
    assert "\n" not in str(caught.value)
    assert snapshot_state(live) == snapshot_state(before)
    assert list(live.pending.samples) == ["1", "4"]

    # The run can be resumed.
    learn_new_rows(live, path, skip_rejected=True)
    ((row, reason),) = collect_rejections(learn_new_rows(whole, path, skip_rejected=True))
    assert str(caught.value) == f"{path}: row {row}: {reason}"
    assert save_to_bytes(live, tmp_path) == save_to_bytes(whole, tmp_path)
    assert list(live.pending.samples) == ["2"]
    assert (whole.progress.samples, whole.progress.unlabeled, whole.progress.skipped) == (4, 4, 1)


def test_empty_text_is_not_an_id(tmp_path):
    path = write_jsonl(tmp_path / "s.jsonl", [*ROWS_BEFORE, {"id": "", "a": 1.0}])
    with pytest.raises(SampleError, match="row 6: .*'id'"):
        learn_new_rows(start_model(path), path)


def test_ids_are_compared_as_texts(tmp_path):
    """IDs may be integers in a table, and numbers or texts in JSON."""
    columns = {"id": [17, 18, 19], "a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0]}
    table = write_parquet(tmp_path / "s.parquet", columns)
    labels = [{"id": "17", "label": "x"}, {"id": 18, "label": "y"}]
    sources = [open_source(str(p)) for p in (table, write_jsonl(tmp_path / "s.jsonl", labels))]
    live = LiveModel.start(sources, ReadOptions(join="id"), seed=0)
    list(live.run(sources, live.plan_run(sources)))

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


@pytest.mark.parametrize("setting", ["passes", "stop", "draws"])
def test_join_is_an_error_with_passes_stop_or_random_draws(setting, tmp_path):
    path = write_jsonl(tmp_path / "s.jsonl", draw_valid_rows(0, 50))
    live, sources = start_model(path), [open_source(str(path))]
    before = snapshot_state(live)
    if setting == "draws":
        sources = [RandomDraws(sources, 0)]
    with pytest.raises(ValueError, match="late labels need a single pass in order"):
        list(
            live.run(sources, **{"passes": {"passes": 2}, "stop": {"stop": True}}.get(setting, {}))
        )
    assert snapshot_state(live) == before


@pytest.mark.parametrize("change", ["one evicted", "one fewer", "one more"])
def test_verify_checks_pending_samples(change, tmp_path):
    path = write_jsonl(tmp_path / "s.jsonl", draw_rows(0, 300))
    live, sources = start_model(path, max_pending=5), [open_source(str(path))]
    learn_new_rows(live, path, skip_rejected=True)
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
        pending_fields = meta["live"]["pending"]
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


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "csv", "parquet lists"])
def test_forged_pending_samples_are_rejected_or_usable(form, tmp_path):
    rows, names = draw_rows_for_format(form, 1)
    path = write_rows(tmp_path / "source", form, rows, names)
    one_hot = () if form.endswith("lists") else ("colour",)
    live, n_rejected, n = start_model(path, max_pending=8, one_hot=one_hot), 0, 300
    learn_new_rows(live, path, skip_rejected=True, limit=200)
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
            learn_new_rows(live, path, skip_rejected=True)
        except StreamPerceptronError as error:
            messages.append(str(error))
        live.save(tmp_path / "f.npz")
        LiveModel.load(tmp_path / "f.npz")
    assert n / 5 < n_rejected < n
    assert not any("\n" in line for line in messages)
