"""A checkpoint holds nothing of unlearned rows."""

from __future__ import annotations

import json

import pytest
from helpers import contents_of, write_lines

from stream_perceptron import LiveModel, SampleError, SourceError
from stream_perceptron.data import open_source


@pytest.fixture
def late(tmp_path):
    """1,000 unlabeled rows, then a labeled one."""
    rows = [{"a": float(i % 7)} for i in range(1000)] + [{"a": 1.0, "label": "x"}]
    return write_lines(tmp_path / "late.jsonl", rows)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, None])
def test_each_checkpoint_knows_what_its_rows_told(every, late, tmp_path):
    path = tmp_path / "m.npz"
    sources = [open_source(str(late))]
    live = LiveModel.start(sources, seed=0)
    saved = 0
    for _ in live.run(sources, live.resume(sources), every=every):
        live.save(path)
        then = LiveModel.load(path)
        has_label = then.progress.rows == 1001
        assert ("str" if has_label else None) == then.schema.label_type
        assert ([] if not has_label else ["x"]) == then.model.classes_
        assert (() if has_label else None) == then.schema.texts
        saved += 1

    assert then.progress.rows == 1001
    assert saved == 1001 if every else saved <= 3


@pytest.mark.parametrize("options", [["--save-every", "1"], []])
def test_the_command_line_saves_what_was_learned(options, late, tmp_path, run):
    """It saves before the labeled row, and resumes there."""
    path, whole = tmp_path / "m.npz", tmp_path / "whole.npz"
    run("learn", late, "-m", path, "--limit", 1000, "--quiet", *options, check=0)
    live = LiveModel.load(path)
    assert (live.schema.label_type, live.model.classes_, live.progress.rows) == (None, [], 1000)

    run("learn", late, "-m", path, "--quiet", *options, check=0)
    run("learn", late, "-m", whole, "--quiet", check=0)
    assert contents_of(whole) == contents_of(path)


def test_rejected_and_replayed_rows_tell_nothing(tmp_path):
    rows = [
        {"a": 1.0, "p": 5},
        {"a": ["bad"], "label": 3, "p": 6},
        {"a": 1.0, "label": True, "p": 4},
        {"a": 1.0, "label": "x", "p": 7},
    ]
    from stream_perceptron.data import ReadOptions

    sources = [open_source(str(write_lines(tmp_path / "r.jsonl", rows)))]
    live = LiveModel.start(sources, ReadOptions(position=("p",)), seed=0)
    list(live.run(sources, skip_rejected=True))

    assert (live.schema.label_type, live.model.classes_) == ("str", ["x"])
    assert (
        live.progress.samples,
        live.progress.unlabeled,
        live.progress.skipped,
        live.ledger.n_redelivered,
    ) == (1, 1, 1, 1)


@pytest.mark.parametrize("form", ["csv", "jsonl", "jsonl in a list", "libsvm"])
def test_a_source_that_does_not_fit_touches_nothing(form, tmp_path, run):
    """The checkpoint and its cursor stay unchanged."""
    path = tmp_path / "iris.npz"
    iris, wine = tmp_path / "iris.csv", tmp_path / "wine"
    iris.write_text("a,b,label\n" + "1,2,x\n2,1,y\n" * 50)
    wine.write_text(
        {
            "csv": "c,d,e,label\n1,2,3,x\n",
            "jsonl": json.dumps({"c": 1, "d": 2, "label": "x"}) + "\n",
            "jsonl in a list": json.dumps({"x": [1, 2, 3], "label": "x"}) + "\n",
            "libsvm": "x c:1 d:2\n",
        }[form]
    )
    run("learn", iris, "-m", path, "--limit", 30, "--quiet", check=0)
    run("learn", iris, "-m", path, "--quiet", check=0)
    before = path.read_bytes()
    refused = run("learn", wine, "-m", path, "--quiet", check=1)

    assert refused.stderr.count("\n") == 1
    assert path.read_bytes() == before
    run("learn", iris, "-m", path, "--quiet", check=0)
    assert path.read_bytes() == before


def test_a_second_source_that_does_not_fit_is_found_before_the_first_is_read(tmp_path):
    for name, header in (("a", "a,b,label"), ("b", "c,d,label")):
        (tmp_path / name).write_text(f"{header}\n1,2,x\n")
    sources = [open_source(str(tmp_path / name)) for name in "ab"]

    with pytest.raises(
        SourceError, match="it lacks 'a', 'b' of the model's features and has 'c', 'd' instead"
    ):
        LiveModel.start(sources)


def test_the_first_row_of_a_source_that_is_rejected_changes_nothing(tmp_path):
    good = [{"x": [1.0, 2.0], "label": "a"}, {"x": [2.0, 1.0], "label": "b"}]
    one = [open_source(str(write_lines(tmp_path / "one.jsonl", good)))]
    live = LiveModel.start(one, seed=0)
    list(live.run(one, live.resume(one)))
    live.save(tmp_path / "before.npz")
    two = [open_source(str(write_lines(tmp_path / "two.jsonl", [{"x": [1.0]}])))]
    with pytest.raises(SampleError, match="row 1: list 'x' has 1 value, not 2"):
        list(live.run(two, live.resume(two)))
    live.save(tmp_path / "after.npz")

    assert contents_of(tmp_path / "before.npz") == contents_of(tmp_path / "after.npz")
