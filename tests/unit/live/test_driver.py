"""The only training loop: where it cuts batches, and where it ends."""

from __future__ import annotations

import numpy as np
import pytest

from stream_perceptron import DivergedError, SampleError, SGDPerceptron
from stream_perceptron.data.batch import Batch, InferredKnowledge
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.source import RawRows
from stream_perceptron.datasets.mnist import sample_path
from stream_perceptron.live import Cursor, LiveModel, StepResult, drive
from stream_perceptron.live.driver import slice_rows
from stream_perceptron.model.rows import Rows

SOURCES = [open_source(str(sample_path()))]


def batches(rng, sizes, bad=()):
    """Return batches of some sizes, with rejected rows at some places."""
    first = 0
    for n in sizes:
        values, labels = rng.normal(size=(n, 1)), rng.integers(0, 2, n).tolist()

        def batch_of(n, values=values, labels=labels, first=first):
            rejected = {i - first: "it is bad" for i in bad if first <= i < first + n}
            rows = np.array([i for i in range(n) if i not in rejected], np.intp)
            return Batch(
                "stream", first + 1, n, rows, Rows.from_table(("x",), values[rows]),
                [labels[i] for i in rows], np.ones(len(rows)), InferredKnowledge(Schema()),
                rejected, interpret_first=batch_of,
            )  # fmt: skip

        yield batch_of(n)
        first += n


class Numbers(RawRows):
    """Rows that are numbers."""

    def __init__(self, numbers):
        self.numbers = numbers

    def __len__(self):
        return len(self.numbers)

    def _slice(self, start, end):
        return Numbers(self.numbers[start:end])


def raw_rows(sizes, first=1):
    """Yield rows of some sizes that are numbered, with an interpreter."""
    for n in sizes:
        yield None, Numbers(range(first, first + n))
        first += n


def test_cuts_are_where_a_run_ends_or_yields(rng):
    for _ in range(100):
        sizes = rng.integers(1, 900, int(rng.integers(1, 9))).tolist()
        n, begun = sum(sizes), int(rng.integers(0, 1500))
        limit = int(rng.integers(1, n + begun)) if rng.random() < 0.7 else None
        every = int(rng.integers(1, 1200)) if rng.random() < 0.7 else None
        name_lifetime = int(rng.integers(1, 1200)) if rng.random() < 0.3 else None
        here, ends = Cursor(row=begun, read=begun), []
        for _, part in slice_rows(
            raw_rows(sizes, begun + 1), SOURCES, here, limit, every, name_lifetime=name_lifetime
        ):
            assert part.numbers[0] == here.read + 1
            here.row, here.read = here.row + len(part), here.read + len(part)
            ends.append(here.read)

        last = begun + n if limit is None else min(begun + n, max(limit, begun))
        marks = {begun + end for end in np.cumsum(sizes).tolist()}
        marks |= {1000 << i for i in range(4)} | set(range(0, begun + n, every or 10**9))
        marks |= set(range(0, begun + n, name_lifetime or 10**9))
        assert ends == sorted(mark for mark in marks | {last} if begun < mark <= last)


def test_some_rows_are_learned_one_by_one():
    for n in (0, 1, 3, 6, 20):
        single, here, found = [1] * min(n, 13), Cursor(), []
        for _, part in slice_rows(raw_rows([3, 1, 5, 4]), SOURCES, here, n_single_rows=n):
            found.append(len(part))
            here.read += len(part)

        assert found[: len(single)] == single
        assert sum(found) == 13


@pytest.mark.parametrize("skip_rejected", [False, True])
def test_rejected_rows_end_it_after_the_rows_before_them(skip_rejected, rng):
    for _ in range(30):
        sizes = rng.integers(1, 9, 4).tolist()
        bad = rng.choice(sum(sizes), 2, replace=False).tolist()
        live = LiveModel(SGDPerceptron(seed=0))
        results = drive(batches(rng, sizes, bad), live.step, skip_rejected)
        if skip_rejected:
            places = [
                f"{each.source}: row {each.row}" for result in results for each in result.rejected
            ]
            assert places == [f"stream: row {i + 1}" for i in sorted(bad)]
        else:
            with pytest.raises(SampleError, match=f"^stream: row {min(bad) + 1}: it is bad"):
                list(results)
        assert live.model.n_seen == (sum(sizes) - 2 if skip_rejected else min(bad))
        assert live.ledger.rows == (sum(sizes) if skip_rejected else min(bad))


def test_what_a_step_refuses_ends_it(rng):
    def step(batch, **how):
        nothing = np.empty(0, np.intp)
        return StepResult(
            nothing, nothing, [], nothing, None, [], nothing, nothing, 0, len(batch), **how
        )

    steps = []
    for how, error in (({"stopped": True}, None), ({"failure": DivergedError(3)}, DivergedError)):
        steps = []

        def count(batch, how=how, steps=steps):
            steps.append(batch)
            return step(batch, **how)

        results = drive(batches(rng, [2, 2]), count)
        if error is None:
            list(results)
        else:
            with pytest.raises(error):
                list(results)
        assert len(steps) == 1
