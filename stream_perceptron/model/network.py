"""The perceptron itself: what is known, what is learned, and how both grow."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import wraps
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import FullError, SampleError
from stream_perceptron.model import kernel
from stream_perceptron.model.activations import Activation, row_sums
from stream_perceptron.model.kernel.types import Block, BlockResult, Counters, Done, Outcome, Rule
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.vocabulary import FirstNames, Vocabulary, natural_key
from stream_perceptron.model.weights import WeightStore

if TYPE_CHECKING:
    from river.optim.base import Scheduler

Array = NDArray[Any]

_UNKNOWN = -2  # in the place of a label's number

PROBED = 32  # one labelled sample of so many has its outputs looked at

Method = TypeVar("Method", bound=Callable[..., Any])


def _alone(method: Method) -> Method:
    """Let a method learn while no other one does.

    What learning itself called, such as a name's `__eq__`, gets a RuntimeError.
    """

    @wraps(method)
    def learn(self: Network, *args: Any, **options: Any) -> Any:
        with self._lock:
            if self._is_learning:
                raise RuntimeError(
                    "the model is learning a sample, and was asked to learn another one by "
                    "something that this sample called: a method of a name or a label, or a "
                    "schedule"
                )
            try:
                self._is_learning = True
                return method(self, *args, **options)
            finally:
                self._is_learning = False

    return learn  # type: ignore[return-value]


class Snapshot(NamedTuple):
    """What a network has learned."""

    labels: list[Hashable]
    features: list[Hashable]
    weights: Array
    biases: Array
    n_seen: int
    n_updates: int
    last_epsilon: float
    scaler: Scaler | None = None


class Network:
    """Weights with the names of their rows and columns.

    Values that come in were checked: finite, with labels that are hashable or None. Calls from
    several threads act as if one came after the other. With a scaler, features are standardized
    before they are predicted and learned. Names beyond the shape of the weights are left over from
    interrupted growth; nobody sees them, and the next growth removes them.
    """

    def __init__(
        self, activation: Activation, store: WeightStore, scaler: Scaler | None = None
    ) -> None:
        self.activation = activation
        self.scaler = scaler
        self.store = store
        self.labels = Vocabulary()
        self.features = Vocabulary()
        self.counters = Counters()
        self._label_types: set[type] = set()
        self._lock = threading.RLock()
        self._is_learning = False  # to notice a call within a call

    def snapshot(self) -> Snapshot:
        """Return a copy of all that learning changes, as it is between two samples."""
        with self._lock:
            return Snapshot(
                self.label_names, self.feature_names, self.store.weights.copy(),
                self.store.biases.copy(), self.n_seen, self.n_updates, self.last_epsilon,
                None if self.scaler is None else self.scaler.copy(self.store.shape[1]),
            )  # fmt: skip

    def __getstate__(self) -> tuple[Any, ...]:
        store = self.store
        return self.activation, store.seed, store.init_range, store.max_weights, self.snapshot()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        activation, seed, init_range, max_weights, snapshot = state
        store = WeightStore(seed, init_range, snapshot.weights.dtype, max_weights)
        Network.__init__(self, activation, store)
        self.restore(snapshot)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the weights."""
        return self.store.weights.dtype

    @property
    def row_dtype(self) -> np.dtype[Any]:
        """The type in which rows are to come."""
        return self.dtype if self.scaler is None else np.dtype(np.float64)

    @property
    def n_seen(self) -> int:
        """Labelled samples seen."""
        return int(self.counters.counts[0])

    @property
    def n_updates(self) -> int:
        """Samples that changed the weights."""
        return int(self.counters.counts[1])

    @property
    def last_epsilon(self) -> float:
        """The error of the last labelled sample; NaN before the first."""
        return float(self.counters.last[0])

    @property
    def label_names(self) -> list[Hashable]:
        """The labels, by the rows of the weights."""
        return self.labels.names[: self.store.shape[0]]

    @property
    def feature_names(self) -> list[Hashable]:
        """The features, by the columns of the weights."""
        return self.features.names[: self.store.shape[1]]

    def count(self, n_seen: int, n_updates: int, last_epsilon: float) -> None:
        """Set what was counted."""
        self.counters.counts[:] = n_seen, n_updates
        self.counters.last[0] = last_epsilon

    @_alone
    def learn_one(
        self,
        x: Mapping[Hashable, Any],
        label: Hashable,
        weight: float,
        lr: float | Scheduler,
        epsilon: float,
    ) -> Outcome:
        """Learn a sample if it brings nothing new, and its values are plain numbers."""
        target = self.labels.numbers.get(label)
        if target is None or self.scaler is not None:
            return Outcome.NOT_PLAIN
        rule = Rule(self.activation, epsilon)
        rate = lr if type(lr) is float else lambda: float(_rates(lr, self.n_updates, 1)[0])
        return kernel.learn_one(
            x, self.features, self.store.now, rule, target, weight, rate, self.counters
        )

    def net_one(self, x: Mapping[Hashable, Any]) -> Array | None:
        """Return the net inputs (k,) of such a sample, None if it is not of this kind."""
        with self._lock:
            if self.scaler is not None:
                return None
            return kernel.net_one(x, self.features, self.store.now)

    def predict_one(self, x: Mapping[Hashable, Any]) -> int:
        """Return the output with the largest net input for it, -1 if it is not of this kind."""
        with self._lock:
            if self.scaler is not None:
                return -1
            return kernel.predict_one(x, self.features, self.store.now)

    def nets(self, rows: Rows) -> Array:
        """Return the net inputs (n, k) of samples, with the bits that training would compute."""
        with self._lock:
            return self._nets(rows, self._columns_of(rows))

    def _nets(self, rows: Rows, columns: NDArray[np.int32]) -> Array:
        n, store = len(rows), self.store
        block = Block(
            np.full(n, -1, np.intp), np.ones(n), np.zeros(n),
            np.empty((n, store.shape[0]), self.dtype), np.empty(n), np.zeros(n, bool),
        )  # fmt: skip
        self._learn(rows, columns, Rule(self.activation, 0.0), block)
        return block.nets

    @property
    def _kernel_learn(self) -> Callable[..., Done]:
        if self.scaler is None or self.scaler.is_compiled:
            return kernel.learn
        from stream_perceptron.model.kernel import numpy_kernel

        return numpy_kernel.learn

    @_alone
    def train(
        self,
        rows: Rows,
        labels: Sequence[Hashable],
        weights: NDArray[np.float64],
        lr: float | Scheduler,
        epsilon: float,
        stop: bool = False,
        with_probability: bool = False,
        indicators: AbstractSet[Hashable] = frozenset(),
        with_nets: bool = False,
    ) -> BlockResult:
        """Predict each row and then learn it; see `SGDPerceptron.train`.

        `weights` are the sample weights, `lr` is the learning rate or its schedule, and
        `indicators` are the features that a scaler is to leave alone when they are new.
        """
        self._forget_interrupted_growth()
        rule = Rule(self.activation, epsilon, stop)
        n = len(rows)
        result = BlockResult.blank(n)
        result.nets = [] if with_nets else None
        targets = self._targets(labels)
        columns = self._columns_of(rows)
        new_labels = {}
        if np.count_nonzero(targets == _UNKNOWN):
            fresh = set(labels) - self.labels.numbers.keys() - {None}
            new_labels = {labels.index(label): label for label in fresh}
        names, new, brought_by = self._new_names(rows, targets, columns)
        # All rows are one block for the kernel up to one that brings a label.
        parts = list(pairwise(sorted({0, n, *new_labels})))[::-1]
        while parts:
            start, end = parts.pop()
            part = slice(start, end)
            first, last = np.searchsorted(brought_by, [start, end]) if names else (0, 0)
            widths = None
            if last > first:
                known = np.searchsorted(brought_by[first:last], np.arange(start, end + 1))
                widths = self.store.shape[1] + known
            learns = any(label is not None for label in labels[part])
            rates = _rates(lr if learns else 0.0, self.n_updates, end - start)
            seen = self.n_seen
            nets_before = None
            try:
                with self._narrowed_to_what_is_learned(widths, targets[part]):
                    added = [new_labels[start]] if start in new_labels else []
                    if added:
                        # The prediction is made from what was known before the row.
                        nets_before = self._nets(rows[start : start + 1], columns)
                    if added or last > first:
                        columns[new[first:last]] = np.arange(last - first) + self.store.shape[1]
                        self._grow(names[first:last], added, indicators)
                    if new_labels and np.count_nonzero(targets[part] == _UNKNOWN):
                        targets[part] = self._targets(labels[part])
                    shape = end - start, self.store.shape[0]
                    block = Block(
                        targets=targets[part],
                        sample_weights=weights[part],
                        rates=rates,
                        nets=np.empty(shape, self.dtype),
                        eps=result.eps[part],
                        updated=result.updated[part],
                        widths=widths,
                        tests=None if widths is None else np.empty(shape, self.dtype),
                    )
                    done, diverged = self._learn(rows[part], columns, rule, block)
            except (FullError, MemoryError) as error:
                if self.n_seen > seen:
                    raise  # as rows were learned, and nobody knows how they did
                # If a block does not fit in memory, split it.
                growing = np.unique(brought_by[first:last]).tolist()
                middle = growing[len(growing) // 2] if growing else start
                if middle > start:
                    columns[new[first:last]] = -1
                    parts += [(middle, end), (start, middle)]
                    continue
                result = result[:start]
                result.refused = error
                break
            result.target[part] = block.targets
            end = start + done
            nets = block.nets[:done]
            self._probe(result, start, nets, seen)
            self._predict(result, slice(start, end), nets, with_probability)
            if widths is not None and block.tests is not None:
                grown = start + np.flatnonzero(np.diff(widths[: done + 1]))
                self._predict(result, grown, block.tests[: len(grown)], with_probability)
            if nets_before is not None and done:
                self._predict(result, slice(start, start + 1), nets_before, with_probability)
            stopped = rule.stop and done > 0 and bool(result.eps[end - 1] < rule.epsilon)
            if diverged or stopped:
                result = result[:end]
                result.diverged, result.stopped = diverged, stopped
                break
        return result

    @_alone
    def add(
        self,
        features: Sequence[Hashable],
        labels: Sequence[Hashable],
        indicators: AbstractSet[Hashable] = frozenset(),
    ) -> None:
        """Add new features and new labels, in this order, with their initial weights."""
        self._forget_interrupted_growth()
        self._add(features, labels, indicators)

    def _grow(
        self,
        names: Sequence[Hashable],
        labels: Sequence[Hashable],
        indicators: AbstractSet[Hashable],
    ) -> None:
        """Add names and labels that a row brings."""
        for label in labels:
            # Labels of one type, as they mostly are, have no twins.
            others = self.labels.names if self._label_types - {type(label)} else []
            twins = [known for known in others if str(known) == str(label)]
            if twins:
                warnings.warn(
                    f"label {label!r} ({type(label).__name__}) is new beside {twins[0]!r} "
                    f"({type(twins[0]).__name__}): convert all labels to one type",
                    stacklevel=7,  # the caller of learn_one
                )
        self._add(names, labels, indicators)

    def _add(
        self,
        features: Sequence[Hashable],
        labels: Sequence[Hashable],
        indicators: AbstractSet[Hashable] = frozenset(),
    ) -> None:
        k, d = self.store.shape
        if self.scaler is not None:
            self.scaler.extend(d, np.array([name in indicators for name in features], bool))
        # The weights first: where memory is short, no name is known that has none.
        grown = self.store.grown(k + len(labels), d + len(features))
        self.labels.extend(labels)
        self.features.extend(features)
        self._label_types |= set(map(type, labels))
        self.store.use(grown)

    def restore(self, snapshot: Snapshot) -> None:
        """Take over what was learned before."""
        self.labels.extend(snapshot.labels)
        self.features.extend(snapshot.features)
        self._label_types = set(map(type, snapshot.labels))
        self.store.restore(snapshot.weights, snapshot.biases)
        self.scaler = snapshot.scaler
        self.count(snapshot.n_seen, snapshot.n_updates, snapshot.last_epsilon)

    @contextmanager
    def _narrowed_to_what_is_learned(
        self, widths: NDArray[np.intp] | None, targets: NDArray[np.intp]
    ) -> Iterator[None]:
        """Take growth back that belongs to rows that were not learned, whatever was raised."""
        (k, d), seen = self.store.shape, self.n_seen
        is_labelled = targets != -1
        try:
            yield
        finally:
            learned = self.n_seen - seen
            if learned:
                k, d = self.store.shape
                if widths is not None:
                    d = int(widths[1:][is_labelled][learned - 1])
            if self.store.shape != (k, d):
                self.store.shrink(k, d)
            self._forget_interrupted_growth()

    def _forget_interrupted_growth(self) -> None:
        """Remove names that have no weights."""
        k, d = self.store.shape
        if (len(self.labels.names), len(self.features.names)) != (k, d):
            self.labels.truncate(k)
            self.features.truncate(d)

    def _new_names(
        self, rows: Rows, targets: NDArray[np.intp], columns: NDArray[np.int32]
    ) -> tuple[list[Hashable], NDArray[np.intp], NDArray[np.intp]]:
        """Return names that are new, their places, and the rows that bring them.

        They are in the order of growth, which is the natural one for those of one row.
        """
        unknown = np.flatnonzero(columns < 0)
        if not len(unknown):
            return [], unknown, unknown
        first = rows.first_rows(unknown, targets != -1)
        if first.max() < 0:
            return [], first, first
        order = np.argsort(first, kind="stable")[np.count_nonzero(first < 0) :]
        new, brought_by = unknown[order], first[order]
        every = rows.names.all if isinstance(rows.names, FirstNames) else rows.names
        names = [every[i] for i in new.tolist()]
        keys = list(zip(brought_by.tolist(), map(natural_key, names), strict=True))
        sorted_places = sorted(range(len(names)), key=keys.__getitem__)
        return [names[i] for i in sorted_places], new[sorted_places], brought_by

    def _columns_of(self, rows: Rows) -> NDArray[np.int32]:
        """Return the column of each name, -1 where there is none."""
        columns = self.features.numbers_of(rows.names).copy()
        if len(self.features) > self.store.shape[1]:
            columns[columns >= self.store.shape[1]] = -1
        return columns

    def _learn(self, rows: Rows, columns: NDArray[np.int32], rule: Rule, block: Block) -> Done:
        store = self.store
        return self._kernel_learn(
            store.weights, store.biases, rows, columns, rule, block, self.counters, self.scaler
        )

    def _probe(self, result: BlockResult, start: int, nets: Array, seen: int) -> None:
        """Look at the outputs of some samples, the same ones in whatever blocks they come.

        `nets` are those of the samples from `start` on, and so many were `seen` before.
        """
        if -seen % PROBED >= self.n_seen - seen:
            return
        labelled = np.arange(len(nets))
        if self.n_seen - seen < len(nets):
            labelled = np.flatnonzero(~np.isnan(result.eps[start : start + len(nets)]))
        here = labelled[-seen % PROBED :: PROBED]
        net, probed = nets[here].astype(np.float64), start + here
        y = np.empty_like(net)
        with np.errstate(all="ignore"):
            self.activation.function(net, y)
            slopes = self.activation.derivative(net, y)
            result.slope[probed] = row_sums(slopes) / slopes.shape[1]
        result.spread[probed] = np.ptp(y, axis=1)

    def _targets(self, labels: Sequence[Hashable]) -> NDArray[np.intp]:
        """Return the numbers of labels, -1 for None and `_UNKNOWN` where there is none yet."""
        found = map(self.labels.numbers.get, labels, repeat(_UNKNOWN))
        targets = np.fromiter(found, np.intp, len(labels))
        if np.count_nonzero(targets == _UNKNOWN):
            targets[[label is None for label in labels]] = -1
        return targets

    def _predict(
        self,
        result: BlockResult,
        rows: slice | NDArray[np.intp],
        nets: Array,
        with_probability: bool,
    ) -> None:
        if result.nets is not None:
            result.nets.append((rows, nets))
        if not nets.shape[1]:
            result.predicted[rows] = -1
            result.probability[rows] = np.nan
            return
        result.predicted[rows] = nets.argmax(axis=1)
        if with_probability:
            result.probability[rows] = kernel.probabilities(self.activation, nets).max(axis=1)


def _rates(lr: float | Scheduler, n_updates: int, n: int) -> NDArray[np.float64]:
    """Return the learning rates of the next n updates."""
    if isinstance(lr, int | float):
        return np.full(n, float(lr))
    try:
        rates = np.array([float(lr.get(n_updates + t)) for t in range(n)])
    except ArithmeticError as error:
        raise SampleError(
            f"{lr!r} gives no learning rate after {n_updates:,} updates: {error}"
        ) from None
    if not ((rates >= 0) & (rates < math.inf)).all():
        raise SampleError(f"{lr!r} gives a learning rate that is not a finite number of at least 0")
    return rates
