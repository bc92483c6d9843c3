"""The network: names, weights and counters, and their training."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import (
    DivergedError,
    ModelSizeError,
    SampleError,
    StreamPerceptronError,
)
from stream_perceptron.model import kernel
from stream_perceptron.model.activations import Activation
from stream_perceptron.model.arrays import Array, Floats
from stream_perceptron.model.class_weights import ClassWeights
from stream_perceptron.model.kernel.types import Counters, LearningRule, Part
from stream_perceptron.model.rates import FallingRate, LearningRate, compute_rates_of_next_samples
from stream_perceptron.model.results import TrainOptions, TrainResult
from stream_perceptron.model.rows import LEARNED, NOTHING_ADDED, AddedNames, FeatureRows, Samples
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.vocabulary import Vocabulary
from stream_perceptron.model.weights import WeightStore, compute_max_features, count_weights

Method = TypeVar("Method", bound=Callable[..., object])


def _synchronized(method: Method) -> Method:
    """Serialize calls to a method that changes the network."""

    @wraps(method)
    def learn(self: Network, *args: object, **options: object) -> object:
        with self._lock:
            return method(self, *args, **options)

    return learn  # type: ignore[return-value]


class Snapshot(NamedTuple):
    """A copy of a network's learned state."""

    labels: list[Hashable]
    features: list[Hashable]
    weights: Array
    biases: Array
    update_counts: Floats  # of the bias and each feature, shape (1 + d,)
    drawn_shape: tuple[int, int]
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
        self._lock = threading.RLock()
        self.is_full = False  # whether a new feature has been ignored because it did not fit

    def snapshot(self) -> Snapshot:
        """Return a copy of the learned state, taken between two samples."""
        with self._lock:
            weights, biases, counts, _, drawn_shape = self.store.current
            return Snapshot(
                self.label_names, self.feature_names, weights.copy(), biases.copy(),
                counts[: 1 + weights.shape[1]].copy(), drawn_shape,
                self.n_seen, self.n_updates, self.last_error,
                None if self.scaler is None else self.scaler.copy_first(self.store.shape[1]),
                self.class_counts,
            )  # fmt: skip

    def restore(self, snapshot: Snapshot) -> None:
        """Replace the learned state with a snapshot."""
        self.labels, self.features = Vocabulary(snapshot.labels), Vocabulary(snapshot.features)
        self.store.restore(
            snapshot.weights, snapshot.biases, snapshot.update_counts, snapshot.drawn_shape
        )
        self.scaler = snapshot.scaler
        if self.class_weights is not None:
            self.class_weights = ClassWeights(self.class_weights.class_weight)
            self.class_weights.extend(snapshot.labels)
            if self.class_weights.counts is not None and snapshot.class_counts is not None:
                self.class_weights.counts[:] = snapshot.class_counts
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
        if self.class_weights is None or self.class_weights.counts is None:
            return None
        return self.class_weights.counts[: self.store.shape[0]].copy()

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
        lr: LearningRate,
        epsilon: float,
    ) -> bool:
        """Learn from a sample if its label is known and its values are plain numbers.

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
        falling_rate = lr if isinstance(lr, FallingRate) else None
        rule = LearningRule(self.activation, epsilon, falling_rate)
        shared = lr if falling_rate is None else falling_rate.end
        rate = (
            shared
            if type(shared) is float
            else lambda: float(compute_rates_of_next_samples(shared, self.n_updates, 1)[0])
        )

        def learn(x: Mapping[Hashable, object]) -> int:
            return kernel.learn_one(
                x, self.features, self.store.current, rule, self.class_weights, target, weight,
                rate, self.counters,
            )  # fmt: skip

        n_done, n_before = learn(x), self.n_seen
        if n_done < 0 and n_before and type(x) is dict:
            (k, d), known = self.store.shape, self.features.ids_by_name
            new = {name: value for name, value in x.items() if name not in known}
            if new and count_weights(k, d + len(new)) <= self.store.max_weights:
                # New features come last in a sum, as in `train`.
                ordered = {name: x[name] for name in x if name not in new} | new
                try:
                    self._add_names([*new], ())
                    n_done = learn(ordered)
                finally:
                    if self.n_seen == n_before:
                        self._shrink(k, d)
        if n_done == 0:
            raise DivergedError(self.n_seen + 1)
        return n_done == 1

    def compute_net_inputs_one(self, x: Mapping[Hashable, object]) -> Array | None:
        """Return the net inputs (k,) of a sample; None if they need `compute_net_inputs`."""
        with self._lock:
            if self.scaler is not None:
                return None
            return kernel.compute_net_inputs_one(x, self.features, self.store.current)

    def compute_net_inputs(self, rows: FeatureRows) -> Array:
        """Compute the net inputs (n, k) of samples, bit-identical to those in training."""
        n = len(rows)
        with self._lock:
            self._remove_names_without_weights()
            samples = self.number_names(rows, [None] * n, np.ones(n))
            result = TrainResult.empty(samples.label_ids)
            result.nets = nets = np.empty((n, self.store.shape[0]))
            part = Part(0, n, samples.weights, np.zeros(n), with_predictions=False)
            rule = LearningRule(self.activation, 0.0)
            n_done = self._run_kernel(rule, samples, part, result)
        if n_done < n:
            where = f" of row {n_done}" if n > 1 else ""
            raise SampleError(f"the net input{where} is not finite: scale the features")
        return nets

    def standardize(self, feature_ids: NDArray[np.int32], x: Array) -> Array:
        """Return the values x of some features, standardized if there is a scaler."""
        if self.scaler is None:
            return x
        return kernel.standardize(self.scaler.statistics[:, feature_ids], x)

    def number_names(
        self, rows: FeatureRows, labels: Sequence[Hashable], weights: NDArray[np.float64],
        status: NDArray[np.uint8] | None = None,
    ) -> Samples:  # fmt: skip
        """Number the names in rows as the model does, followed by those that labeled rows add.

        Examples
        --------
        >>> from stream_perceptron import SGDPerceptron
        >>> network = SGDPerceptron(classes=["left"]).network
        >>> rows = FeatureRows.from_rows([("b", "a"), ("c", "a")], [np.ones(2), np.ones(2)])
        >>> samples = network.number_names(rows, ["left", "right"], np.ones(2))
        >>> samples.added_features.names, samples.added_labels.names, samples.feature_ids.tolist()
        (['b', 'a', 'c'], ['right'], [0, 1, 2, 1])

        """
        rows = rows.without_unused_names()
        known, first = self.labels.ids_by_name, dict[Hashable, tuple[int, int]]()
        numbers = [-1 if label is None else known.get(label, -2) for label in labels]
        for row, label in enumerate(labels) if -2 in numbers else ():
            if numbers[row] == -2:
                numbers[row], _ = first.setdefault(label, (len(known) + len(first), row))
        label_rows = np.array([row for _, row in first.values()], np.intp)
        label_ids, ids = np.array(numbers, np.intp), self.features.find_ids(rows.names)
        added_features = NOTHING_ADDED
        if ids.min(initial=0) < 0:
            name_ids, feature_rows = kernel.find_new_names(rows, label_ids, ids, len(self.features))
            names = [rows.names[i] for i in name_ids]
            added_features = AddedNames(np.array(feature_rows, np.intp), names)
        is_same = np.array_equal(ids, np.arange(len(ids)))  # as in most frames
        feature_ids = rows.feature_ids if is_same else np.take(ids, rows.feature_ids)
        return Samples(
            self.features.names, rows.starts, feature_ids, rows.values, label_ids,
            weights, np.full(len(rows), LEARNED, np.uint8) if status is None else status,
            added_features, AddedNames(label_rows, list(first)), shape_before=self.store.shape,
        )  # fmt: skip

    @_synchronized
    def train(
        self, samples: Samples, lr: LearningRate, epsilon: float, options: TrainOptions
    ) -> TrainResult:
        """Predict each row and then learn it, as `SGDPerceptron.train` does."""
        self._remove_names_without_weights()
        if samples.has_own_ids:
            samples = self.number_names(
                samples, samples.list_labels(...), samples.weights, samples.status
            )
        else:
            self._require_known_names(samples, options.learns)
        n, n_before, shape = len(samples), self.n_seen, self.store.shape
        n_fitting = n
        if samples.adds_names:
            n_fitting, samples = self._fit_into_max_weights(samples)
        targets = samples.label_ids.astype(np.intp)
        if not options.learns:
            targets.fill(-1)
        result = TrainResult.empty(targets)
        if options.with_all_scores:
            k, _ = samples.compute_model_shape_after(shape, n_fitting)
            result.all_scores = np.full((n, k), math.nan)
        falling_rate = lr if isinstance(lr, FallingRate) else None
        rule = LearningRule(self.activation, epsilon, falling_rate, options.stop)
        done, ends = 0, [n_fitting]
        if not n_before:
            # The first labeled row is learned on its own, because the initial weights of its names
            # are drawn, whereas those of later names are 0.
            first = np.flatnonzero(targets[:n_fitting] >= 0)[:1]
            ends = sorted({*first.tolist(), *(first + 1).tolist(), n_fitting})
        for end in ends:  # the kernel learns each part in one call
            start = done
            try:
                done = self._train_part(samples, start, end, rule, lr, options, result)
            except MemoryError as error:
                if self.n_seen > n_before + np.count_nonzero(targets[:done] >= 0):
                    raise  # some rows of this part were learned, but their results are lost
                result.memory_error = error
                break
            result.stopped = bool(
                options.stop and done > start and result.errors[done - 1] < epsilon
            )
            result.diverged = done < end and not result.stopped
            if done < end or result.stopped:
                break
        if done == n_fitting < n and not result.stopped:
            try:
                self.store.require_size(self.store.shape[0] + 1, self.store.shape[1])
            except ModelSizeError as error:
                result.memory_error = error
        if result.all_scores is not None:
            result.all_scores = result.all_scores[:, : self.store.shape[0]]
        result.end = done
        result.usable_rows = samples.usable_rows if done == n else samples[:done].usable_rows
        if done < n:
            result = result[:done]
        return result if result.usable_rows is ... else result[result.usable_rows]

    def _require_known_names(self, samples: Samples, learns: bool) -> None:
        """Check that samples were numbered for this model, as it is now.

        Raises
        ------
        StreamPerceptronError
            If they were not.

        """
        (k, d), known = self.store.shape, samples.shape_before
        is_known = known[1] <= d  # since then, another thread may have learned more names
        if learns:  # a full model may have ignored features
            is_known = known == (k, d) or (self.is_full and known[0] == k and known[1] > d)
        if not is_known:
            raise StreamPerceptronError(
                f"these rows were read for a model with {known[0]:,} labels and {known[1]:,} "
                f"features, but this model has {k:,} and {d:,}: read them for this model"
            )

    def find_rows_beyond_max_weights(self, samples: Samples) -> list[int]:
        """Return the rows whose labels are new and do not fit into the model.

        After the first of them, no new label fits, because the model does not get smaller.
        """
        if samples.has_own_ids:
            samples = self.number_names(
                samples, samples.list_labels(...), samples.weights, samples.status
            )
        (k, d), limit, added = self.store.shape, self.store.max_weights, samples.added_features
        if count_weights(*samples.compute_model_shape_after((k, d), len(samples))) <= limit:
            return []
        for row in samples.added_labels.rows.tolist():
            n_room = max(0, compute_max_features(k, limit) - d)
            n_features = min(int(np.searchsorted(added.rows, row)), n_room)
            if count_weights(k + 1, d + n_features) > limit:
                return np.flatnonzero(samples.label_ids >= k).tolist()
            k += 1
        return []

    def _fit_into_max_weights(self, samples: Samples) -> tuple[int, Samples]:
        """Count the rows before the first whose label does not fit; leave out unfitting features.

        A full model takes no further features, so only the first of the new ones can fit.
        """
        unfitting = self.find_rows_beyond_max_weights(samples)
        end = unfitting[0] if unfitting else len(samples)
        _, d = self.store.shape
        k, d_after = samples.compute_model_shape_after(self.store.shape, end)
        n = min(d_after - d, max(0, compute_max_features(k, self.store.max_weights) - d))
        self.is_full |= n < d_after - d
        added = samples.added_features
        return end, replace(samples, added_features=AddedNames(added.rows[:n], added.names[:n]))

    def _train_part(
        self,
        samples: Samples,
        start: int,
        end: int,
        rule: LearningRule,
        lr: LearningRate,
        options: TrainOptions,
        result: TrainResult,
    ) -> int:
        """Predict and learn the rows [start, end); return the end of the rows processed.

        Names that were added for rows that were not learned are removed.
        """
        n_before, targets = self.n_seen, result.targets
        # A schedule is not asked for rates if all rows are only predicted.
        is_used = not hasattr(lr, "get") or targets.max(initial=-1) >= 0
        rates = compute_rates_of_next_samples(lr if is_used else 0.0, self.n_updates, end - start)
        with_scores = options.with_scores or options.with_all_scores
        part = Part(start, end, samples.weights, rates, with_scores=with_scores)
        if n_before == 0 and start < end and targets[start] >= 0:
            # The first row is predicted before its weights are drawn, by the biases alone.
            first = part._replace(learns=False)
            self._run_kernel(rule, samples, first, result)
            part = part._replace(with_predictions=False)
        if not samples.adds_names:
            return self._run_kernel(rule, samples, part, result)
        added, shape = samples[start:end], self.store.shape
        new_labels, new_features = added.added_labels, added.added_features
        try:
            self._add_names(new_features.names, new_labels.names)
            part = part._replace(
                n_labels=new_labels.count_names_by_row(shape[0], end - start),
                n_features=new_features.count_names_by_row(shape[1], end - start),
            )
            return self._run_kernel(rule, samples, part, result)
        finally:
            labeled, n_learned = np.flatnonzero(targets[start:end] >= 0), self.n_seen - n_before
            if n_learned < len(labeled):
                end = start + int(labeled[n_learned - 1]) + 1 if n_learned else start
                self._shrink(*added.compute_model_shape_after(shape, end - start))

    def _run_kernel(
        self, rule: LearningRule, samples: Samples, part: Part, result: TrainResult
    ) -> int:
        """Predict and learn rows whose names have weights; return the end of the rows processed."""
        current, counters = self.store.current, self.counters
        return kernel.learn(
            current, rule, self.scaler, self.class_weights, counters, samples, part, result
        )

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
            self.scaler.extend(d, features)
        if self.class_weights is not None:
            self.class_weights.extend(labels)
        self.labels.extend(labels)
        self.features.extend(features)
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
        if self.class_weights is not None:
            self.class_weights.truncate(k)
