"""Weights that grow, and what a new one starts with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["WeightStore", "initial_weights"]

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
    uniform = (states >> np.uint64(11)) * 2.0**-53
    # Adding 0 makes -0 a 0: only so does a step of 0 leave every weight as it is.
    return np.asarray((2.0 * uniform - 1.0) * init_range + 0.0)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's output for the state, in arithmetic modulo 2^64."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class WeightStore:
    """Weights (k, d) and biases (k,) that grow by doubling.

    New rows and columns get their initial weights; what is there stays as it is.
    """

    def __init__(self, seed: int, init_range: float, dtype: np.dtype[Any]) -> None:
        self.seed = seed
        self.init_range = init_range
        self._weights = np.zeros((0, 0), dtype)
        self._biases = np.zeros(0, dtype)
        self._use(0, 0)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.seed, self.init_range, self.weights, self.biases

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        seed, init_range, weights, biases = state
        WeightStore.__init__(self, seed, init_range, weights.dtype)
        self.restore(weights, biases)

    def _use(self, k: int, d: int) -> None:
        """Set `weights` (k, d) and `biases` (k,), which are views of what there is room for."""
        self.shape = (k, d)
        self.weights = self._weights[:k, :d]
        self.biases = self._biases[:k]

    def contiguous_weights(self) -> NDArray[Any]:
        """Return `weights` after giving up spare columns, at the price of a copy if there are."""
        if self._weights.shape[1] != self.shape[1]:
            self._reserve(self._weights.shape[0], self.shape[1])
        return self.weights

    def resize(self, k: int, d: int) -> None:
        """Grow to (k, d) with initial weights, or shrink."""
        old_k, old_d = self.shape
        capacity = self._weights.shape
        if k > capacity[0] or d > capacity[1]:
            self._reserve(
                *(
                    size if size <= spare else max(size, 2 * spare)
                    for size, spare in zip((k, d), capacity, strict=True)
                )
            )
        self._use(k, d)
        if k > old_k:
            self._initialise(slice(old_k, k), slice(0, old_d))
            rows = np.arange(old_k, k)
            self._biases[old_k:k] = initial_weights(self.seed, rows, np.zeros(1), self.init_range)[
                :, 0
            ]
        if d > old_d:
            self._initialise(slice(0, k), slice(old_d, d))

    def restore(self, weights: NDArray[Any], biases: NDArray[Any]) -> None:
        """Take over weights (k, d) and biases (k,) that were learned before."""
        self._use(0, 0)
        self._reserve(*weights.shape)
        self._use(*weights.shape)
        self.weights[:], self.biases[:] = weights, biases

    def _reserve(self, rows: int, columns: int) -> None:
        k, d = self.shape
        weights = _aligned_zeros(rows, columns, self._weights.dtype)
        weights[:k, :d] = self.weights
        biases = np.zeros(rows, self._biases.dtype)
        biases[:k] = self.biases
        self._weights, self._biases = weights, biases
        self._use(k, d)

    def _initialise(self, rows: slice, columns: slice) -> None:
        self._weights[rows, columns] = initial_weights(
            self.seed,
            np.arange(rows.start, rows.stop),
            np.arange(columns.start, columns.stop) + 1,
            self.init_range,
        )


def _aligned_zeros(rows: int, columns: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros (rows, columns) that begin with a cache line, as the widest vectors want it."""
    size = rows * columns * dtype.itemsize
    memory = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(rows, columns)
