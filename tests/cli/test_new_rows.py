"""Progressive accuracy counts rows that are learned for the first time."""

from __future__ import annotations

import json
import re

import numpy as np
from helpers import write_jsonl

from stream_perceptron import LiveModel, SGDPerceptron, Trial

# From row 200 on, class x has a = -0.5 and class y has a = 0.5; before, it is the reverse.
ROWS = [{"a": (i % 2) - 0.5, "b": i % 7, "label": "xy"[(i + (i < 200)) % 2]} for i in range(1000)]


def learn_as_json(run, *args):
    return json.loads(run("learn", *args, "--no-standardize", "--json", check=0).stdout)


def test_later_passes_do_not_change_progressive_accuracy(tmp_path, run):
    source = write_jsonl(tmp_path / "s.jsonl", ROWS)
    one_pass, three_passes = (
        learn_as_json(run, source, "--passes", n, "-m", tmp_path / f"{n}.npz") for n in (1, 3)
    )
    live = LiveModel.load(tmp_path / "3.npz")

    for name in ("accuracy", "cohen_kappa"):
        assert three_passes[name] == one_pass[name]
    assert three_passes["samples"] == 3000
    assert live.progress.confusion.tested == 999
    assert three_passes["window_accuracy"] == live.progress.window_accuracy > one_pass["accuracy"]
    for n in (1, 3):
        page, shown = tmp_path / "m.html", run("inspect", tmp_path / f"{n}.npz", check=0).stdout
        run("report", tmp_path / f"{n}.npz", "-o", page, check=0)
        assert ("Rows learned again are included." in page.read_text()) == (n == 3)
        # Drift detection covers new rows only.
        assert shown.count("accuracy dropped") == 1


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


def test_trials_without_new_rows_are_sorted_by_the_window_before_the_error():
    trials = [Trial({}, LiveModel(SGDPerceptron(seed=0))) for _ in range(2)]
    for trial, is_right in zip(trials, (False, True), strict=True):
        progress = trial.progress
        progress.samples, progress.error_sum = 10, 1.0 + is_right
        progress.add_outcomes(np.full(10, is_right))

    assert sorted(trials, key=Trial.sort_key) == trials[::-1]
