"""The network: names, weights and counters, and their training."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import DivergedError, ModelSizeError, SampleError
from stream_perceptron.model import kernel
from stream_perceptron.model.activations import Activation
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.class_weights import ClassWeights
from stream_perceptron.model.growth import Growth
from stream_perceptron.model.kernel.types import Counters, Part, Results, Rule
from stream_perceptron.model.results import TrainOptions, TrainResult
from stream_perceptron.model.rows import Rows, Samples
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.vocabulary import Vocabulary
from stream_perceptron.model.weights import WeightStore

if TYPE_CHECKING:
    from river.optim.base import Scheduler


Method = TypeVar("Method", bound=Callable[..., object])


def _synchronized(method: Method) -> Method:
    """Serialize calls to a method that changes the network.

    A nested call during learning, for example from a name's `__eq__`, raises a RuntimeError.
    """

    @wraps(method)
    def learn(self: Network, *args: object, **options: object) -> object:
        with self._lock:
            if self._is_learning:
                raise RuntimeError(
                    "the model cannot learn a sample while it is learning another: a method of a "
                    "name or label, or a learning rate schedule, made the nested call"
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
    n_drawn: tuple[int, int]
    n_seen: int
    n_updates: int
    last_error: float
    scaler: Scaler | None = None
    class_counts: NDArray[np.int64] | None = None  # shape (k,); None unless classes are balanced


class Network:
    """Weights, with the names of their labels and features.

    Callers must ensure that values are finite, and that labels are hashable or None. Calls from
    several threads are serialized. A scaler, if there is one, standardizes the features first;
    class weights multiply the sample weights.
    """

    def __init__(
        self,
        activation: Activation,
        store: WeightStore,
        scaler: Scaler | None = None,
        class_weights: ClassWeights | None = None,
    ) -> None:
        self.activation = activation
        self.class_weights = class_weights
        self.scaler = scaler
        self.store = store
        self.labels = Vocabulary()
        self.features = Vocabulary()
        self.counters = Counters()
        self._label_types: set[type] = set()
        self._lock = threading.RLock()
        self._is_learning = False  # detects nested calls

    def snapshot(self) -> Snapshot:
        """Return a copy of the learned state, taken between two samples."""
        with self._lock:
            weights, biases, _, n_drawn = self.store.current
            return Snapshot(
                self.label_names, self.feature_names, weights.copy(), biases.copy(), n_drawn,
                self.n_seen, self.n_updates, self.last_error,
                None if self.scaler is None else self.scaler.copy_first(self.store.shape[1]),
                self.class_counts,
            )  # fmt: skip

    def restore(self, snapshot: Snapshot) -> None:
        """Replace the learned state with a snapshot."""
        self.labels, self.features = Vocabulary(snapshot.labels), Vocabulary(snapshot.features)
        self._label_types = set(map(type, snapshot.labels))
        self.store.restore(snapshot.weights, snapshot.biases, snapshot.n_drawn)
        self.scaler = snapshot.scaler
        if self.class_weights is not None and snapshot.class_counts is not None:
            self.class_weights.counts = snapshot.class_counts.copy()
        self.counters.counts[:] = snapshot.n_seen, snapshot.n_updates
        self.counters.last_error[0] = snapshot.last_error

    def __getstate__(self) -> tuple[object, ...]:
        store = self.store
        class_weight = None if self.class_weights is None else self.class_weights.class_weight
        return (
            self.activation, store.seed, store.init_range, store.max_weights, class_weight,
            self.snapshot(),
        )  # fmt: skip

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        activation, seed, init_range, max_weights, class_weight, snapshot = state
        store = WeightStore(seed, init_range, max_weights)
        class_weights = None if class_weight is None else ClassWeights(class_weight)
        Network.__init__(self, activation, store, class_weights=class_weights)
        self.restore(snapshot)

    @property
    def n_seen(self) -> int:
        """The number of labeled samples seen."""
        return self.counters.counts.item(0)

    @property
    def n_updates(self) -> int:
        """The number of samples that changed the weights."""
        return self.counters.counts.item(1)

    @property
    def last_error(self) -> float:
        """The error of the last labeled sample; NaN before the first."""
        return float(self.counters.last_error[0])

    @property
    def class_counts(self) -> NDArray[np.int64] | None:
        """A copy of the counts that balance the classes, shape (k,); None without balancing."""
        if self.class_weights is None or not self.class_weights.is_balanced:
            return None
        return self.class_weights.copy_counts(self.store.shape[0])

    @property
    def label_names(self) -> list[Hashable]:
        """The labels, in the order of the rows of `weights`."""
        return self.labels.names[: self.store.shape[0]]

    @property
    def feature_names(self) -> list[Hashable]:
        """The features, in the order of the columns of `weights`."""
        return self.features.names[: self.store.shape[1]]

    @_synchronized
    def learn_one(
        self,
        x: Mapping[Hashable, object],
        label: Hashable,
        weight: float,
        lr: float | Scheduler,
        epsilon: float,
    ) -> bool:
        """Learn from a sample if its names are known and its values are plain numbers.

        Returns
        -------
        Whether the model learned from the sample. If not, pass it to `train`.

        Raises
        ------
        DivergedError
            If a weight or an error would become infinite or NaN; the model is unchanged.

        """
        target = self.labels.ids_by_name.get(label)
        if target is None or self.scaler is not None:
            return False
        if self.class_weights is not None:
            weight *= self.class_weights.compute_factor(target, label)
        rule = Rule(self.activation, epsilon)
        rate = lr if type(lr) is float else lambda: float(_compute_rates(lr, self.n_updates, 1)[0])
        n_done = kernel.learn_one(
            x, self.features, self.store.current, rule, target, weight, rate, self.counters
        )
        if n_done == 0:
            raise DivergedError(self.n_seen + 1)
        if n_done == 1 and self.class_weights is not None:
            self.class_weights.count_sample(target)
        return n_done == 1

    def compute_net_one(self, x: Mapping[Hashable, object]) -> Array | None:
        """Return the net inputs (k,) of a sample; None if only `compute_nets` can compute them."""
        with self._lock:
            if self.scaler is not None:
                return None
            return kernel.compute_net_one(x, self.features, self.store.current)

    def compute_nets(self, rows: Rows) -> Array:
        """Compute the net inputs (n, k) of samples, bit-identical to those in training."""
        n = len(rows)
        with self._lock:
            self._remove_names_without_weights()
            feature_ids = self.features.find_ids(rows.names)
            targets = np.full(n, -1, np.intp)
            part = Part(rows, 0, n, feature_ids, targets, np.ones(n), np.zeros(n))
            nets = np.empty((n, self.store.shape[0]))
            results = Results(self.counters, np.empty(n), np.zeros(n, bool), nets)
            rule = Rule(self.activation, 0.0)
            n_done = kernel.learn(self.store.current, rule, self.scaler, part, results)
        if n_done < n:
            where = f" of row {n_done}" if n > 1 else ""
            raise SampleError(f"the net input{where} is not finite: scale the features")
        return nets

    @_synchronized
    def train(
        self, samples: Samples, lr: float | Scheduler, epsilon: float, options: TrainOptions
    ) -> TrainResult:
        """Predict each row and then learn it, as `SGDPerceptron.train` does."""
        self._remove_names_without_weights()
        growth, n_before = Growth.plan(samples, self.labels, self.features), self.n_seen
        n_done, n = 0, len(growth.targets)
        n_fitting = growth.count_fitting_rows(self.store.max_weights) if growth.adds_names else n
        result = TrainResult.empty(growth.targets)
        if options.with_all_scores:
            n_labels, _ = growth.shape_after(n_fitting)
            result.all_scores = np.full((n, n_labels), math.nan)
        rule = Rule(self.activation, epsilon, options.stop)
        # The kernel learns each part in one call.
        for start, end in [(0, n_fitting)] if n_before else growth.split_rows(n_fitting):
            try:
                n_done = self._train_part(samples, growth, start, end, rule, lr, options, result)
            except MemoryError as error:
                if self.n_seen > n_before + np.count_nonzero(growth.targets[:n_done] >= 0):
                    raise  # some rows of this part were learned, but their results are lost
                result.memory_error = error
                break
            result.stopped = bool(
                options.stop and n_done > start and result.errors[n_done - 1] < epsilon
            )
            result.diverged = n_done < end and not result.stopped
            if result.stopped or result.diverged:
                break
        if n_done == n_fitting < n and not result.stopped:
            try:
                self.store.require_size(*growth.shape_after(n_fitting + 1))
            except ModelSizeError as error:
                result.memory_error = error
        if result.all_scores is not None:
            result.all_scores = result.all_scores[:, : self.store.shape[0]]
        if n_done < n:
            return result[:n_done]
        if growth.has_looked_up:
            self.features.cache_ids(samples.rows.names, growth.feature_ids)
        return result

    def _train_part(
        self,
        samples: Samples,
        growth: Growth,
        start: int,
        end: int,
        rule: Rule,
        lr: float | Scheduler,
        options: TrainOptions,
        result: TrainResult,
    ) -> int:
        """Predict and learn the rows [start, end); return the end of the rows processed.

        Names that were added for rows that were not learned are removed. Class weights, if there
        are any, multiply the sample weights.
        """
        n_before, targets, weights = self.n_seen, growth.targets, samples.weights
        # A schedule is not asked for rates if all rows are only predicted.
        rates = _compute_rates(lr if growth.is_labeled else 0.0, self.n_updates, end - start)
        part = Part(samples.rows, start, end, growth.feature_ids, targets, weights, rates)
        results = Results(
            self.counters, result.errors, result.updated, None, result.predicted,
            result.scores if options.with_scores or options.with_all_scores else None,
            result.all_scores, result.probes,
        )  # fmt: skip
        if n_before == 0 and start < end and targets[start] >= 0:
            # The first row is predicted before its weights are drawn, by the biases alone.
            first = part._replace(targets=np.full_like(targets, -1))
            kernel.learn(self.store.current, rule, self.scaler, first, results)
            results = results._replace(predicted=None, scores=None, all_scores=None)
        if not (growth.adds_names or self.class_weights):
            return kernel.learn(self.store.current, rule, self.scaler, part, results)
        try:
            features, labels = growth.find_new_names(start, end)
            self._warn_of_similar_labels(labels)
            self._add_names(features, labels)
            if self.class_weights is not None:
                weights = weights.copy()
                with np.errstate(over="ignore"):
                    weights[start:end] *= self.class_weights.compute_factors(
                        targets[start:end], self.labels.names
                    )
            n_labels, n_features = growth.count_names()
            part = part._replace(sample_weights=weights, n_features=n_features, n_labels=n_labels)
            return kernel.learn(self.store.current, rule, self.scaler, part, results)
        finally:
            labeled, n_learned = np.flatnonzero(targets[start:end] >= 0), self.n_seen - n_before
            if n_learned < len(labeled):
                end = start + int(labeled[n_learned - 1]) + 1 if n_learned else start
                self._shrink(*growth.shape_after(end))
            if self.class_weights is not None:
                self.class_weights.count_samples(targets[start:end])

    @_synchronized
    def add_names(self, features: Sequence[Hashable], labels: Sequence[Hashable]) -> None:
        """Add new features and labels with their initial weights."""
        self._remove_names_without_weights()
        self._add_names(features, labels)

    def _add_names(self, features: Sequence[Hashable], labels: Sequence[Hashable]) -> None:
        """Add names without locking."""
        if not features and not labels:
            return
        k, d = self.store.shape
        # Grow the weights first, so that no name is left without weights if memory runs out.
        drawn = None if self.n_seen else [*self.features.names, *features]
        weights = self.store.grow(k + len(labels), d + len(features), drawn)
        if self.scaler is not None:
            self.scaler.extend(d, len(features))
        self.labels.extend(labels)
        self.features.extend(features)
        self._label_types |= set(map(type, labels))
        self.store.current = weights

    def _shrink(self, k: int, d: int) -> None:
        """Keep only the first k labels and d features."""
        if self.store.shape != (k, d):
            self.store.shrink(k, d)
        self._remove_names_without_weights()

    def _remove_names_without_weights(self) -> None:
        """Remove names whose weights were removed, or were not added because of an interrupt."""
        k, d = self.store.current.weights.shape
        if (len(self.labels.names), len(self.features.names)) != (k, d):
            self.labels.truncate(k)
            self.features.truncate(d)

    def _warn_of_similar_labels(self, labels: Sequence[Hashable]) -> None:
        """Warn about a new label that is spelled like a known label of another type."""
        for label in labels:
            # No two labels of the same type are spelled alike; usually, all labels have one type.
            known = self.labels.names if self._label_types - {type(label)} else []
            similar = [other for other in known if str(other) == str(label)]
            if similar:
                warnings.warn(
                    f"label {label!r} ({type(label).__name__}) is spelled like {similar[0]!r} "
                    f"({type(similar[0]).__name__}): convert all labels to one type",
                    stacklevel=8,  # the caller of learn_one
                )


def _compute_rates(lr: float | Scheduler, n_updates: int, n: int) -> NDArray[np.float64]:
    """Return the learning rates of the next n updates."""
    if isinstance(lr, (int, float)):
        rates = np.empty(n)
        rates.fill(lr)
        return rates
    try:
        rates = np.array([float(lr.get(n_updates + t)) for t in range(n)])
    except ArithmeticError as error:
        raise SampleError(
            f"{lr!r} gives no learning rate after {n_updates:,} updates: {error}"
        ) from None
    if not ((rates >= 0) & (rates < math.inf)).all():
        raise SampleError(
            f"{lr!r} gives a learning rate that is not a finite number greater than or equal to 0"
        )
    return rates
