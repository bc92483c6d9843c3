"""A run on streams of any format ends bit-identical, however it is split and resumed."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from helpers import CASE_FACTOR, get_seeds
from splits import require_same_results

pytestmark = pytest.mark.usefixtures("signal_handlers")

PARTS = 10  # run in parallel
CASES = 150


@pytest.mark.parametrize("part", range(PARTS))
def test_split_run_ends_bit_identical(part, tmp_path, monkeypatch, report_figure):
    limit = (2, 5, 2**15)[part % 3]
    monkeypatch.setattr("stream_perceptron.data.meaning.reader.MAX_STRING_FEATURES", limit)
    n, counts = CASES * CASE_FACTOR // PARTS, Counter()
    for seed in get_seeds(n, part * n):
        folder = tmp_path / str(seed)
        folder.mkdir()
        case, cuts, is_learned = require_same_results(random.Random(seed), folder, monkeypatch)
        counts.update(cases=1, sources=len(case.files), cuts=cuts, learned=is_learned)

    report_figure(f"split anywhere, part {part}: {dict(counts)}")
    assert counts["learned"] > n / 2
    assert counts["cuts"] > n


@pytest.mark.parametrize("limit", [2, 5, 2**15])
@pytest.mark.parametrize("seed", [225671533, 739925343, 1165510241, 941621529])
def test_split_that_failed_once_ends_bit_identical(seed, limit, tmp_path, monkeypatch):
    monkeypatch.setattr("stream_perceptron.data.meaning.reader.MAX_STRING_FEATURES", limit)
    require_same_results(random.Random(seed), tmp_path, monkeypatch)
