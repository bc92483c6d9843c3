"""Weights that grow, and their initial values."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import FullError

MAX_WEIGHTS = 2**27
NAME_COST = 32  # a name takes about as much memory as 32 weights

_CACHE_LINE = 64  # bytes


def initial_weights(
    seed: int, labels: NDArray[Any], features: NDArray[Any], init_range: float
) -> NDArray[np.float64]:
    """Return the initial weights of labels and features.

    Each is a pure function of the seed, the label's number and the feature's number, so the order
    of growth cannot change it. The generator is SplitMix64 [^1], used as a hash.

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
    states = _mix(label_states + features.astype(np.uint64)[:, np.newaxis])
    # The upper 53 bits make a double in [0, 1).
    uniform = (states >> np.uint64(11)) / 2**53
    # Adding 0 turns -0 into 0, as a step of 0 would; so such a step changes no weight.
    return np.asarray((2.0 * uniform - 1.0) * init_range + 0.0).T


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's output for the state, in arithmetic modulo 2^64."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Grown(NamedTuple):
    """Weights (k, d) and biases (k,): views of memory with room for more."""

    weights: NDArray[Any]
    biases: NDArray[Any]
    room: NDArray[Any]  # rows: the biases, then each feature's weights; columns: outputs, and spare


class WeightStore:
    """Weights (k, d) and biases (k,) that grow by doubling.

    The weights of a feature lie together, in vectors of `padded` outputs. New labels and features
    get their initial weights; present weights stay unchanged. Growing takes two steps: `grown`
    makes the larger weights, and `use` installs them by one uninterruptible assignment.
    """

    def __init__(self, seed: int | None, init_range: float, max_weights: int = MAX_WEIGHTS) -> None:
        self.seed = int.from_bytes(os.urandom(8)) if seed is None else int(seed)
        self.init_range = init_range
        self.max_weights = max_weights
        self.now = _view(_aligned_zeros(1, 0), 0, 0)  # replaced as a whole

    @property
    def weights(self) -> NDArray[Any]:
        """The weights, shape (k, d): a view of memory ordered by feature."""
        return self.now.weights

    @property
    def biases(self) -> NDArray[Any]:
        """The biases, shape (k,)."""
        return self.now.biases

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of labels and of features."""
        return self.now.weights.shape

    def grown(self, k: int, d: int) -> Grown:
        """Return weights of at least the present shape, new ones with their initial values.

        Raises
        ------
        FullError
            If they exceed `max_weights`; the name of each label and feature counts as 32 weights.

        """
        size = padded(k) * d + NAME_COST * (k + d)
        if size > self.max_weights:
            raise FullError(
                f"{k:,} labels and {d:,} features would take {size:,} weights, more than "
                f"{self.max_weights:,}: leave some out, or raise max_weights"
            )
        old_k, old_d = self.shape
        room = self.now.room
        if d >= len(room) or k > room.shape[1]:
            rows = len(room) if d < len(room) else max(d + 1, 2 * len(room))
            room = _aligned_zeros(rows, padded(k))
            room[: old_d + 1, :old_k] = self.now.room[: old_d + 1, :old_k]
        # The bias is the weight of feature 0, which is always 1.
        if k > old_k:
            room[: old_d + 1, old_k:k] = self._initial(range(old_k, k), range(old_d + 1)).T
        if d > old_d:
            room[old_d + 1 : d + 1, :k] = self._initial(range(k), range(old_d + 1, d + 1)).T
        return _view(room, k, d)

    def use(self, grown: Grown) -> None:
        """Install weights made by `grown`."""
        self.now = grown

    def shrink(self, k: int, d: int) -> None:
        """Keep only the first k labels and d features."""
        self.now = _view(self.now.room, k, d)

    def restore(self, weights: NDArray[Any], biases: NDArray[Any]) -> None:
        """Replace all weights by learned weights (k, d) and biases (k,)."""
        k, d = weights.shape
        room = _aligned_zeros(d + 1, padded(k))
        room[0, :k], room[1:, :k] = biases, weights.T
        self.now = _view(room, k, d)

    def _initial(self, labels: range, features: range) -> NDArray[np.float64]:
        return initial_weights(self.seed, np.array(labels), np.array(features), self.init_range)


def padded(k: int) -> int:
    """Return the length of a feature's weights for k outputs, filled up to whole vectors.

    Examples
    --------
    >>> [padded(k) for k in (1, 2, 3, 5, 9)]
    [2, 2, 4, 8, 16]

    """
    return 2 if k <= 2 else 4 if k <= 4 else -(-k // 8) * 8


def _view(room: NDArray[Any], k: int, d: int) -> Grown:
    return Grown(room[1 : d + 1, :k].T, room[0, :k], room)


def _aligned_zeros(rows: int, columns: int) -> NDArray[np.float64]:
    """Return zeros (rows, columns), aligned to a cache line."""
    size = rows * columns * 8
    memory = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + size].view(np.float64).reshape(rows, columns)
