"""The network: names, weights and counters, and their training."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import FullError, SampleError
from stream_perceptron.model import kernel
from stream_perceptron.model.activations import Activation, row_sums
from stream_perceptron.model.growth import Growth, Known
from stream_perceptron.model.kernel.types import Block, BlockResult, Counters, Done, Outcome, Rule
from stream_perceptron.model.rows import Rows, Samples
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.weights import WeightStore

if TYPE_CHECKING:
    from river.optim.base import Scheduler

Array = NDArray[Any]

PROBED = 32  # the outputs of one labelled sample in 32 are examined

Method = TypeVar("Method", bound=Callable[..., Any])


def _alone(method: Method) -> Method:
    """Make a method that learns wait for the others.

    A call from within learning, such as by a name's `__eq__`, raises a RuntimeError.
    """

    @wraps(method)
    def learn(self: Network, *args: Any, **options: Any) -> Any:
        with self._lock:
            if self._is_learning:
                raise RuntimeError(
                    "the model was asked to learn while learning a sample, by code that this "
                    "sample called: a method of a name or a label, or a schedule"
                )
            try:
                self._is_learning = True
                return method(self, *args, **options)
            finally:
                self._is_learning = False

    return learn  # type: ignore[return-value]


class Snapshot(NamedTuple):
    """A copy of a network's learned state."""

    labels: list[Hashable]
    features: list[Hashable]
    weights: Array
    biases: Array
    n_seen: int
    n_updates: int
    last_epsilon: float
    scaler: Scaler | None = None


class _Task(NamedTuple):
    """Samples to train on, and the result so far."""

    samples: Samples
    targets: NDArray[np.intp]  # the number of each row's label
    columns: NDArray[np.int32]  # the column of each name
    growth: Growth
    rule: Rule
    lr: float | Scheduler
    with_probability: bool
    result: BlockResult

    def predict(self, rows: slice | NDArray[np.intp], nets: Array) -> None:
        """Record the predictions of some rows from their net inputs."""
        result = self.result
        if result.nets is not None:
            result.nets.append((rows, nets))
        if not nets.shape[1]:
            result.predicted[rows] = -1
            result.probability[rows] = np.nan
            return
        result.predicted[rows] = nets.argmax(axis=1)
        if self.with_probability:
            probabilities = kernel.probabilities(self.rule.activation, nets)
            result.probability[rows] = probabilities.max(axis=1)


