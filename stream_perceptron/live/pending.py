"""Pending samples, which wait for their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.encoders import format_category
from stream_perceptron.errors import CheckpointError, Reason
from stream_perceptron.model.arrays import Array, NamedArrays
from stream_perceptron.model.results import TrainResult
from stream_perceptron.model.rows import FeatureRows, Names, concatenate_rows

ARRAY_PREFIX = "pending_"  # the prefix of the names of saved arrays


class PendingSample(NamedTuple):
    """A pending sample, as it was read."""

    names: Names  # the names of its features
    values: Array  # float64
    weight: float
    predicted: int  # the number of the predicted label, -1 for none


class Join(NamedTuple):
    """What a usable row does to the pending samples."""

    added_id: str | None  # the ID under which its sample becomes pending
    completed_id: str | None  # the ID of the sample that its label completes
    evicted_id: str | None  # the ID of the oldest sample, if too many are pending
    sample: PendingSample | None  # the completed sample, if an earlier batch contained it
    sample_row: int  # the row of the completed sample, if this batch contained it; else -1


def restore_predictions(batch: Batch, result: TrainResult) -> NDArray[np.bool_]:
    """Restore the first predictions of completed samples; return the mask of their rows."""
    is_late_label = np.zeros(result.end, bool)
    predicted = np.full(result.end, -1)
    predicted[result.usable_rows] = result.predicted
    for row, join in enumerate((batch.joins or ())[: result.end]):
        if join is not None and join.completed_id is not None:
            is_late_label[row] = True
            predicted[row] = predicted[join.sample_row]
            if join.sample is not None:
                predicted[row] = join.sample.predicted
    result.predicted[:] = predicted[result.usable_rows]
    is_usable: NDArray[np.bool_] = is_late_label[result.usable_rows]
    return is_usable


@dataclass(eq=False, repr=False)
class PendingSamples:
    """Pending samples by ID, oldest first."""

    n_evicted: int = 0
    # The names of features that have occurred in rows, but that the model has not learned.
    unlearned_names: list[str] = field(default_factory=list)
    # The part of the samples that is saved as JSON, not in arrays.
    ids: list[str] = field(default_factory=list)
    saved_names: list[str] = field(default_factory=list)  # the names of their features
    samples: dict[str, PendingSample] = field(default_factory=dict, metadata={"saved": False})
    _last_names: Names = field(default=(), metadata={"saved": False})

    def join(self, batch: Batch, read_options: ReadOptions) -> Batch:
        """Join labels with their pending samples, without changing this object."""
        name = str(read_options.join)
        rejected: dict[int, Reason] = {}
        lengths, label_ids = batch.lengths.tolist(), batch.label_ids.tolist()
        joins: list[Join | None] = [None] * len(batch)
        added_rows: dict[str, int] = {}  # by ID: the row of each sample that becomes pending
        removed: set[str] = set()  # the IDs of earlier samples that are no longer pending
        oldest = iter(self.samples)
        for row in np.arange(len(batch))[batch.usable_rows].tolist():
            key, has_label = _format_id(batch.passthrough[row][-1]), label_ids[row] >= 0
            is_pending = key in added_rows or (key in self.samples and key not in removed)
            reason = _find_rejection_reason(key, name, is_pending, lengths[row] > 0, has_label)
            if reason is not None:
                rejected[row] = reason
                continue
            added = completed = evicted = sample = None
            first = -1
            if not has_label:
                added, added_rows[key] = key, row
            elif is_pending:
                completed, first = key, added_rows.pop(key, -1)
                if first < 0:
                    sample = self.samples[key]
                    removed.add(key)
            if len(self.samples) - len(removed) + len(added_rows) > read_options.max_pending:
                evicted = next((key for key in oldest if key not in removed), None)
                if evicted is None:
                    evicted = next(iter(added_rows))
                    del added_rows[evicted]
                else:
                    removed.add(evicted)
            joins[row] = Join(added, completed, evicted, sample, first)
        return replace(_join_features(batch, joins).reject_rows(rejected), joins=joins)

    def commit(self, batch: Batch, result: TrainResult | None) -> None:
        """Add new samples with their predictions, and remove completed and evicted samples."""
        self.unlearned_names.extend(map(str, batch.added_features.names))
        predicted = np.full(len(batch), -1)
        if result is not None:
            predicted[result.usable_rows] = result.predicted
        starts, weights, numbers = (x.tolist() for x in (batch.starts, batch.weights, predicted))
        names: Names = ()
        last_ids: bytes | None = None
        for row, join in enumerate(batch.joins or ()):
            if join is None:
                continue
            if join.completed_id is not None:
                del self.samples[join.completed_id]
            if join.added_id is not None:
                ids = batch.feature_ids[starts[row] : starts[row + 1]]
                if ids.tobytes() != last_ids:
                    last_ids, names = ids.tobytes(), tuple(batch.names[i] for i in ids.tolist())
                values = batch.values[starts[row] : starts[row + 1]]
                self._add(join.added_id, names, values, weights[row], numbers[row])
            if join.evicted_id is not None:
                self.n_evicted += 1
                del self.samples[join.evicted_id]

    @property
    def known_names(self) -> list[str]:
        """The names of features that have occurred in rows, but may not have been learned."""
        return list(map(str, [*self.unlearned_names, *self.feature_names()]))

    def remove_unlearned_names(self) -> None:
        """Forget the names of features that no pending sample has."""
        self.unlearned_names = []

    def feature_names(self) -> set[object]:
        """Return the names of the features of all samples."""
        return set().union(*{id(s.names): s.names for s in self.samples.values()}.values())

    def arrays(self) -> NamedArrays:
        """Return the part that is saved as arrays, and set the fields that are saved as JSON."""
        samples = list(self.samples.values())
        rows = _build_rows(samples)
        self.ids, self.saved_names = list(self.samples), list(map(str, rows.names))
        arrays: NamedArrays = {
            "starts": rows.starts,
            "feature_ids": rows.feature_ids,
            "values": np.concatenate([np.empty(0), *(sample.values for sample in samples)]),
            "weights": np.array([sample.weight for sample in samples], np.float64),
            "predicted": np.array([sample.predicted for sample in samples], np.intp),
        }
        return {f"{ARRAY_PREFIX}{name}": array for name, array in arrays.items()}

    def restore(self, arrays: NamedArrays, max_pending: int, n_labels: int) -> None:
        """Restore the saved samples, of which there may be at most `max_pending`."""
        starts, name_ids = arrays["pending_starts"], arrays["pending_feature_ids"]
        values, weights = arrays["pending_values"], arrays["pending_weights"]
        predicted = arrays["pending_predicted"]
        n, d = len(self.ids), len(self.saved_names)
        if (
            not len(starts) - 1 == len(weights) == n <= max_pending
            or not _are_between(np.diff(starts), 0, d)
            or starts[0] != 0
            or not len(values) == len(name_ids) == starts[-1]
            or not _are_between(name_ids, 0, d - 1)
            or not _are_between(predicted, -1, n_labels - 1)
        ):
            raise CheckpointError("pending samples are inconsistent")
        saved = zip(weights.tolist(), predicted.tolist(), strict=True)
        spans = zip(starts.tolist(), starts[1:].tolist(), strict=False)
        for key, (start, end), (weight, number) in zip(self.ids, spans, saved, strict=True):
            names = tuple(map(self.saved_names.__getitem__, name_ids[start:end].tolist()))
            self._add(key, names, values[start:end], weight, number)

    def _add(self, key: str, names: Names, values: Array, weight: float, predicted: int) -> None:
        """Add a pending sample with its own copy of the values."""
        if names is not self._last_names and names == self._last_names:
            names = self._last_names  # samples with the same feature names share one object
        self._last_names = names
        self.samples[key] = PendingSample(names, values.copy(), weight, predicted)


def _format_id(value: Any) -> Any:
    """Return the ID of a sample as text; None if it is missing."""
    if value is None or value != value or isinstance(value, list | dict):
        return None
    return format_category(value) or None


def _find_rejection_reason(
    key: Any, name: str, is_pending: bool, has_features: bool, has_label: bool
) -> Reason | None:
    """Return the reason to reject a row, or None."""
    if key is None:
        return Reason(f"{name!r} is missing: it identifies the sample")
    if not has_features and not has_label:
        return Reason("it has neither features nor a label")
    if has_features and is_pending:
        text = f"{name!r} is {key[:50]!r}, and a sample with this ID is already pending"
        return Reason(text, "already_pending")
    if not has_features and not is_pending:
        text = f"{name!r} is {key[:50]!r}, and no sample with this ID is pending"
        return Reason(text, "not_pending")
    return None


def _join_features(batch: Batch, joins: Sequence[Join | None]) -> Batch:
    """Return a batch whose label rows have the features of their samples."""
    order = np.arange(len(batch))
    samples: list[PendingSample] = []
    late = []
    for row, join in enumerate(joins):
        if join is not None and join.completed_id is not None:
            late.append(row)
            order[row] = join.sample_row
            if join.sample is not None:
                order[row] = len(batch) + len(samples)
                samples.append(join.sample)
    if not late:
        return batch
    features: FeatureRows = concatenate_rows([batch, _build_rows(samples)]) if samples else batch
    weights = np.concatenate([batch.weights, [sample.weight for sample in samples]])
    missing = None if batch.n_missing is None else batch.n_missing.copy()
    if missing is not None:
        missing[late] = 0
    return replace(batch, **vars(features.take(order)), weights=weights[order], n_missing=missing)


def _build_rows(samples: Sequence[PendingSample]) -> FeatureRows:
    """Return the features of samples as rows."""
    return FeatureRows.from_rows(
        [sample.names for sample in samples], [sample.values for sample in samples]
    )


def _are_between(values: Array, minimum: float, maximum: float) -> bool:
    return bool(((values >= minimum) & (values <= maximum)).all())
