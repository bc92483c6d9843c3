"""Live models load as they were saved, and invalid checkpoints are rejected."""

from __future__ import annotations

import pytest
from helpers import capture_state, read_contents

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron, save
from stream_perceptron.checkpoint.archive import read_checkpoint, write_checkpoint
from stream_perceptron.checkpoint.codec import to_json
from stream_perceptron.data import ReadOptions, open_source


@pytest.fixture
def source(tmp_path, rng):
    path = tmp_path / "points.csv"
    rows = [f"{x:.3f},{c},{'left' if x < 0 else 'right'}" for x, c in
            zip(rng.normal(size=300), rng.choice(["red", "blue"], 300), strict=True)]  # fmt: skip
    path.write_text("\n".join(["a,colour,label", *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    "read_options", [ReadOptions(), ReadOptions(standardize=True, one_hot=("colour",))]
)
def test_saving_after_any_row_gives_the_same_final_bytes(read_options, source, tmp_path, rng):
    whole, path = tmp_path / "whole.npz", tmp_path / "m.npz"
    sources = [open_source(str(source))]
    live = LiveModel.start(sources, read_options, seed=0)
    for _ in live.run(sources, live.resume(sources)):
        pass
    live.save(whole)
    live = LiveModel.start(sources, read_options, seed=0)
    for limit in [*sorted(rng.choice(range(1, 300), 5, replace=False).tolist()), None]:
        sources = [open_source(str(source))]
        for _ in live.run(sources, live.resume(sources), limit=limit):
            pass
        live.save(path)
        loaded = LiveModel.load(path)
        assert capture_state(live.model) == capture_state(loaded.model)
        assert [to_json(x) for x in (live.schema, live.cursor, live.lineage, live.progress)] == [
            to_json(x) for x in (loaded.schema, loaded.cursor, loaded.lineage, loaded.progress)
        ]
        live = loaded

    assert read_contents(whole) == read_contents(path)


def test_model_saved_in_python_loads_with_an_incomplete_lineage(tmp_path):
    path, model = tmp_path / "m.npz", SGDPerceptron(seed=0)
    model.learn_one({"b": 1.0, "a": 2.0}, "x")
    save(model, path)
    live = LiveModel.load(path)

    assert (
        live.schema.features, live.lineage.is_complete, live.progress.samples
    ) == (("b", "a"), False, 0)  # fmt: skip
    save(SGDPerceptron(seed=0), path)
    assert LiveModel.load(path).lineage.is_complete


@pytest.mark.parametrize(
    ("classes", "label_type"),
    [
        (["a", "b"], "str"),
        ([1, 2], "int"),
        ([True, False], "bool"),
        ([1, "a"], None),
        ([1.5], None),
    ],
)
def test_model_saved_in_python_has_the_label_type_of_its_classes(classes, label_type, tmp_path):
    save(SGDPerceptron(classes=classes, seed=0), tmp_path / "m.npz")

    assert LiveModel.load(tmp_path / "m.npz").schema.label_type == label_type


def test_inconsistent_members_of_a_checkpoint_are_rejected(source, tmp_path):
    path = tmp_path / "m.npz"
    sources = [open_source(str(source))]
    live = LiveModel.start(sources, ReadOptions(standardize=True), seed=0)
    list(live.run(sources, live.resume(sources)))
    live.save(path)
    meta, arrays = read_checkpoint(path)
    run_members = {"confusion", "window", "curve"}
    for invalid, reason in (
        ((meta | {"run": None}, arrays), "belong to no run"),
        (
            (meta, {n: a for n, a in arrays.items() if n not in run_members}),
            "lacks the confusion counts",
        ),
        (
            (meta, {n: a for n, a in arrays.items() if n != "weights"}),
            "do not include both weights",
        ),
        (
            (meta, {n: a for n, a in arrays.items() if n != "statistics"}),
            "has a scaler without statistics",
        ),
        ((meta | {"more": 1}, arrays), "unknown"),
    ):
        write_checkpoint(path, *invalid)
        with pytest.raises(CheckpointError, match=reason):
            LiveModel.load(path)


def test_pending_samples_without_all_of_their_arrays_are_rejected(tmp_path):
    path, rows = tmp_path / "m.npz", tmp_path / "rows.jsonl"
    rows.write_text('{"id": 1, "a": 2.5}\n{"id": 2, "a": 3.5}\n{"id": 1, "y": "up"}\n')
    sources = [open_source(str(rows))]
    live = LiveModel.start(sources, ReadOptions(join="id"), seed=0)
    list(live.run(sources, live.resume(sources)))
    live.save(path)
    meta, arrays = read_checkpoint(path)
    members = sorted(name for name in arrays if name.startswith("waiting_"))

    assert len(members) == 5
    for member in members:
        write_checkpoint(path, meta, {n: a for n, a in arrays.items() if n != member})
        with pytest.raises(CheckpointError, match=f"lacks the member {member}.npy"):
            LiveModel.load(path)
