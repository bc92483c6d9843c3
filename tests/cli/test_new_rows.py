"""Progressive accuracy counts rows that are learned for the first time."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from helpers import get_seeds, write_jsonl

from stream_perceptron import LiveModel, SGDPerceptron, Trial

# From row 200 on, class x has a = -0.5 and class y has a = 0.5; before, it is the reverse.
ROWS = [{"a": (i % 2) - 0.5, "b": i % 7, "label": "xy"[(i + (i < 200)) % 2]} for i in range(1000)]


def learn_as_json(run, *args):
    return json.loads(run("learn", *args, "--no-standardize", "--json", check=0).stdout)


def test_later_passes_do_not_change_progressive_accuracy(tmp_path, run):
    source = write_jsonl(tmp_path / "s.jsonl", ROWS)
    one_pass = learn_as_json(run, source)
    three_passes = learn_as_json(run, source, "--passes", 3, "-m", tmp_path / "m.npz")
    live = LiveModel.load(tmp_path / "m.npz")

    for name in ("accuracy", "cohen_kappa"):
        assert three_passes[name] == one_pass[name]
    assert three_passes["samples"] == 3000
    assert live.progress.confusion.tested == 999
    assert three_passes["window_accuracy"] == live.progress.window_accuracy > one_pass["accuracy"]


def test_report_says_that_rows_learned_again_are_included(tmp_path, run):
    source = write_jsonl(tmp_path / "s.jsonl", ROWS)
    for n_passes in (1, 2):
        model, page = tmp_path / f"{n_passes}.npz", tmp_path / f"{n_passes}.html"
        run("learn", source, "--passes", n_passes, "-m", model, check=0)
        run("report", model, "-o", page, check=0)
        assert ("Rows learned again are included." in page.read_text()) == (n_passes > 1)


def test_rows_drawn_at_random_have_no_accuracy(tmp_path, run):
    source = write_jsonl(tmp_path / "s.jsonl", ROWS)
    figures = learn_as_json(run, source, "--random", "-m", tmp_path / "m.npz")
    shown = run("inspect", tmp_path / "m.npz", check=0).stdout

    assert (figures["accuracy"], figures["majority_class"]) == (None, None)
    assert [figures[name] for name in ("cohen_kappa", "balanced_accuracy", "macro_f1")] == [
        None
    ] * 3
    assert figures["window_accuracy"] > 0.5
    assert not re.search(r"(?m)^  accuracy ", shown)
    assert re.search(r"(?m)^  window accuracy +[5-9]\d\.\d\d%$", shown)
    lines = run("learn", source, "--random", check=0).stderr.splitlines()
    assert re.match(
        r" +1,000 +- +\d\d\.\d\d% ", next(line for line in lines if line.startswith("     1,000"))
    )
    assert not any(line.startswith(("classes:", "majority class:")) for line in lines)
    run("report", tmp_path / "m.npz", "-o", tmp_path / "r.html", check=0)


def test_sweep_of_rows_drawn_at_random_ranks_by_the_last_1000(tmp_path, run):
    source = write_jsonl(tmp_path / "s.jsonl", ROWS)
    command = ["sweep", source, "--random", "--lr", "1e-9,0.5", "--standardize", "off"]
    trials = json.loads(run(*command, "--json", check=0).stdout)["trials"]
    error = run(*command, "--by", "kappa", check=2).stderr

    assert [trial["lr"] for trial in trials] == [0.5, 1e-9]
    for name in ("accuracy", "kappa", "macro_f1"):
        assert [trial[name] for trial in trials] == [None, None]
    assert trials[0]["window_accuracy"] > trials[1]["window_accuracy"]
    assert "--by kappa counts only rows that are new: it cannot be combined with --random" in error


def test_trials_without_new_rows_are_sorted_by_the_window_before_the_error():
    trials = [Trial({}, LiveModel(SGDPerceptron(seed=0))) for _ in range(2)]
    for trial, is_right in zip(trials, (False, True), strict=True):
        progress = trial.progress
        progress.samples, progress.error_sum = 10, 1.0 + is_right
        progress.add_outcomes(np.full(10, is_right))

    assert sorted(trials, key=Trial.sort_key) == trials[::-1]


@pytest.mark.parametrize("seed", get_seeds(6))
def test_again_counts_each_row_once(seed, tmp_path, run):
    rng = np.random.default_rng(seed)
    n_known, n_written = sorted(rng.integers(1, 1000, 2).tolist())
    source, model = write_jsonl(tmp_path / "s.jsonl", ROWS[:n_written]), tmp_path / "m.npz"
    run("learn", source, "-m", model, "--limit", n_known, check=0)
    write_jsonl(source, ROWS)
    for end in (*rng.integers(1, 1000, 3).tolist(), 1000):
        run("learn", source, "-m", model, "--again", "--limit", end, check=0)
    progress = LiveModel.load(model).progress

    assert progress.confusion.tested == 999  # of 1,000 rows the first comes before any label
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
