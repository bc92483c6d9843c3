"""Weights that grow, and their initial values."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import ModelSizeError
from stream_perceptron.model import defaults
from stream_perceptron.model.arrays import Array, Floats

WEIGHTS_PER_NAME = 32  # a name takes about as much memory as 32 weights

_CACHE_LINE = 64  # bytes


def draw_initial_weights(
    seed: int, labels: Array, features: Array, init_range: float
) -> NDArray[np.float64]:
    """Draw the initial weights of labels and features.

    Each weight is a pure function of the seed, the index of its label and the name of its feature,
    so it does not depend on the order of features. The generator is SplitMix64 [^1], used as a
    hash.

    Parameters
    ----------
    seed
        A whole number from 0 to 2^64 - 1.
    labels
        The indices of the labels, shape (k,).
    features
        The hashes of the features' names, shape (d,); 0 stands for the bias.
    init_range
        The weights are uniformly distributed over [-init_range, init_range).

    Returns
    -------
    The weights, shape (k, d).

    Examples
    --------
    >>> block = draw_initial_weights(42, np.arange(3), hash_names(["a", "b"]), 0.03)
    >>> draw_initial_weights(42, np.array([2]), hash_names(["b"]), 0.03) == block[2, 1]
    array([[ True]])

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
    # Adding 0 turns -0 into 0, so that a later update by 0 changes no bit.
    return np.asarray((2.0 * uniform - 1.0) * init_range + 0.0).T


def hash_names(names: Iterable[Hashable]) -> NDArray[np.uint64]:
    """Return the 64-bit FNV-1a hashes [^1] of names as text in UTF-8.

    Examples
    --------
    >>> [hex(value) for value in hash_names(["", "a"]).tolist()]
    ['0xcbf29ce484222325', '0xaf63dc4c8601ec8c']

    References
    ----------
    [^1]: Glenn Fowler, Landon Curt Noll and Kiem-Phong Vo. The FNV non-cryptographic hash
    algorithm. https://www.rfc-editor.org/rfc/rfc9923

    """
    hashes = []
    for name in names:
        value = 0xCBF29CE484222325
        for byte in str(name).encode(errors="surrogatepass"):
            value = (value ^ byte) * 0x100000001B3 % 2**64
        hashes.append(value)
    return np.array(hashes, np.uint64)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's output for the state, computed modulo 2^64."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Weights(NamedTuple):
    """Weights (k, d) and biases (k,), as views of memory that has room for more."""

    weights: Array
    biases: Array
    # The update counts of the bias and each feature, shape (len(memory),).
    update_counts: Floats
    memory: Array  # rows: the biases, then the weight row of each feature
    # The numbers of labels and features whose initial weights are drawn; the initial weights of
    # later names are 0.
    drawn_shape: tuple[int, int]


