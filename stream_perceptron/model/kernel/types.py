"""The inputs and results of a kernel."""

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
    """The settings of learning, the same for all samples."""

    activation: Activation
    epsilon: float
    stop: bool = False


class Block(NamedTuple):
    """The inputs that come with n samples, and the arrays to write their results to."""

    targets: NDArray[np.intp]  # the label's row of the weights; -1: predict only
    sample_weights: NDArray[np.float64]
    rates: NDArray[np.float64]  # learning rates by the number of updates in this block
    nets: Array  # (n, k), written: net inputs before the update
    eps: NDArray[np.float64]  # (n,), written
    updated: NDArray[np.bool_]  # (n,), written where true
    # The number of columns known before the first row and after each, (n + 1,); further columns are
    # skipped until a row brings them. None if no row brings any.
    widths: NDArray[np.intp] | None = None
    # Written: for each row that brings features, its net inputs without these.
    tests: Array | None = None


class Counters:
    """Counts that a kernel updates as it learns a sample, so that no interrupt parts them."""

    __slots__ = ("counts", "last")

    def __init__(self) -> None:
        self.counts = np.zeros(2, np.int64)
        self.last = np.full(1, math.nan)


class Done(NamedTuple):
    """The number of rows done, and whether the next one was refused as diverging."""

    rows: int
    diverged: bool


class Outcome(IntEnum):
    """The outcome of one sample."""

    LEARNED = 0  # or only tested, if its error is below epsilon
    DIVERGED = 1  # refused; nothing is changed
    NOT_PLAIN = 2  # the fast path cannot take it; nothing is changed


@dataclass(eq=False, repr=False)
class BlockResult:
    """The results of n samples, tested and then trained on: arrays of shape (n,)."""

    target: NDArray[np.intp]  # the label's number; -1 without a label
    predicted: NDArray[np.intp]  # the predicted label's number; -1 if no label was known
    eps: NDArray[np.float64]  # half the squared error before the update; NaN without a label
    updated: NDArray[np.bool_]  # whether the weights were changed
    # The probability of the predicted label if it was asked for, else NaN.
    probability: NDArray[np.float64]
    # The mean of f' over the outputs if the sample was probed, else NaN.
    slope: NDArray[np.float64]
    spread: NDArray[np.float64]  # the largest output minus the smallest, likewise
    # Pairs of rows and their net inputs (rows, k) before the update. If a row is in several, the
    # last one counts. None if not asked for.
    nets: list[tuple[Any, Array]] | None = None
    diverged: bool = False  # whether the next sample was refused because it would diverge
    stopped: bool = False  # whether the last sample's error, below epsilon, ended the training
    refused: Exception | None = None  # why the next sample does not fit in memory

    def __len__(self) -> int:
        return len(self.target)

    @property
    def arrays(self) -> Any:
        """The arrays with a value for each sample."""
        return list(vars(self).values())[:7]

    @classmethod
    def blank(cls, n: int) -> BlockResult:
        """Return a blank result for n samples."""
        # `np.full` takes several times as long, which counts in blocks of one row.
        target, predicted = integers = np.empty((2, n), np.intp)
        integers.fill(-1)
        eps, probability, slope, spread = numbers = np.empty((4, n))
        numbers.fill(math.nan)
        return cls(target, predicted, eps, np.zeros(n, bool), probability, slope, spread)

    @classmethod
    def joined(cls, results: Sequence[BlockResult]) -> BlockResult:
        """Return several results as one."""
        joined: Any = map(np.concatenate, zip(*(each.arrays for each in results), strict=True))
        return results[0] if len(results) == 1 else cls(*joined)

    def __getitem__(self, part: slice) -> BlockResult:
        """Return a part that shares its arrays with the whole."""
        parts: Any = [*(array[part] for array in self.arrays), self.nets]
        return BlockResult(*parts)
