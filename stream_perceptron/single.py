"""The short way of a single sample that brings nothing new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron import kernel

if TYPE_CHECKING:
    from stream_perceptron.network import Network

__all__ = ["Single"]

Array = NDArray[Any]


class Single:
    """A dict of known features with plain numbers, put in place by the compiled kernel.

    Anything else is left to the long way, which gives the same bits.

    Parameters
    ----------
    network
        Whose features they are.

    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._values: Array = np.empty(0, network.dtype)
        self._columns = np.empty(0, np.intp)
        self._block = kernel.Block(
            targets=np.zeros(1, np.intp),
            sample_weights=np.ones(1),
            rates=np.zeros(1),
            nets=np.empty((1, 0), network.dtype),
            eps=np.zeros(1),
            updated=np.zeros(1, bool),
        )

    def place(self, x: Mapping[Any, Any]) -> tuple[Array | None, Array] | None:
        """Return the columns, None for all, and the values of a sample; None if it is not plain."""
        features = self._network.features
        m = len(x)
        if kernel.place is None or type(x) is not dict or m > len(features):
            return None
        if m > len(self._values):
            self._values = np.empty(2 * m, self._network.dtype)
            self._columns = np.empty(2 * m, np.intp)
        is_plain, ascending = kernel.place(
            x, features.names, features.numbers, self._values, self._columns
        )
        if not is_plain:
            return None
        if ascending and m == len(features):
            return None, self._values[:m]
        values, columns = self._values[:m], self._columns[:m]
        if not ascending:
            order = columns.argsort()
            values, columns = values[order], columns[order]
        return columns, values

    def learn(
        self,
        columns: Array | None,
        values: Array,
        target: int,
        weight: float,
        rate: float,
        rule: kernel.Rule,
    ) -> kernel.Block | None:
        """Learn a sample that was placed; return what happened, None if it would diverge."""
        store = self._network.store
        block = self._block
        k = store.shape[0]
        if block.nets.shape[1] != k:
            self._block = block = block._replace(nets=np.empty((1, k), self._network.dtype))
        block.targets[0] = target
        block.sample_weights[0] = weight
        block.rates[0] = rate
        block.updated[0] = False
        X = values[np.newaxis]
        if columns is None:
            done, _ = kernel.learn_rows(store.weights, store.biases, X, rule, block)
        else:
            done, _ = kernel.learn_sparse(store.weights, store.biases, columns, X, rule, block)
        return block if done else None