class WeightStore:
    """Weights (k, d) and biases (k,) that grow by doubling.

    The weights of a feature are contiguous in a weight row, which is padded to whole vectors.
    Growth leaves existing weights unchanged. It takes two steps: `grow` returns the larger arrays,
    and one assignment to `current`, which cannot be interrupted, installs them.
    """

    def __init__(
        self, seed: int | None, init_range: float, max_weights: int = defaults.MAX_WEIGHTS
    ) -> None:
        self.seed = int.from_bytes(os.urandom(8)) if seed is None else int(seed)
        self.init_range = init_range
        self.max_weights = max_weights
        self.current = _view_weights(_aligned_zeros(1, 0), np.zeros(1), 0, 0, (0, 0))

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of labels and of features."""
        k, d = self.current.weights.shape
        return k, d

    def set_max_weights(self, max_weights: int) -> None:
        """Set the maximum number of weights.

        Raises
        ------
        ValueError
            If the model already has more weights.

        """
        k, d = self.shape
        size = count_weights(k, d)
        if size > max_weights:
            raise ValueError(
                f"max_weights is {max_weights:,}, but the model takes {size:,} weights "
                f"(labels: {k:,}, features: {d:,}): choose at least {size:,}"
            )
        self.max_weights = max_weights

    def require_size(self, k: int, d: int) -> None:
        """Check that a model with k labels and d features does not exceed `max_weights`.

        Raises
        ------
        ModelSizeError
            If the model is too large; the name of each label and feature counts as 32 weights.

        """
        size = count_weights(k, d)
        if size > self.max_weights:
            raise ModelSizeError(
                f"the model would take {size:,} weights (labels: {k:,}, features: {d:,}), more "
                f"than {self.max_weights:,}: drop labels or features, or raise max_weights "
                "(--max-weights)"
            )

    def grow(self, k: int, d: int, drawn: Sequence[Hashable] | None = None) -> Weights:
        """Return weights for k labels and d features; neither number may decrease.

        New weights are drawn if `drawn`, the names of all d features, is given; else 0.
        """
        self.require_size(k, d)
        old_k, old_d = self.shape
        drawn_shape = self.current.drawn_shape if drawn is None else (k, d)
        memory, counts = self.current.memory, self.current.update_counts
        if d >= len(memory) or k > memory.shape[1]:
            n_rows = len(memory) if d < len(memory) else max(d + 1, 2 * len(memory))
            memory = _aligned_zeros(n_rows, compute_row_length(k))
            memory[: old_d + 1, :old_k] = self.current.memory[: old_d + 1, :old_k]
            counts = np.zeros(n_rows)
            counts[: old_d + 1] = self.current.update_counts[: old_d + 1]
        counts[old_d + 1 : d + 1] = 0.0
        # The bias is the weight of feature 0, which is always 1.
        initial = None if drawn is None else self._draw(k, drawn).T
        for labels, features in (
            (slice(old_k, k), slice(0, old_d + 1)),
            (slice(0, k), slice(old_d + 1, d + 1)),
        ):
            memory[features, labels] = 0.0 if initial is None else initial[features, labels]
        return _view_weights(memory, counts, k, d, drawn_shape)

    def compute_initial_weights(
        self, k: int, features: Sequence[Hashable], drawn_shape: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Compute the initial biases and weights of k labels and of features, shape (k, 1 + d)."""
        initial = np.zeros((k, 1 + len(features)))
        n_labels, n_features = drawn_shape
        initial[:n_labels, : 1 + n_features] = self._draw(n_labels, features[:n_features])
        return initial

    def shrink(self, k: int, d: int) -> None:
        """Keep only the first k labels and d features."""
        n_labels, n_features = self.current.drawn_shape
        drawn_shape = min(k, n_labels), min(d, n_features)
        memory, counts = self.current.memory, self.current.update_counts
        self.current = _view_weights(memory, counts, k, d, drawn_shape)

    def restore(
        self, weights: Array, biases: Array, update_counts: Floats, drawn_shape: tuple[int, int]
    ) -> None:
        """Replace the weights (k, d), the biases (k,) and the update counts (1 + d,)."""
        k, d = weights.shape
        memory = _aligned_zeros(d + 1, compute_row_length(k))
        memory[0, :k], memory[1:, :k] = biases, weights.T
        self.current = _view_weights(memory, update_counts.copy(), k, d, drawn_shape)

    def _draw(self, k: int, features: Sequence[Hashable]) -> NDArray[np.float64]:
        """Draw the initial biases and weights of k labels and of features, shape (k, 1 + d)."""
        hashes = np.concatenate([[np.uint64(0)], hash_names(features)])
        return draw_initial_weights(self.seed, np.arange(k), hashes, self.init_range)


def count_weights(k: int, d: int) -> int:
    """Return the size of a model with k labels and d features, as `max_weights` counts it."""
    return compute_row_length(k) * d + WEIGHTS_PER_NAME * (k + d)


def compute_max_features(n_labels: int, max_weights: int) -> int:
    """Return the number of features that fit into a model with k labels."""
    return max(
        0,
        (max_weights - WEIGHTS_PER_NAME * n_labels)
        // (compute_row_length(n_labels) + WEIGHTS_PER_NAME),
    )


def compute_row_length(k: int) -> int:
    """Return the length of a weight row for k outputs, padded to whole vectors.

    Examples
    --------
    >>> [compute_row_length(k) for k in (1, 2, 3, 4, 5, 8, 9)]
    [2, 2, 4, 4, 8, 8, 16]

    """
    return 2 if k <= 2 else 4 if k <= 4 else -(-k // 8) * 8


def _view_weights(
    memory: Array, update_counts: Floats, k: int, d: int, drawn_shape: tuple[int, int]
) -> Weights:
    return Weights(memory[1 : d + 1, :k].T, memory[0, :k], update_counts, memory, drawn_shape)


def _aligned_zeros(rows: int, columns: int) -> NDArray[np.float64]:
    """Return an array of zeros (rows, columns), aligned to a cache line."""
    size = rows * columns * 8
    memory = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + size].view(np.float64).reshape(rows, columns)
