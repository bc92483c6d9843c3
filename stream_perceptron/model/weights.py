"""Weights that grow, and what a new one starts with."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import FullError

MAX_WEIGHTS = 2**27
NAME_COST = 32  # weights, which take about as much memory as a name

_CACHE_LINE = 64  # bytes


def initial_weights(
    seed: int, labels: NDArray[Any], features: NDArray[Any], init_range: float
) -> NDArray[np.float64]:
    """Return the weights that every label and feature starts with.

    Each is a pure function of the seed, the number of the label and the number of the feature, so
    the order of growth cannot change it. The generator is SplitMix64 [^1], used as a hash.

    Parameters
    ----------
    seed
        From 0 to 2^64 - 1.
    labels
        The numbers of the labels, shape (k,).
    features
        The numbers of the features, shape (d,): 0 for the bias, column + 1 for a feature.
    init_range
        The weights are uniform in [-init_range, init_range).

    Returns
    -------
    The weights, shape (k, d).

    Examples
    --------
    >>> block = initial_weights(42, np.arange(3), np.arange(5), 0.03)
    >>> bool((initial_weights(42, np.array([2]), np.array([4]), 0.03) == block[2, 4]).all())
    True

    References
    ----------
    [^1]: Guy L. Steele Jr., Doug Lea and Christine H. Flood. 2014. Fast splittable pseudorandom
    number generators. OOPSLA '14. https://doi.org/10.1145/2660193.2660195

    """
    seed_state = _mix(np.array([seed], np.uint64))
    label_states = _mix(seed_state + labels.astype(np.uint64))
    states = _mix(label_states[:, np.newaxis] + features.astype(np.uint64))
    # The upper 53 bits make a double in [0, 1).
    uniform = (states >> np.uint64(11)) / 2**53
    # Adding 0 makes -0 a 0: only so does a step of 0 leave every weight as it is.
    return np.asarray((2.0 * uniform - 1.0) * init_range + 0.0)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's output for the state, in arithmetic modulo 2^64."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Grown(NamedTuple):
    """Weights (k, d) and biases (k,), views of memory in which there is room for more."""

    weights: NDArray[Any]
    biases: NDArray[Any]
    room_for_weights: NDArray[Any]
    room_for_biases: NDArray[Any]


class WeightStore:
    """Weights (k, d) and biases (k,) that grow by doubling.

    New rows and columns get their initial weights; what is there stays as it is. To grow takes two
    steps: `grown` makes the larger weights, and `use` puts them in place, by one assignment that
    no interrupt can divide.
    """

    def __init__(
        self,
        seed: int | None,
        init_range: float,
        dtype: np.dtype[Any],
        max_weights: int = MAX_WEIGHTS,
    ) -> None:
        self.seed = int.from_bytes(os.urandom(8)) if seed is None else int(seed)
        self.init_range = init_range
        self.max_weights = max_weights
        self._now = _view(np.zeros((0, 0), dtype), np.zeros(0, dtype), 0, 0)

    @property
    def weights(self) -> NDArray[Any]:
        """The weights, shape (k, d)."""
        return self._now.weights

    @property
    def biases(self) -> NDArray[Any]:
        """The biases, shape (k,)."""
        return self._now.biases

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of labels, and of features."""
        return self._now.weights.shape

    def grown(self, k: int, d: int) -> Grown:
        """Return weights of at least the present shape, the new ones with their initial values.

        Raises
        ------
        FullError
            If they are more than `max_weights`; each label and each feature counts as 32, for the
            memory that its name takes.

        """
        size = k * d + NAME_COST * (k + d)
        if size > self.max_weights:
            raise FullError(
                f"{k:,} labels and {d:,} features would take {size:,} weights, more than "
                f"{self.max_weights:,}: leave some out, or raise max_weights"
            )
        now = self._now
        rows, columns = now.room_for_weights.shape
        if k > rows or d > columns:
            rows = k if k <= rows else max(k, 2 * rows)
            columns = d if d <= columns else max(d, 2 * columns)
            now = self._moved(rows, columns)
        old_k, old_d = self.shape
        after = _view(now.room_for_weights, now.room_for_biases, k, d)
        if k > old_k:
            rows_ = np.arange(old_k, k)
            after.weights[old_k:, :old_d] = self._initial(rows_, np.arange(old_d) + 1)
            after.biases[old_k:] = self._initial(rows_, np.zeros(1))[:, 0]
        if d > old_d:
            after.weights[:, old_d:] = self._initial(np.arange(k), np.arange(old_d, d) + 1)
        return after

    def use(self, grown: Grown) -> None:
        """Put weights in place that `grown` made."""
        self._now = grown

    def shrink(self, k: int, d: int) -> None:
        """Give up the last rows and columns."""
        self._now = _view(self._now.room_for_weights, self._now.room_for_biases, k, d)

    def trim(self) -> None:
        """Give up spare columns, at the price of a copy if there are any."""
        if self._now.room_for_weights.shape[1] != _padded(self.shape[1], self.weights.dtype):
            self._now = self._moved(len(self._now.room_for_weights), self.shape[1])

    def restore(self, weights: NDArray[Any], biases: NDArray[Any]) -> None:
        """Take over weights (k, d) and biases (k,) that were learned before."""
        k, d = weights.shape
        empty = _view(self._now.room_for_weights, self._now.room_for_biases, 0, 0)
        self._now = empty
        moved = self._moved(k, d)
        after = _view(moved.room_for_weights, moved.room_for_biases, k, d)
        after.weights[:], after.biases[:] = weights, biases
        self._now = after

    def _moved(self, rows: int, columns: int) -> Grown:
        """Return the weights in new memory."""
        k, d = self.shape
        weights = _aligned_zeros(rows, columns, self.weights.dtype)
        biases = np.zeros(rows, self.biases.dtype)
        weights[:k, :d], biases[:k] = self.weights, self.biases
        return _view(weights, biases, k, d)

    def _initial(self, labels: NDArray[Any], features: NDArray[Any]) -> NDArray[np.float64]:
        return initial_weights(self.seed, labels, features, self.init_range)


def _view(weights: NDArray[Any], biases: NDArray[Any], k: int, d: int) -> Grown:
    return Grown(weights[:k, :d], biases[:k], weights, biases)


def _padded(columns: int, dtype: np.dtype[Any]) -> int:
    """Return the columns of whole cache lines that hold so many."""
    in_line = _CACHE_LINE // dtype.itemsize
    return -(-columns // in_line) * in_line


def _aligned_zeros(rows: int, columns: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros (rows, columns or some more), of which each row begins with a cache line.

    So the compiled kernel can use the widest vectors for whole rows.
    """
    columns = _padded(columns, dtype)
    size = rows * columns * dtype.itemsize
    memory = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(rows, columns)
