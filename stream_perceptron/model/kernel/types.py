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
    """What happened to each of n samples, tested and then trained on: arrays of shape (n,)."""

    target: NDArray[np.intp]  # the number of the label; -1 where there was none
    predicted: NDArray[np.intp]  # that of the predicted label; -1 where none was known yet
    eps: NDArray[np.float64]  # half the squared error before the update; NaN without a label
    updated: NDArray[np.bool_]  # whether the weights were changed
    # The probability of the predicted label if it was asked for, else NaN.
    probability: NDArray[np.float64]
    # The mean of f' over the outputs of the samples that were probed, else NaN.
    slope: NDArray[np.float64]
    spread: NDArray[np.float64]  # their largest output minus the smallest
    # Rows of the whole, and their net inputs before the update (rows, k), of which the last ones
    # count; None if nobody asked.
    nets: list[tuple[Any, Array]] | None = None
    diverged: bool = False  # whether the sample after these was refused because it would diverge
    stopped: bool = False  # whether the last sample's error, below epsilon, ended the training
    refused: Exception | None = None  # why the sample after these would not fit in memory

    def __len__(self) -> int:
        return len(self.target)

    @property
    def arrays(self) -> Any:
        """What there is of each sample."""
        return list(vars(self).values())[:7]

    @classmethod
    def blank(cls, n: int) -> BlockResult:
        """Return the result of n samples not yet tested."""
        # `np.full` takes several times as long, and many blocks have one row.
        target, predicted = integers = np.empty((2, n), np.intp)
        integers.fill(-1)
        eps, probability, slope, spread = numbers = np.empty((4, n))
        numbers.fill(math.nan)
        return cls(target, predicted, eps, np.zeros(n, bool), probability, slope, spread)

    @classmethod
    def joined(cls, results: Sequence[BlockResult]) -> BlockResult:
        """Return the samples of several results."""
        joined: Any = map(np.concatenate, zip(*(each.arrays for each in results), strict=True))
        return results[0] if len(results) == 1 else cls(*joined)

    def __getitem__(self, part: slice) -> BlockResult:
        """Return a part that shares its arrays with the whole."""
        parts: Any = [*(array[part] for array in self.arrays), self.nets]
        return BlockResult(*parts)
