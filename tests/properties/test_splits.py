"""A stream of any format ends bit-identical however it is split and rerun."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from helpers import TIMES
from splits import kill_split, require_alike

pytestmark = pytest.mark.usefixtures("signal_handlers")

PARTS = 12  # run in parallel
CASES = 300
KILLED = 4


def try_cases(seeds, folder, monkeypatch, **how):
    """Try a case per seed; return how often each kind and format came and was learned."""
    counts = Counter()
    for seed in seeds:
        here = folder / str(seed)
        here.mkdir()
        case, cuts, is_learned = require_alike(random.Random(seed), here, monkeypatch, **how)
        counts.update([case.kind, *case.formats])
        counts.update(cases=1, cuts=cuts, sources=len(case.files), learned=is_learned)
    return counts


def summary(counts):
    return ", ".join(f"{counts[what]} {what}" for what in ("cases", "sources", "cuts", "learned"))


@pytest.mark.parametrize("part", range(PARTS))
def test_pieces_end_as_one_go(part, tmp_path, monkeypatch, tell):
    n = CASES * TIMES // PARTS
    counts = try_cases(range(part * n, (part + 1) * n), tmp_path, monkeypatch)

    tell(f"split anywhere, part {part}: {summary(counts)}")
    assert counts["learned"] > n / 2
    assert counts["cuts"] > n


@pytest.mark.slow
def test_killed_commands_end_as_one_go(tmp_path, monkeypatch, tell):
    n = KILLED * TIMES
    seeds = range(1000, 1000 + n)
    kinds = ("together", "one after another")
    counts = try_cases(seeds, tmp_path, monkeypatch, split_by=kill_split, kinds=kinds, most=6000)

    tell(f"killed anywhere: {summary(counts)}")
    assert counts["learned"] > n / 2
    assert counts["cuts"] > n / 2
