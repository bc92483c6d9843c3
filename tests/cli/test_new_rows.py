"""Progressive accuracy counts rows that are learned for the first time."""

from __future__ import annotations

import json

from helpers import write_jsonl

from stream_perceptron import LiveModel

# From row 200 on, class x has a = -0.5 and class y has a = 0.5; before, it is the reverse.
ROWS = [{"a": (i % 2) - 0.5, "b": i % 7, "label": "xy"[(i + (i < 200)) % 2]} for i in range(1000)]


def learn_as_json(run, *args):
    options = ["--no-standardize", "--lr", "0.1", "--json"]
    return json.loads(run("learn", *args, *options, check=0).stdout)


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
        assert ("rows learned again included" in page.read_text()) == (n == 3)
        # Drift detection covers new rows only.
        assert shown.count("accuracy dropped") == 1
