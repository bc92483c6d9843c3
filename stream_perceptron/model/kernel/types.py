"""The inputs and results of a kernel; kernel.h defines equivalent structs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.activations import Activation
from stream_perceptron.model.rates import FallingRate


class LearningRule(NamedTuple):
    """The settings of the learning rule, the same for all samples."""

    activation: Activation
    epsilon: float
    falling_rate: FallingRate | None = None  # None if all weights share a learning rate
    stop: bool = False  # whether the first sample with an error below epsilon ends the training


class Part(NamedTuple):
    """Rows [start, end) of some samples, which the kernel learns in one call."""

    start: int
    end: int
    sample_weights: NDArray[np.float64]  # shape (n,)
    # Learning rates, by the number of updates so far in this part; the ends of falling ones.
    rates: NDArray[np.float64]
    # The number of features known before each row of the part, and after the last. None if no row
    # adds features.
    n_features: NDArray[np.intp] | None = None
    n_labels: NDArray[np.intp] | None = None  # the same for labels
    learns: bool = True  # whether rows with a target are learned
    with_predictions: bool = True
    with_scores: bool = False


class Counters:
    """Counters that a kernel updates together with the weights, without interruption."""

    __slots__ = ("counts", "last_error")

    def __init__(self) -> None:
        self.counts = np.zeros(2, np.int64)  # samples learned from, and updates
        self.last_error = np.full(1, math.nan)
