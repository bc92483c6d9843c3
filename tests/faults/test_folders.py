"""Each row of a folder is learned once, however its files are moved, rotated, grown and copied."""

from __future__ import annotations

import random
import signal
from collections import Counter

import pytest
from folders import require_learned_once
from helpers import TIMES

PARTS = 4  # run in parallel
CASES = 120


@pytest.fixture(autouse=True)
def handlers():
    """Restore the signal handlers, which the command leaves in place until it ends."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("part", range(PARTS))
def test_each_row_of_a_changing_folder_is_learned_once(part, tmp_path, monkeypatch, tell):
    n, counts = CASES * TIMES // PARTS, Counter()
    for seed in range(part * n, (part + 1) * n):
        folder = tmp_path / str(seed)
        folder.mkdir()
        counts += require_learned_once(random.Random(seed), folder, monkeypatch)

    named = ("cases", "changes", "rows", "whole", "limit", "signal", "crash", "refused")
    tell(f"folders, part {part}: " + ", ".join(f"{counts[name]:,} {name}" for name in named))
    assert counts["learned"] > n / 2
