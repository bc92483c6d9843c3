"""The inputs and results of a kernel; kernel.h defines equivalent structs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.activations import Activation
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.rows import Rows


class Rule(NamedTuple):
    """The settings of the learning rule, the same for all samples."""

    activation: Activation
    epsilon: float
    stop: bool = False  # whether the first sample with an error below epsilon ends the training


class Part(NamedTuple):
    """Rows that a kernel learns in one call."""

    rows: Rows
    start: int  # the first of the rows to learn, which is also the first index into the arrays
    end: int  # the end of the rows to learn
    # The feature index of each name in the rows, shape (len(names),). The index of an unknown
    # feature is negative or at least the number of features.
    feature_ids: NDArray[np.int32]
    targets: NDArray[np.intp]  # the output of each row's label, shape (n,); -1: only predict
    sample_weights: NDArray[np.float64]  # shape (n,)
    rates: NDArray[np.float64]  # learning rates, by the number of updates so far in this part
    # The number of features known before each row, and after the last, shape (n + 1,). None if no
    # row adds features.
    n_features: NDArray[np.intp] | None = None
    n_labels: NDArray[np.intp] | None = None  # the same for labels


class Counters:
    """Counters that a kernel updates together with the weights, without interruption."""

    __slots__ = ("counts", "last_error")

    def __init__(self) -> None:
        self.counts = np.zeros(2, np.int64)  # samples learned from, and updates
        self.last_error = np.full(1, math.nan)


class Results(NamedTuple):
    """The arrays that a kernel writes, row by row; None if not requested."""

    counters: Counters
    # Half the squared error before the update, shape (n,); unchanged for a row without a target.
    errors: NDArray[np.float64]
    updated: NDArray[np.bool_]  # set where the row changed the weights, shape (n,)
    nets: Array | None = None  # net inputs before the row's update, shape (n, k)
    # The output with the largest net input, the first in a tie, and its score; shape (n,).
    predicted: NDArray[np.intp] | None = None
    scores: NDArray[np.float64] | None = None
    # The score of each output, shape (n, at least k); unchanged for labels not known yet.
    all_scores: NDArray[np.float64] | None = None
    # The mean of f' over the outputs, and the largest output minus the smallest; shape (n, 2).
    # Written for one in every 32 rows with a target.
    probes: NDArray[np.float64] | None = None
