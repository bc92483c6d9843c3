"""What rows may cost, counted: calls of the package's Python functions, and bytes of memory."""

from __future__ import annotations

import os
import sys
import threading
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from helpers import ROOT, encode_jsonl, write_jsonl

from stream_perceptron import LiveModel
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.live import learn

PACKAGE = str(ROOT / "stream_perceptron")
WARM_UP = 300  # rows


@pytest.fixture
def calls():
    """A counter of the calls of the package's functions, by name, in all threads."""
    counts = Counter()

    def count(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            counts[frame.f_code.co_name] += 1

    threading.setprofile(count)
    sys.setprofile(count)
    yield counts
    sys.setprofile(None)
    threading.setprofile(None)


def start(source, every=1, **options):
    """Return a new model, and the results of learning a source in steps of `every` rows."""
    sources = [open_source(str(source))]
    live = LiveModel.start(sources, ReadOptions(**options), seed=0)
    return live, learn(live, sources, every=every)


@pytest.mark.parametrize("n_columns", [2, 200])
def test_row_from_a_pipe_takes_few_calls(n_columns, calls, report_figure):
    reader, writer = os.pipe()
    names = [f"c{i}" for i in range(n_columns)]
    lines = [
        encode_jsonl([dict.fromkeys(names, i % 7) | {"s": "ab"[i % 2], "y": i % 3}])
        for i in range(2 * WARM_UP)
    ]
    os.write(writer, lines[0])
    live, results = start(f"/dev/fd/{reader}")
    for n, line in enumerate(lines, 1):
        if n > 1:
            os.write(writer, line)
        while live.progress.rows < n:
            next(results)
        if n == WARM_UP:
            calls.clear()
    total = calls.total() / WARM_UP
    os.close(writer)
    results.close()

    report_figure(f"a row of {n_columns} columns from a pipe: {total:.0f} calls")
    assert total < 150


def test_string_takes_no_call(calls, tmp_path):
    """Even a new one; only names, labels and the first string of a column do."""
    rows = [{"s": f"s{i % 50}", "text": f"a b c d{i % 9}", "y": i % 2} for i in range(1000)]
    _, results = start(write_jsonl(tmp_path / "s.jsonl", rows))
    for _ in results:
        pass

    assert calls["resolve_cell"] < 20


def measure_growth(results, n):
    """Return the bytes that the second n results leave in memory, and the most that they need."""
    sizes = np.zeros(2 * n, int)  # allocated before anything is measured
    tracemalloc.start()
    try:
        for i in range(2 * n):
            if i == n:
                tracemalloc.reset_peak()
            next(results)
            sizes[i] = tracemalloc.get_traced_memory()[0]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The least of several sizes has no buffers that are in use only now and then.
    before, now = (sizes[end - n // 10 : end].min() for end in (n, 2 * n))
    return now - before, peak - before


def test_late_label_copies_no_known_name(tmp_path, report_figure):
    n_known = 20_000
    texts = [" ".join(f"w{i}" for i in range(j, n_known, 100)) for j in range(100)]
    rows = [{"id": i, "words": text} for i, text in enumerate(texts)]
    rows += [{"id": i, "label": "ab"[i % 2]} for i in range(100)]
    rows += [row for i in range(100, 300) for row in ({"id": i, "a": 1}, {"id": i, "label": "a"})]
    live, results = start(write_jsonl(tmp_path / "s.jsonl", rows), join="id")
    _, peak = measure_growth(results, 300)

    report_figure(f"late labels among {n_known:,} known names need {peak / 1000:.0f} kB at once")
    assert len(live.model.features_) > n_known
    assert peak < 8 * n_known  # the pointers of a copied list


def test_learned_rows_leave_nothing_in_memory(tmp_path, report_figure):
    n = 200_000
    rows = [{"a": i % 7, "s": "ab"[i % 2], "y": i % 3} for i in range(3 * n)]
    _, results = start(write_jsonl(tmp_path / "s.jsonl", rows), every=100)
    kept, _ = measure_growth(results, n // 100)

    report_figure(f"{n:,} learned rows leave {kept / n:.1f} bytes each")
    assert kept < n
