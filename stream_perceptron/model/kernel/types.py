"""What a kernel is given, what it writes, and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.activations import Activation

Array = NDArray[Any]


class Rule(NamedTuple):
    """What does not change from sample to sample."""

    activation: Activation
    epsilon: float
    stop: bool = False


class Block(NamedTuple):
    """What comes with each of n samples, and what is written for each of them."""

    targets: NDArray[np.intp]  # row of the weights that stands for the label; -1: only predict
    sample_weights: NDArray[np.float64]
    rates: NDArray[np.float64]  # learning rate by the number of updates made in this block
    nets: Array  # (n, k), written: net inputs before the update
    eps: NDArray[np.float64]  # (n,), written
    updated: NDArray[np.bool_]  # (n,), written where true
    # How many columns were there before the first row and after each, (n + 1,), as rows may bring
    # features; the others are passed over until then. None if none does.
    widths: NDArray[np.intp] | None = None
    # The net inputs of the rows that bring features, without these; one row for each, written.
    tests: Array | None = None


class Counters:
    """What a kernel counts, as part of learning a sample, so that no interrupt comes between."""

    __slots__ = ("counts", "last")

    def __init__(self) -> None:
        self.counts = np.zeros(2, np.int64)
        self.last = np.full(1, math.nan)


class Done(NamedTuple):
    """How far a kernel came: rows done, and whether it refused the next one as diverging."""

    rows: int
    diverged: bool


class Outcome(IntEnum):
    """What became of one sample."""

    LEARNED = 0  # or tested only, if its error is below epsilon
    DIVERGED = 1  # refused, and nothing is changed
    NOT_PLAIN = 2  # not of the kind that has a short way; nothing is changed


@dataclass(eq=False, repr=False)
class BlockResult:
    """What happened to each of n samples, tested and then trained on."""

    target: NDArray[np.intp]  # the number of the label; -1 where there was none. Shape (n,)
    # The number of the predicted label; -1 where no label was known yet. Shape (n,).
    predicted: NDArray[np.intp]
    # Half the squared error before the update; NaN where there was no label. Shape (n,).
    eps: NDArray[np.float64]
    updated: NDArray[np.bool_]  # whether the weights were changed, shape (n,)
    # The probability of the predicted label if it was asked for, else NaN. Shape (n,).
    probability: NDArray[np.float64]
    # The mean of f' over the outputs of the samples that were probed, else NaN. Shape (n,).
    slope: NDArray[np.float64]
    # The largest output minus the smallest, for the same samples. Shape (n,).
    spread: NDArray[np.float64]
    # Rows of the whole, and their net inputs before the update (rows, k), of which the last ones
    # count; None if nobody asked.
    nets: list[tuple[Any, Array]] | None = None
    diverged: bool = False  # whether the sample after these was refused because it would diverge
    # Whether the last sample ended the training, as its error is below epsilon.
    stopped: bool = False
    refused: Exception | None = None  # why the sample after these would not fit in memory

    def __len__(self) -> int:
        return len(self.target)

    @classmethod
    def blank(cls, n: int) -> BlockResult:
        """Return the result of n samples not yet tested."""
        target, predicted = integers = np.empty((2, n), np.intp)
        integers.fill(-1)
        eps, probability, slope, spread = numbers = np.empty((4, n))
        numbers.fill(math.nan)
        updated = np.zeros(n, bool)
        return cls(target, predicted, eps, updated, probability, slope, spread)

    @classmethod
    def joined(cls, results: Sequence[BlockResult]) -> BlockResult:
        """Return the samples of several results."""
        if len(results) == 1:
            return results[0]
        return cls(
            np.concatenate([each.target for each in results]),
            np.concatenate([each.predicted for each in results]),
            np.concatenate([each.eps for each in results]),
            np.concatenate([each.updated for each in results]),
            np.concatenate([each.probability for each in results]),
            np.concatenate([each.slope for each in results]),
            np.concatenate([each.spread for each in results]),
        )

    def __getitem__(self, part: slice) -> BlockResult:
        """Return a part that shares its arrays with the whole."""
        return BlockResult(
            self.target[part],
            self.predicted[part],
            self.eps[part],
            self.updated[part],
            self.probability[part],
            self.slope[part],
            self.spread[part],
            self.nets,
        )
