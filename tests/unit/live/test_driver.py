"""The training loop: where it splits batches, and where it ends."""

from __future__ import annotations

import numpy as np
import pytest

from stream_perceptron import DivergedError, SampleError, SGDPerceptron
from stream_perceptron.data.batch import Batch
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.schema import Schema
from stream_perceptron.datasets.mnist import sample_path
from stream_perceptron.live import Cursor, LiveModel, StepResult, drive
from stream_perceptron.live.driver import slice_batches
from stream_perceptron.model.rows import Rows

SOURCES = [open_source(str(sample_path()))]


def generate_batches(rng, sizes, rejected_indices=()):
    """Yield batches of these sizes, with rejected rows at these indices of the stream."""
    first = 0
    for n in sizes:
        values, labels = rng.normal(size=(n, 1)), rng.integers(0, 2, n).tolist()

        rejected = {i - first: "it is bad" for i in rejected_indices if first <= i < first + n}
        rows = np.array([i for i in range(n) if i not in rejected], np.intp)
        yield Batch(
            "stream", first + 1, n, rows, Rows.from_table(("x",), values[rows]),
            [labels[i] for i in rows], np.ones(len(rows)), Schema(), rejected,
        )  # fmt: skip
        first += n


def generate_numbered_batches(sizes, first=1):
    """Yield batches of these sizes whose values are the numbers of the rows."""
    for n in sizes:
        values = np.arange(first, first + n, dtype=np.float64)[:, np.newaxis]
        yield Batch(
            "stream", first, n, np.arange(n), Rows.from_table(("x",), values), [None] * n,
            np.ones(n), Schema(),
        )  # fmt: skip
        first += n


def test_batches_are_split_where_a_run_yields_or_ends(rng):
    for _ in range(100):
        sizes = rng.integers(1, 900, int(rng.integers(1, 9))).tolist()
        n, n_rows_before = sum(sizes), int(rng.integers(0, 1500))
        limit = int(rng.integers(1, n + n_rows_before)) if rng.random() < 0.7 else None
        every = int(rng.integers(1, 1200)) if rng.random() < 0.7 else None
        cursor, ends = Cursor(row=n_rows_before, read=n_rows_before), []
        batches = generate_numbered_batches(sizes, n_rows_before + 1)
        for part in slice_batches(batches, SOURCES, cursor, limit, every):
            assert part.first_row == part.features.values[0] == cursor.read + 1
            cursor.row, cursor.read = cursor.row + len(part), cursor.read + len(part)
            ends.append(cursor.read)

        last = (
            n_rows_before + n
            if limit is None
            else min(n_rows_before + n, max(limit, n_rows_before))
        )
        split_points = {n_rows_before + end for end in np.cumsum(sizes).tolist()}
        split_points |= {1000 << i for i in range(4)} | set(
            range(0, n_rows_before + n, every or 10**9)
        )
        assert ends == sorted(
            mark for mark in split_points | {last} if n_rows_before < mark <= last
        )


def test_first_rows_are_learned_one_by_one():
    for n in (0, 1, 3, 6, 20):
        single_sizes, cursor, part_sizes = [1] * min(n, 13), Cursor(), []
        batches = generate_numbered_batches([3, 1, 5, 4])
        for part in slice_batches(batches, SOURCES, cursor, n_single_rows=n):
            part_sizes.append(len(part))
            cursor.read += len(part)

        assert part_sizes[: len(single_sizes)] == single_sizes
        assert sum(part_sizes) == 13


@pytest.mark.parametrize("skip_rejected", [False, True])
def test_rejected_row_ends_the_run_unless_it_is_skipped(skip_rejected, rng):
    for _ in range(30):
        sizes = rng.integers(1, 9, 4).tolist()
        rejected_indices = rng.choice(sum(sizes), 2, replace=False).tolist()
        live = LiveModel(SGDPerceptron(seed=0))
        results = drive(generate_batches(rng, sizes, rejected_indices), live.step, skip_rejected)
        if skip_rejected:
            rejections = [
                f"{rejection.source}: row {rejection.row}"
                for result in results
                for rejection in result.rejected
            ]
            assert rejections == [f"stream: row {i + 1}" for i in sorted(rejected_indices)]
        else:
            with pytest.raises(
                SampleError, match=f"^stream: row {min(rejected_indices) + 1}: it is bad"
            ):
                list(results)
        assert live.model.n_seen == (sum(sizes) - 2 if skip_rejected else min(rejected_indices))
        assert live.ledger.rows == (sum(sizes) if skip_rejected else min(rejected_indices))


def test_stop_or_failure_in_a_step_ends_the_run(rng):
    def step(batch, **outcome):
        empty = np.empty(0, np.intp)
        return StepResult(empty, empty, [], empty, None, [], empty, empty, 0, len(batch), **outcome)

    steps = []
    for outcome, error in (
        ({"stopped": True}, None),
        ({"failure": DivergedError(3)}, DivergedError),
    ):
        steps = []

        def record_step(batch, outcome=outcome, steps=steps):
            steps.append(batch)
            return step(batch, **outcome)

        results = drive(generate_batches(rng, [2, 2]), record_step)
        if error is None:
            list(results)
        else:
            with pytest.raises(error):
                list(results)
        assert len(steps) == 1
