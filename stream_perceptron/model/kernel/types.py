"""What a kernel is given, and what it writes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.activations import Activation

__all__ = ["Block", "Rule"]

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
