"""A run on streams of any format ends bit-identical, however it is split and resumed."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from helpers import CASE_FACTOR, get_seeds
from splits import learn_under_kills, require_same_results

pytestmark = pytest.mark.usefixtures("signal_handlers")

PARTS = 10  # run in parallel
CASES = 250
KILLED_CASES = 4


def run_cases(seeds, folder, monkeypatch, **options):
    """Run a case per seed; count the kinds and formats, the splits and the learned cases."""
    counts = Counter()
    for seed in seeds:
        case_folder = folder / str(seed)
        case_folder.mkdir()
        case, cuts, is_learned = require_same_results(
            random.Random(seed), case_folder, monkeypatch, **options
        )
        counts.update([case.kind, *case.formats])
        counts.update(cases=1, cuts=cuts, sources=len(case.files), learned=is_learned)
    return counts


def format_counts(counts):
    return ", ".join(f"{counts[name]} {name}" for name in ("cases", "sources", "cuts", "learned"))


@pytest.mark.parametrize("part", range(PARTS))
def test_split_run_ends_bit_identical(part, tmp_path, monkeypatch, report_figure):
    n_cases = CASES * CASE_FACTOR // PARTS
    counts = run_cases(get_seeds(n_cases, part * n_cases), tmp_path, monkeypatch)

    report_figure(f"split anywhere, part {part}: {format_counts(counts)}")
    assert counts["learned"] > n_cases / 2
    assert counts["cuts"] > n_cases


@pytest.mark.slow
def test_killed_command_ends_bit_identical(tmp_path, monkeypatch, report_figure):
    n_cases = KILLED_CASES * CASE_FACTOR
    seeds = range(1000, 1000 + n_cases)
    kinds = ("together", "one after another")
    counts = run_cases(
        seeds, tmp_path, monkeypatch, split_by=learn_under_kills, kinds=kinds, max_rows=6000
    )

    report_figure(f"killed anywhere: {format_counts(counts)}")
    assert counts["learned"] > n_cases / 2
    assert counts["cuts"] >= n_cases / 2
