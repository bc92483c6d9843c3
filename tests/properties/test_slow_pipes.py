"""A pipe whose rows arrive a few at a time gives the results of one that delivers all at once."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter

import pytest
from helpers import CASE_FACTOR, get_seeds
from splits import Case, Learner, draw_case, load_results, read_rejected_rows

pytestmark = pytest.mark.usefixtures("signal_handlers")

PARTS, CASES, PLAIN_CASES = 4, 1600, 80
TEXT_FORMATS = (
    "csv", "headerless", "objects", "nested", "paths", "lists", "lists of numbers", "libsvm",
)  # fmt: skip


def draw_lines(rng, folder):
    """Return a random case of one text file, and the file's lines; None for other cases.

    Most cases of the two most frequent formats are left out, too.
    """
    case = draw_case(rng, folder, max_rows=25)
    if case.formats[0] in ("csv", "objects") and rng.random() < 0.7:
        return None
    if case.records:
        return case, case.records
    if len(case.files) > 1 or case.formats[0] not in TEXT_FORMATS:
        return None
    case.kind = "pipe"
    return case, case.files[0].read_bytes().splitlines(keepends=True)


def draw_plain_case(rng):
    """Return a random case with a pipe of numbers and labels, with an odd value now and then."""
    form = rng.choice(["csv", "objects", "nested", "lists", "libsvm"])
    odd_share, labels = rng.choice([0, 0.1]), rng.choice([["a", "b"], ["7", "8", "9"]])
    names, lines = [f"f{i}" for i in range(rng.randrange(1, 6))], []
    for i in range(60):
        # One label may occur late, and the labels of some rows may be null or new. The first row,
        # from which the format is detected, has a label.
        label = rng.choice(labels[: 1 + (i > 3) + (i > 30)])
        if i and rng.random() < odd_share / 3:
            label = rng.choice(["", "5"])
        values = [rng.choice([0, 1, 255, 256, -2.5, 0.125]) for _ in names]
        if rng.random() < odd_share:
            values[rng.randrange(len(names))] = rng.choice([None, "x", True])
        features = dict(zip(names, values, strict=True))
        if form == "csv":
            line = ",".join("" if value is None else str(value) for value in [*values, label])
        elif form == "libsvm":
            pairs = rng.sample([*features.items()], rng.randrange(1, len(names) + 1))
            line = " ".join([label, *(f"{name}:{value}" for name, value in pairs)])
        elif form == "lists":
            if rng.random() < odd_share:
                values = (2 * values)[: len(values) + rng.choice([-1, 1])]
            line = json.dumps({"x": values, "y": label or None})
        else:
            members = features if form == "objects" else {"inner": features}
            line = json.dumps({"label": label or None, **members})
        lines.append(line.encode() + b"\n")
    header = ",".join([*names, "label"]).encode() + b"\n" if form == "csv" else b""
    options = ["--skip-bad", *rng.choice([[], ["--standardize"], ["--scale", "0.5"]])]
    return Case([], [form], options, "pipe", lines, header)


def draw_bursts(rng, lines):
    """Return the lines, joined to bursts of several lines in two cases of three."""
    sizes = rng.choice([[1], [1, 2, 5], [3]])
    bursts = []
    while lines:
        size = rng.choice(sizes)
        bursts.append(b"".join(lines[:size]))
        lines = lines[size:]
    return bursts


@pytest.mark.parametrize("part", range(PARTS))
def test_slow_pipe_gives_the_results_of_a_fast_one(part, tmp_path, monkeypatch, report_figure):
    n_cases, counts = CASES * CASE_FACTOR // PARTS, Counter()
    for seed in get_seeds(n_cases, part * n_cases):
        rng, folder = random.Random(seed), tmp_path / str(seed)
        folder.mkdir()
        if (drawn := draw_lines(rng, folder)) is None:
            continue
        case, lines = drawn
        fast, slow = (Learner(folder / name, case, monkeypatch) for name in ("fast", "slow"))
        fast.feed(lines)
        slow.feed(draw_bursts(rng, lines), is_slow=True)

        assert (fast.code, fast.error) == (slow.code, slow.error), (seed, str(case))
        assert fast.model.exists() == slow.model.exists(), (seed, str(case))
        if fast.model.exists():
            results = load_results(fast)
            assert results == load_results(slow), (seed, str(case))
            counts[case.formats[0]] += bool(results)
            assert fast.predictions.read_bytes() == slow.predictions.read_bytes(), (seed, str(case))
        assert read_rejected_rows(fast) == read_rejected_rows(slow), (seed, str(case))
        shutil.rmtree(folder)
    formats = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
    report_figure(f"slow pipes, part {part}: {counts.total()} models: {formats}")
    assert counts.total() > n_cases / 10


def test_bursts_of_plain_rows_give_the_results_of_a_fast_pipe(tmp_path, monkeypatch):
    for seed in get_seeds(PLAIN_CASES * CASE_FACTOR):
        rng, folder = random.Random(seed), tmp_path / str(seed)
        folder.mkdir()
        case = draw_plain_case(rng)
        fast, slow = (Learner(folder / name, case, monkeypatch) for name in ("fast", "slow"))
        fast.feed(case.records)
        slow.feed(draw_bursts(rng, case.records), is_slow=True)

        assert (fast.code, fast.error) == (slow.code, slow.error), (seed, str(case))
        assert load_results(fast) == load_results(slow), (seed, str(case))
        assert fast.predictions.read_bytes() == slow.predictions.read_bytes(), (seed, str(case))
