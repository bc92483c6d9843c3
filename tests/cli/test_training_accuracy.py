"""Progressive accuracy counts rows learned for the first time, training accuracy later times."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import write_jsonl

from stream_perceptron import LiveModel

# From row 200 on, class x has a = -0.5 and class y has a = 0.5; before, it is the reverse.
ROWS = [{"a": (i % 2) - 0.5, "b": i % 7, "label": "xy"[(i + (i < 200)) % 2]} for i in range(1000)]


def learn_as_json(run, *args):
    return json.loads(run("learn", *args, "--no-standardize", "--json", check=0).stdout)


def test_later_passes_do_not_change_progressive_accuracy(tmp_path, run):
    source = write_jsonl(tmp_path / "s.jsonl", ROWS)
    one_pass = learn_as_json(run, source)
    three_passes = learn_as_json(run, source, "--passes", 3, "-m", tmp_path / "m.npz")
    live = LiveModel.load(tmp_path / "m.npz")

    assert one_pass["training_accuracy"] is None
    for name in ("accuracy", "window_accuracy", "cohen_kappa"):
        assert three_passes[name] == one_pass[name]
    assert three_passes["samples"] == 3000
    assert live.progress.training.tested == 2000
    assert (
        three_passes["training_accuracy"] == live.progress.training.accuracy > one_pass["accuracy"]
    )


def test_rows_drawn_at_random_have_only_training_accuracy(tmp_path, run):
    source = write_jsonl(tmp_path / "s.jsonl", ROWS)
    figures = learn_as_json(run, source, "--random", "-m", tmp_path / "m.npz")
    shown = run("inspect", tmp_path / "m.npz", check=0).stdout

    assert (figures["accuracy"], LiveModel.load(tmp_path / "m.npz").progress.confusion.tested) == (
        0,
        0,
    )
    assert figures["training_accuracy"] > 0.5
    assert "training accuracy" in shown
    assert "each sample tested before it was learned" not in shown


@pytest.mark.parametrize("seed", range(6))
def test_training_accuracy_of_again_counts_only_repeated_rows(seed, tmp_path, run):
    rng = np.random.default_rng(seed)
    n_known, n_written = sorted(rng.integers(1, 1000, 2).tolist())
    source, model = write_jsonl(tmp_path / "s.jsonl", ROWS[:n_written]), tmp_path / "m.npz"
    run("learn", source, "-m", model, "--limit", n_known, check=0)
    write_jsonl(source, ROWS)
    n_repeated = 0
    for end in (*rng.integers(1, 1000, 3).tolist(), 1000):
        run("learn", source, "-m", model, "--again", "--limit", end, check=0)
        n_repeated += min(end, n_known)
        n_known = max(end, n_known)
    progress = LiveModel.load(model).progress

    assert progress.training.tested == n_repeated
    assert progress.progressive.tested == 999  # of 1,000 rows the first comes before any label
    run("verify", model, source, check=0)


def test_drops_are_reported_in_the_first_pass_only(tmp_path, run):
    """A hard stretch of the file is hard in each pass; drift detection covers new rows only."""
    rng = np.random.default_rng(0)
    rows = [
        {"a": float(x), "label": "xy"[int(x > 0) ^ (1500 < i < 1900)]}
        for i, x in enumerate(rng.normal(size=3000))
    ]
    source = write_jsonl(tmp_path / "s.jsonl", rows)
    one_pass = run("learn", source, check=0).stderr
    ten_passes = run("learn", source, "--passes", 10, check=0).stderr

    assert one_pass.count("accuracy dropped") == ten_passes.count("accuracy dropped") == 1
