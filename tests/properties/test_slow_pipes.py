"""A pipe whose rows arrive a few at a time gives the results of one that delivers all at once."""

from __future__ import annotations

import random
import shutil
from collections import Counter

import pytest
from helpers import CASE_FACTOR
from splits import Learner, draw_case, load_results, read_rejected_rows

pytestmark = pytest.mark.usefixtures("signal_handlers")

PARTS, CASES = 4, 1600
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


def draw_bursts(rng, lines):
    """Return the lines, joined to random bursts in half of the cases."""
    sizes = rng.choice([[1], [1, 2, 5]])
    bursts = []
    while lines:
        size = rng.choice(sizes)
        bursts.append(b"".join(lines[:size]))
        lines = lines[size:]
    return bursts


@pytest.mark.parametrize("part", range(PARTS))
def test_slow_pipe_gives_the_results_of_a_fast_one(part, tmp_path, monkeypatch, report_figure):
    n_cases, counts = CASES * CASE_FACTOR // PARTS, Counter()
    for seed in range(part * n_cases, (part + 1) * n_cases):
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
