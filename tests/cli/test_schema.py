"""A checkpoint contains nothing from rows that have not been learned."""

from __future__ import annotations

import pytest
from helpers import read_contents, write_jsonl

from stream_perceptron import LiveModel, SampleError, SourceError
from stream_perceptron.data import open_source


@pytest.fixture
def late_label_file(tmp_path):
    """A file with 1,000 unlabeled rows and then a labeled row."""
    rows = [{"a": float(i % 7)} for i in range(1000)] + [{"a": 1.0, "label": "x"}]
    return write_jsonl(tmp_path / "late.jsonl", rows)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, None])
def test_checkpoint_schema_reflects_only_the_rows_read_so_far(every, late_label_file, tmp_path):
    path = tmp_path / "m.npz"
    sources = [open_source(str(late_label_file))]
    live = LiveModel.start(sources, seed=0)
    n_saves = 0
    for _ in live.run(sources, live.plan_run(sources), every=every):
        live.save(path)
        checkpoint = LiveModel.load(path)
        has_label = checkpoint.progress.rows == 1001
        assert ("str" if has_label else None) == checkpoint.schema.label_type
        assert ([] if not has_label else ["x"]) == checkpoint.model.classes_
        assert (() if has_label else None) == checkpoint.schema.texts
        n_saves += 1

    assert checkpoint.progress.rows == 1001
    assert n_saves == 1001 if every else n_saves <= 3


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--save-every", "1"], []])
def test_run_that_stops_before_the_first_label_is_resumed(options, late_label_file, tmp_path, run):
    """The model is saved before the labeled row, where the next run resumes."""
    path, single_run = tmp_path / "m.npz", tmp_path / "whole.npz"
    run("learn", late_label_file, "-m", path, "--limit", 1000, "--quiet", *options, check=0)
    live = LiveModel.load(path)
    assert (live.schema.label_type, live.model.classes_, live.progress.rows) == (None, [], 1000)

    run("learn", late_label_file, "-m", path, "--quiet", *options, check=0)
    run("learn", late_label_file, "-m", single_run, "--quiet", check=0)
    assert read_contents(single_run) == read_contents(path)


def test_rejected_and_redelivered_rows_do_not_affect_the_schema(tmp_path):
    rows = [
        {"a": 1.0, "p": 5},
        {"a": ["bad"], "label": 3, "p": 6},
        {"a": 1.0, "label": True, "p": 4},
        {"a": 1.0, "label": "x", "p": 7},
    ]
    from stream_perceptron.data import ReadOptions

    sources = [open_source(str(write_jsonl(tmp_path / "r.jsonl", rows)))]
    live = LiveModel.start(sources, ReadOptions(position=("p",)), seed=0)
    list(live.run(sources, skip_rejected=True))

    assert (live.schema.label_type, live.model.classes_) == ("str", ["x"])
    assert (
        live.progress.samples,
        live.progress.unlabeled,
        live.progress.skipped,
        live.n_redelivered,
    ) == (1, 1, 1, 1)


def test_incompatible_second_source_is_found_before_the_first_is_read(tmp_path):
    for name, header in (("a", "a,b,label"), ("b", "c,d,label")):
        (tmp_path / name).write_text(f"{header}\n1,2,x\n")
    sources = [open_source(str(tmp_path / name)) for name in "ab"]

    reason = r"it lacks some of the model's features \('a', 'b'\) and has 'c', 'd' instead"
    with pytest.raises(SourceError, match=reason):
        LiveModel.start(sources)


def test_rejected_first_row_of_a_source_leaves_the_model_unchanged(tmp_path):
    valid_rows = [{"x": [1.0, 2.0], "label": "a"}, {"x": [2.0, 1.0], "label": "b"}]
    first_sources = [open_source(str(write_jsonl(tmp_path / "one.jsonl", valid_rows)))]
    live = LiveModel.start(first_sources, seed=0)
    list(live.run(first_sources, live.plan_run(first_sources)))
    live.save(tmp_path / "before.npz")
    second_sources = [open_source(str(write_jsonl(tmp_path / "two.jsonl", [{"x": [1.0]}])))]
    with pytest.raises(SampleError, match="row 1: list 'x' has 1 value, not 2"):
        list(live.run(second_sources, live.plan_run(second_sources)))
    live.save(tmp_path / "after.npz")

    assert read_contents(tmp_path / "before.npz") == read_contents(tmp_path / "after.npz")
