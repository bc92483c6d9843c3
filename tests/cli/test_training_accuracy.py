"""Progressive accuracy counts each row the first time it is learned, training accuracy later on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import write_lines

from stream_perceptron import LiveModel

# Row i is of class x if i is even; a and b say so, but the first rows do not.
ROWS = [{"a": (i % 2) - 0.5, "b": i % 7, "label": "xy"[(i + (i < 200)) % 2]} for i in range(1000)]


def figures_of(run, *args):
    return json.loads(run("learn", *args, "--json", check=0).stdout)


def test_later_passes_leave_progressive_accuracy_as_it_is(tmp_path, run):
    source = write_lines(tmp_path / "s.jsonl", ROWS)
    once = figures_of(run, source)
    thrice = figures_of(run, source, "--passes", 3, "-m", tmp_path / "m.npz")
    live = LiveModel.load(tmp_path / "m.npz")

    assert once["training_accuracy"] is None
    for name in ("accuracy", "window_accuracy", "cohen_kappa"):
        assert thrice[name] == once[name]
    assert thrice["samples"] == 3000
    assert live.progress.training.tested == 2000
    assert thrice["training_accuracy"] == live.progress.training.accuracy > once["accuracy"]


def test_rows_drawn_at_random_have_only_training_accuracy(tmp_path, run):
    source = write_lines(tmp_path / "s.jsonl", ROWS)
    figures = figures_of(run, source, "--random", "-m", tmp_path / "m.npz")
    shown = run("inspect", tmp_path / "m.npz", check=0).stdout

    assert (figures["accuracy"], LiveModel.load(tmp_path / "m.npz").progress.confusion.tested) == (
        0,
        0,
    )
    assert figures["training_accuracy"] > 0.5
    assert "training accuracy" in shown
    assert "each sample tested before it was learned" not in shown


@pytest.mark.parametrize("seed", range(6))
def test_again_counts_rows_learned_before_and_not_the_new_ones(seed, tmp_path, run):
    rng = np.random.default_rng(seed)
    n_known, n_written = sorted(rng.integers(1, 1000, 2).tolist())
    source, model = write_lines(tmp_path / "s.jsonl", ROWS[:n_written]), tmp_path / "m.npz"
    run("learn", source, "-m", model, "--limit", n_known, check=0)
    write_lines(source, ROWS)
    n_repeated = 0
    for end in (*rng.integers(1, 1000, 3).tolist(), 1000):
        run("learn", source, "-m", model, "--again", "--limit", end, check=0)
        n_repeated += min(end, n_known)
        n_known = max(end, n_known)
    progress = LiveModel.load(model).progress

    assert progress.training.tested == n_repeated
    assert progress.progressive.tested == 999  # of 1,000 rows the first comes before any label
    run("verify", model, source, check=0)


def test_ten_passes_report_no_drop_of_training_accuracy(tmp_path, run):
    """A hard stretch of the file is hard in each pass; drift detection covers new rows only."""
    rng = np.random.default_rng(0)
    rows = [
        {"a": float(x), "label": "xy"[int(x > 0) ^ (1500 < i < 1900)]}
        for i, x in enumerate(rng.normal(size=3000))
    ]
    source = write_lines(tmp_path / "s.jsonl", rows)
    once = run("learn", source, check=0).stderr
    often = run("learn", source, "--passes", 10, check=0).stderr

    assert once.count("accuracy dropped") == often.count("accuracy dropped") == 1
