"""Each trial of a sweep ends as `learn` does with the same settings."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import pytest
from helpers import CASE_FACTOR, get_seeds, write_jsonl
from splits import draw_case

CASES = 16
RATES = ("1e308", "0.1", "0.5:0.4")  # most trials end at the first
FIGURES = ("samples", "accuracy", "window_accuracy", "mean_error", "updates")


def remove_options(options, *names):
    """Return options without some that have a value."""
    kept, rest = [], iter(options)
    for option in rest:
        if option in names:
            next(rest)
        elif option != "--scores":
            kept.append(option)
    return kept


def read_figures(result):
    return {name: json.loads(result.stdout)[name] for name in FIGURES}


def require_same_trials(run, sources, options, rates):
    """Check that each trial has the figures, or the end, of a separate run; return the ends."""
    args = *sources, "--json", "-q"
    sweep = run("sweep", *args, *options, "--lr", ",".join(rates))
    trials = json.loads(sweep.stdout)["trials"] if sweep.returncode == 0 else []
    ends = []
    for lr in rates:
        alone = run("learn", *args, *options, "--lr", lr)
        rate = lr if ":" in lr else float(lr)
        trial = next((trial for trial in trials if trial["lr"] == rate), None)
        diverged = re.search(r"diverged at sample ([\d,]+)", alone.stderr)
        if "its net input is not finite" in alone.stderr:
            ends.append("ended")
            assert trial is None or trial["failure"] in alone.stderr
        elif diverged is not None:
            ends.append("diverged")
            assert trial is None or f"{trial['diverged_at']:,}" == diverged[1]
        elif trial is None:
            ends.append("failed")
            assert alone.stderr.splitlines()[-1].startswith(sweep.stderr.splitlines()[-1])
        else:
            ends.append("learned")
            assert read_figures(alone) == {name: trial[name] for name in FIGURES}
    return ends


def test_trials_equal_separate_runs(run, tmp_path, report_figure):
    counts = Counter()
    for seed in get_seeds(CASES * CASE_FACTOR):
        rng, folder = random.Random(seed), tmp_path / str(seed)
        folder.mkdir()
        case = draw_case(rng, folder)
        if "--join" in case.options:
            continue
        options = remove_options(case.options, "--lr", "--keep")
        if rng.random() < 0.3:
            options += ["--limit", str(rng.randrange(1, 60))]
        if case.files and rng.random() < 0.2 and case.files[-1].suffix in (".csv", ".objects"):
            case.files[-1].write_bytes(case.files[-1].read_bytes()[:-1])  # an incomplete line
        if case.records:  # of a pipe
            case.files = [folder / "rows"]
            case.files[0].write_bytes(b"".join([case.header, *case.records]))
        counts.update(require_same_trials(run, case.files, options, RATES))

    report_figure(f"trials of sweeps: {dict(counts)}")
    assert min(counts["diverged"], counts["learned"]) > 2


@pytest.mark.parametrize(
    "names",
    [
        # Of 35,000 different strings, 32,768 are used.
        [[f"s{i}" for i in range(25_000)], [f"s{25_000 + i // 2}" for i in range(20_000)]],
        [["s" if i > 1000 else None for i in range(1500)], [i % 5 for i in range(500)]],
    ],
)
def test_later_file_is_read_for_the_trials_that_have_not_ended(names, run, tmp_path):
    """The first trial ends before it reads most strings of the first file."""
    sources = []
    for number, part in enumerate(names):
        rows = [{"a": i % 3, "k": k, "y": "xy"[i % 2]} for i, k in enumerate(part)]
        sources.append(write_jsonl(tmp_path / f"{number}.jsonl", rows))
    options = ["--activation", "identity"]

    assert require_same_trials(run, sources, options, ["1e308", "0.1"]) == ["diverged", "learned"]
