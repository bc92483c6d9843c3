"""What a kernel is given, and what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stream_perceptron.activations import Activation

__all__ = ["Block", "ByteRows", "Rule"]

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


@dataclass(frozen=True)
class ByteRows:
    """Rows of 8-bit features, such as pixels, that a kernel scales one at a time.

    So they take an eighth of the memory on their way to it.

    Parameters
    ----------
    values
        The features, shape (n, d).
    scale
        What to multiply them by.

    Examples
    --------
    >>> rows = ByteRows(np.array([[0, 255]], np.uint8), 1 / 255)
    >>> len(rows), rows.numbers(np.float64).tolist()
    (1, [[0.0, 1.0]])

    """

    values: NDArray[np.uint8]
    scale: float

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, and of features."""
        return self.values.shape

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> ByteRows:
        """Return some of the rows."""
        return ByteRows(self.values[rows], self.scale)

    def numbers(self, dtype: DTypeLike) -> Array:
        """Return the features as numbers, shape (n, d)."""
        return np.multiply(self.values, self.scale, dtype=np.float64).astype(dtype, copy=False)