class Network:
    """Weights with the names of their rows and columns.

    Callers have checked the samples: values are finite, labels are hashable or None. Calls from
    several threads run one after another. A scaler standardizes features first.
    """

    def __init__(
        self, activation: Activation, store: WeightStore, scaler: Scaler | None = None
    ) -> None:
        self.activation = activation
        self.scaler = scaler
        self.store = store
        self.known = Known(store)
        self.labels, self.features = self.known.labels, self.known.features
        self.counters = Counters()
        self._lock = threading.RLock()
        self._is_learning = False  # detects a call within a call

    def snapshot(self) -> Snapshot:
        """Return a copy of the learned state, taken between two samples."""
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
        store = WeightStore(seed, init_range, max_weights)
        Network.__init__(self, activation, store)
        self.restore(snapshot)

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
        """Set the counters."""
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
        """Learn a sample if its names are known and its values are plain numbers."""
        target = self.labels.numbers.get(label)
        if target is None or self.scaler is not None:
            return Outcome.NOT_PLAIN
        rule = Rule(self.activation, epsilon)
        rate = lr if type(lr) is float else lambda: float(_rates(lr, self.n_updates, 1)[0])
        return kernel.learn_one(
            x, self.features, self.store.now, rule, target, weight, rate, self.counters
        )

    def net_one(self, x: Mapping[Hashable, Any]) -> Array | None:
        """Return the net inputs (k,) of a sample of plain numbers, else None."""
        with self._lock:
            if self.scaler is not None:
                return None
            return kernel.net_one(x, self.features, self.store.now)

    def predict_one(self, x: Mapping[Hashable, Any]) -> int:
        """Return the output with the largest net input for a sample of plain numbers, else -1."""
        with self._lock:
            if self.scaler is not None:
                return -1
            return kernel.predict_one(x, self.features, self.store.now)

    def nets(self, rows: Rows) -> Array:
        """Return the net inputs (n, k) of samples, bit-identical to those in training."""
        with self._lock:
            nets, done = self._nets(rows, self.known.columns_of(rows))
        if done.diverged:
            where = f" of row {done.rows}" if len(rows) > 1 else ""
            raise SampleError(f"the net input{where} is not finite: scale the features")
        return nets

    def _nets(self, rows: Rows, columns: NDArray[np.int32]) -> tuple[Array, Done]:
        n, store = len(rows), self.store
        block = Block(
            np.full(n, -1, np.intp), np.ones(n), np.zeros(n),
            np.empty((n, store.shape[0])), np.empty(n), np.zeros(n, bool),
        )  # fmt: skip
        return block.nets, self._learn(rows, columns, Rule(self.activation, 0.0), block)

    @_alone
    def train(
        self,
        samples: Samples,
        lr: float | Scheduler,
        epsilon: float,
        stop: bool = False,
        with_probability: bool = False,
        with_nets: bool = False,
    ) -> BlockResult:
        """Predict each row and then learn it, as `SGDPerceptron.train` does."""
        rows, labels, known = samples.rows, samples.labels, self.known
        known.forget_interrupted_growth()
        targets, columns = known.targets_of(labels), known.columns_of(rows)
        growth = Growth.plan(rows, labels, targets, columns)
        result = BlockResult.blank(len(rows))
        result.nets = [] if with_nets else None
        rule = Rule(self.activation, epsilon, stop)
        task = _Task(samples, targets, columns, growth, rule, lr, with_probability, result)
        parts = growth.parts(len(rows))
        while parts:
            start, end = parts.pop()
            seen = self.n_seen
            try:
                done = self._train_part(task, start, end)
            except (FullError, MemoryError) as error:
                if self.n_seen > seen:
                    raise  # some rows were learned, and their results are lost
                # If a part does not fit in memory, split it.
                middle = growth.middle(start, end)
                if middle == start:
                    result = result[:start]
                    result.refused = error
                    break
                columns[growth.places[growth.within(start, end)]] = -1
                parts += [(middle, end), (start, middle)]
                continue
            end = start + done.rows
            stopped = stop and done.rows > 0 and bool(result.eps[end - 1] < epsilon)
            if done.diverged or stopped:
                result = result[:end]
                result.diverged, result.stopped = done.diverged, stopped
                break
        return result

    def _train_part(self, task: _Task, start: int, end: int) -> Done:
        """Predict and learn rows, of which only the first may bring a new label."""
        known, growth, part = self.known, task.growth, slice(start, end)
        rows, labels, weights, indicators = task.samples
        d, new = self.store.shape[1], growth.within(start, end)
        widths = growth.widths(start, end, d)
        added = [growth.labels[start]] if start in growth.labels else []
        learns = any(label is not None for label in labels[part])
        rates = _rates(task.lr if learns else 0.0, self.n_updates, end - start)
        seen, before = self.n_seen, None
        targets = task.targets[part]
        with known.narrowed_to_what_is_learned(widths, targets, self.counters):
            if added:
                # Predict from the labels and features known before this row.
                before, tested = self._nets(rows[start : start + 1], task.columns)
                if tested.diverged:
                    return tested
                known.warn_of_twins(*added)
            if added or widths is not None:
                task.columns[growth.places[new]] = np.arange(new.stop - new.start) + d
                self._add(growth.names[new], added, indicators)
            if growth.labels:
                targets[:] = known.targets_of(labels[part])
            shape = end - start, self.store.shape[0]
            block = Block(
                targets, weights[part], rates, np.empty(shape), task.result.eps[part],
                task.result.updated[part], widths,
                None if widths is None else np.empty(shape),
            )  # fmt: skip
            done = self._learn(rows[part], task.columns, task.rule, block)
        task.result.target[part] = targets
        nets = block.nets[: done.rows]
        self._probe(task.result, start, nets, seen)
        task.predict(slice(start, start + done.rows), nets)
        if widths is not None and block.tests is not None:
            grown = start + np.flatnonzero(np.diff(widths[: done.rows + 1]))
            task.predict(grown, block.tests[: len(grown)])
        if before is not None and done.rows:
            task.predict(slice(start, start + 1), before)
        return done

    @_alone
    def add(
        self,
        features: Sequence[Hashable],
        labels: Sequence[Hashable],
        indicators: AbstractSet[Hashable] = frozenset(),
    ) -> None:
        """Add new features and new labels, in this order, with their initial weights."""
        self.known.forget_interrupted_growth()
        self._add(features, labels, indicators)

    def _add(
        self,
        features: Sequence[Hashable],
        labels: Sequence[Hashable],
        indicators: AbstractSet[Hashable],
    ) -> None:
        if self.scaler is not None:
            is_indicator = np.array([name in indicators for name in features], bool)
            self.scaler.extend(self.store.shape[1], is_indicator)
        self.known.add(features, labels)

    def restore(self, snapshot: Snapshot) -> None:
        """Replace the learned state by a snapshot."""
        self.known.take(snapshot.features, snapshot.labels)
        self.store.restore(snapshot.weights, snapshot.biases)
        self.scaler = snapshot.scaler
        self.count(snapshot.n_seen, snapshot.n_updates, snapshot.last_epsilon)

    def _learn(self, rows: Rows, columns: NDArray[np.int32], rule: Rule, block: Block) -> Done:
        return kernel.learn(self.store.now, rows, columns, rule, block, self.counters, self.scaler)

    def _probe(self, result: BlockResult, start: int, nets: Array, seen: int) -> None:
        """Record slope and spread of every 32nd labelled sample, whatever the size of blocks.

        `nets` are those of the samples from `start` on; `seen` samples came before.
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
