"""The perceptron itself: what is known, what is learned, and how both grow."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model import kernel
from stream_perceptron.model.activations import Activation
from stream_perceptron.model.kernel import ByteRows
from stream_perceptron.model.vocabulary import Vocabulary, natural_order
from stream_perceptron.model.weights import WeightStore

if TYPE_CHECKING:
    from river.optim.base import Scheduler

__all__ = ["PROBED", "Network", "Trace"]

Array = NDArray[Any]

_UNKNOWN = -2  # in the place of a label's number

PROBED = 32  # one labelled sample of so many has its outputs looked at


@dataclass
class Trace:
    """What happened to each of n samples, tested and then trained on.

    Parameters
    ----------
    target
        The number of the label; -1 where there was none. Shape (n,).
    predicted
        The number of the predicted label; -1 where no label was known yet. Shape (n,).
    eps
        Half the squared error before the update; NaN where there was no label. Shape (n,).
    updated
        Whether the weights were changed, shape (n,).
    probability
        The probability of the predicted label if it was asked for, else NaN. Shape (n,).
    slope
        The mean of f' over the outputs, for every `PROBED`th labelled sample, else NaN. Shape (n,).
    spread
        The largest output minus the smallest, for the same samples. Shape (n,).
    diverged
        Whether the sample after these was refused because it would diverge.

    """

    target: NDArray[np.intp]
    predicted: NDArray[np.intp]
    eps: NDArray[np.float64]
    updated: NDArray[np.bool_]
    probability: NDArray[np.float64]
    slope: NDArray[np.float64]
    spread: NDArray[np.float64]
    diverged: bool = False

    def __len__(self) -> int:
        return len(self.target)

    @classmethod
    def blank(cls, n: int) -> Trace:
        """Return the trace of n samples not yet tested."""
        return cls(
            target=np.full(n, -1, np.intp),
            predicted=np.full(n, -1, np.intp),
            eps=np.full(n, np.nan),
            updated=np.zeros(n, bool),
            probability=np.full(n, np.nan),
            slope=np.full(n, np.nan),
            spread=np.full(n, np.nan),
        )

    @classmethod
    def joined(cls, traces: Sequence[Trace]) -> Trace:
        """Return traces one after another as one, diverged if the last one is."""
        if len(traces) == 1:
            return traces[0]

        def join(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(trace, name) for trace in traces])

        return cls(
            join("target"),
            join("predicted"),
            join("eps"),
            join("updated"),
            join("probability"),
            join("slope"),
            join("spread"),
            traces[-1].diverged,
        )

    def __getitem__(self, part: slice) -> Trace:
        """Return a part that shares its arrays with the whole."""
        return Trace(
            self.target[part],
            self.predicted[part],
            self.eps[part],
            self.updated[part],
            self.probability[part],
            self.slope[part],
            self.spread[part],
        )


class Network:
    """Weights with the names of their rows and columns.

    Rows that come in are checked: finite, of `dtype`, with labels that are hashable or None.

    Parameters
    ----------
    activation
        The output function.
    store
        The weights, still empty.

    """

    def __init__(self, activation: Activation, store: WeightStore) -> None:
        self.activation = activation
        self.store = store
        self.dtype = store.weights.dtype
        self.labels = Vocabulary()
        self.features = Vocabulary()
        self.n_seen = 0
        self.n_updates = 0
        self.last_epsilon = math.nan

    def net(self, names: tuple[Hashable, ...], row: Array | ByteRows) -> Array:
        """Return the net inputs (k,) of one row, with the bits that training would compute."""
        columns, rows = self._place(names, self._numbers(row))
        x = rows[0]
        if columns is not None:
            nonzero = np.flatnonzero(x)
            columns, x = columns[nonzero], x[nonzero]
        return kernel.forward(self.store.weights, self.store.biases, columns, x)

    def learn_one(
        self,
        x: Mapping[Hashable, Any],
        label: Hashable,
        weight: float,
        lr: float | Scheduler,
        epsilon: float,
    ) -> bool | None:
        """Learn a sample if it brings nothing new, and its values are plain numbers.

        Returns
        -------
        True if it is learned, False if it would diverge, None if it is not of this kind.

        """
        target = self.labels.numbers.get(label)
        if target is None:
            return None
        store = self.store
        learned = kernel.learn_one(
            x,
            self.features.names,
            self.features.numbers,
            store.weights,
            store.biases,
            self.activation,
            epsilon,
            target,
            weight,
            lr if isinstance(lr, float) else lambda: float(_rates(lr, self.n_updates, 1)[0]),
        )
        if not learned:
            return learned
        self.last_epsilon, updated = learned
        self.n_seen += 1
        self.n_updates += updated
        return True

    def net_of(self, x: Mapping[Hashable, Any]) -> Array | None:
        """Return the net inputs (k,) of such a sample, None if it is not of this kind."""
        features, store = self.features, self.store
        return kernel.forward_one(x, features.names, features.numbers, store.weights, store.biases)

    def output_of(self, x: Mapping[Hashable, Any]) -> int | None:
        """Return the output with the largest net input for it, None if it is not of this kind."""
        features, store = self.features, self.store
        return kernel.predict_one(x, features.names, features.numbers, store.weights, store.biases)

    def nets(self, names: tuple[Hashable, ...], X: Array) -> Array:
        """Return the net inputs (n, k) of many samples at once, equal to `net` to rounding."""
        columns, rows = self._place(names, X)
        weights = self.store.weights
        if columns is not None:
            weights = weights.take(columns, axis=1)
        return np.asarray(rows @ weights.T + self.store.biases)

    def probabilities(self, nets: Array) -> NDArray[np.float64]:
        """Return the probabilities (n, k) that belong to net inputs (n, k).

        Outputs minus the low target, minus the smallest if that is negative, scaled to a sum of 1;
        uniform if all are zero.
        """
        y = np.empty(nets.shape)
        with np.errstate(over="ignore"):
            self.activation.function(nets.astype(np.float64), y)
        y -= self.activation.low
        y -= y.min(axis=1, keepdims=True, initial=0.0)
        top = y.max(axis=1, keepdims=True, initial=0.0)
        # Scaling by the largest first keeps the sum finite.
        y = np.divide(y, top, out=np.ones_like(y), where=top > 0)
        return np.asarray(y / y.sum(axis=1, keepdims=True))

    def train(
        self,
        names: tuple[Hashable, ...],
        X: Array | ByteRows,
        present: NDArray[np.bool_] | None,
        labels: Sequence[Hashable],
        weights: NDArray[np.float64],
        lr: float | Scheduler,
        epsilon: float,
        stop: bool = False,
        with_probability: bool = False,
    ) -> Trace:
        """Predict each row and then learn it.

        Parameters
        ----------
        names
            The features of the columns of X, length d.
        X
            The rows, shape (n, d).
        present
            Where a row has the feature at all, shape (n, d); None for everywhere.
        labels
            The labels, length n; a row labelled None is only predicted.
        weights
            The sample weights, length n.
        lr
            The learning rate or its schedule.
        epsilon
            The error below which a sample is not learned.
        stop
            End with the first such sample.
        with_probability
            Whether to compute the probability of the predicted labels.

        Returns
        -------
        The trace of all rows, or of those before a divergence or up to the stop.

        """
        trace = Trace.blank(len(X))
        rule = kernel.Rule(self.activation, epsilon, stop)
        targets = self._targets(labels)
        growth = self._growth(names, present, labels, targets) if len(X) else {}
        # Between two rows that bring something new, all rows are one block for the kernel.
        for start, end in pairwise(sorted({0, len(X), *growth})):
            part = slice(start, end)
            rates = _rates(lr, self.n_updates, end - start)
            shape = self.store.shape
            if start in growth:
                # The prediction is made from what was known before the row.
                nets_before = self.net(names, X[start : start + 1])[np.newaxis]
                self.grow(*growth[start])
                targets[part] = self._targets(labels[part])
            block = kernel.Block(
                targets=targets[part],
                sample_weights=weights[part],
                rates=rates,
                nets=np.empty((end - start, len(self.labels)), self.dtype),
                eps=trace.eps[part],
                updated=trace.updated[part],
            )
            done, diverged = self._learn(names, X[part], rule, block)
            trace.target[part] = block.targets
            self._probe(trace[start : start + done], block.nets[:done])
            self._count(block, done)
            end = start + done
            self._predict(trace[start:end], block.nets[:done], with_probability)
            if start in growth and done:
                self._predict(trace[start : start + 1], nets_before, with_probability)
            if diverged and not done:
                self._shrink(*shape)
            if diverged or (stop and done and trace.eps[end - 1] < epsilon):
                trace = trace[:end]
                trace.diverged = diverged
                return trace
        return trace

    def grow(self, features: list[Hashable], labels: list[Hashable]) -> None:
        """Add new features, in natural order, and new labels."""
        for label in labels:
            twins = [known for known in self.labels.names if str(known) == str(label)]
            if twins:
                warnings.warn(
                    f"label {label!r} ({type(label).__name__}) is new beside {twins[0]!r} "
                    f"({type(twins[0]).__name__}): convert all labels to one type",
                    stacklevel=5,  # the caller of learn_one
                )
        self.features.extend(natural_order(features))
        self.labels.extend(labels)
        self.store.resize(len(self.labels), len(self.features))

    def _shrink(self, k: int, d: int) -> None:
        self.labels.truncate(k)
        self.features.truncate(d)
        self.store.resize(k, d)

    def _growth(
        self,
        names: tuple[Hashable, ...],
        present: NDArray[np.bool_] | None,
        labels: Sequence[Hashable],
        targets: NDArray[np.intp],
    ) -> dict[int, tuple[list[Hashable], list[Hashable]]]:
        """Return what is new, features and labels, by the row that brings it."""
        growth: dict[int, tuple[list[Hashable], list[Hashable]]] = {}
        if targets.min() == _UNKNOWN:
            for label in set(labels) - self.labels.numbers.keys() - {None}:
                growth.setdefault(labels.index(label), ([], []))[1].append(label)
        unknown = np.flatnonzero(self.features.numbers_of(names) < 0)
        if len(unknown):
            learned = np.array([label is not None for label in labels], bool)
            if present is None:
                brings = np.broadcast_to(learned[:, np.newaxis], (len(labels), len(unknown)))
            else:
                brings = present[:, unknown] & learned[:, np.newaxis]
            first = np.where(brings.any(axis=0), brings.argmax(axis=0), -1)
            for column, row in zip(unknown.tolist(), first.tolist(), strict=True):
                if row >= 0:
                    growth.setdefault(row, ([], []))[0].append(names[column])
        return growth

    def _numbers(self, X: Array | ByteRows) -> Array:
        return X.numbers(self.dtype) if isinstance(X, ByteRows) else X

    def _is_in_place(self, names: tuple[Hashable, ...]) -> bool:
        """Whether these are the known features in their order."""
        return np.array_equal(self.features.numbers_of(names), np.arange(len(self.features)))

    def _place(self, names: tuple[Hashable, ...], X: Array) -> tuple[Array | None, Array]:
        """Put rows X (n, len(names)) over the known features.

        Returns
        -------
        None and rows (n, d) over all features, or ascending column numbers (m,) and rows (n, m)
        where m is so small that no row could be dense.

        """
        if self._is_in_place(names):
            return None, X
        columns = self.features.numbers_of(names)
        d = len(self.features)
        known = np.flatnonzero(columns >= 0)
        order = known[np.argsort(columns[known])]
        columns, X = columns[order], X[:, order]
        if not kernel.wants_dense(len(columns), d):
            return columns, X
        rows = np.zeros((len(X), d), X.dtype)
        rows[:, columns] = X
        return None, rows

    def _learn(
        self,
        names: tuple[Hashable, ...],
        X: Array | ByteRows,
        rule: kernel.Rule,
        block: kernel.Block,
    ) -> tuple[int, bool]:
        columns, rows = None, X
        if not self._is_in_place(names):
            columns, rows = self._place(names, self._numbers(X))
        if columns is None:
            weights = self.store.contiguous_weights()
            return kernel.learn_rows(weights, self.store.biases, rows, rule, block)
        return kernel.learn_sparse(
            self.store.weights, self.store.biases, columns, rows, rule, block
        )

    def _probe(self, trace: Trace, nets: Array) -> None:
        """Look at the outputs of some samples, the same ones in whatever blocks they come."""
        labelled = np.flatnonzero(~np.isnan(trace.eps))
        probed = labelled[-self.n_seen % PROBED :: PROBED]
        if not len(probed):
            return
        net = nets[probed].astype(np.float64)
        y = np.empty_like(net)
        with np.errstate(all="ignore"):
            self.activation.function(net, y)
            trace.slope[probed] = self.activation.derivative(net, y).mean(axis=1)
        trace.spread[probed] = np.ptp(y, axis=1)

    def _targets(self, labels: Sequence[Hashable]) -> NDArray[np.intp]:
        """Return the numbers of labels, -1 for None and `_UNKNOWN` where there is none yet."""
        found = map(self.labels.numbers.get, labels, repeat(_UNKNOWN))
        targets = np.fromiter(found, np.intp, len(labels))
        if targets.min(initial=0) == _UNKNOWN:
            targets[[label is None for label in labels]] = -1
        return targets

    def _count(self, block: kernel.Block, done: int) -> None:
        eps = block.eps[:done]
        labelled = np.flatnonzero(~np.isnan(eps))
        if len(labelled):
            self.n_seen += len(labelled)
            self.n_updates += int(np.count_nonzero(block.updated))
            self.last_epsilon = float(eps[labelled[-1]])

    def _predict(self, trace: Trace, nets: Array, with_probability: bool) -> None:
        if not nets.shape[1]:
            trace.predicted[:] = -1
            trace.probability[:] = np.nan
            return
        trace.predicted[:] = nets.argmax(axis=1)
        if with_probability:
            trace.probability[:] = self.probabilities(nets).max(axis=1)


def _rates(lr: float | Scheduler, n_updates: int, n: int) -> NDArray[np.float64]:
    """Return the learning rates of the next n updates."""
    if isinstance(lr, int | float):
        return np.full(n, float(lr))
    rates = np.array([float(lr.get(n_updates + t)) for t in range(n)])
    if not ((rates >= 0) & (rates < math.inf)).all():
        raise ValueError(f"{lr!r} gives a learning rate that is not a finite number of at least 0")
    return rates
