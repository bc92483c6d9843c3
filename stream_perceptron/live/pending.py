"""Pending samples, which wait for their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.encoders import format_value
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.arrays import Array, Arrays
from stream_perceptron.model.results import TrainResult
from stream_perceptron.model.rows import Names, Rows, concatenate_rows

ARRAY_PREFIX = "waiting_"  # the prefix of the names of saved arrays


class PendingSample(NamedTuple):
    """A pending sample, as it was read."""

    names: Names  # the names of its features
    values: Array  # float64
    weight: float
    predicted: int  # the number of the predicted label, -1 for none


@dataclass(eq=False, repr=False, kw_only=True)
class JoinedBatch(Batch):
    """A batch whose label rows contain the features of their pending samples.

    Row numbers count only usable rows.
    """

    read: Batch  # the rows as read, before samples are joined
    pending: PendingSamples  # the pending samples before these rows
    read_options: ReadOptions
    read_features: Rows  # the features of the usable rows as read
    earlier_samples: dict[int, PendingSample]  # by label row: its sample from an earlier batch
    rows_in_batch: dict[int, int]  # by label row: the row of this batch with its features
    added_rows: dict[str, int]  # by ID: the row of each sample that becomes pending
    removed_ids: set[str]  # the IDs of earlier samples that are no longer pending
    n_evicted: int  # the number of evicted samples

    def __getitem__(self, rows: slice) -> Batch:
        """Return the first rows, joined as if there were no later ones."""
        if rows.indices(self.n_rows)[1] == self.n_rows:
            return self
        return self.pending.join(self.read[rows], self.read_options)

    def without_samples(self) -> Batch:
        """Return a plain batch without the pending samples, which only learning needs."""
        return Batch(**{field.name: getattr(self, field.name) for field in fields(Batch)})

    def restore_predictions(self, result: TrainResult) -> NDArray[np.bool_]:
        """Restore the first predictions of joined samples; return the mask of their rows."""
        n = len(result)
        is_late_label = np.zeros(n, bool)
        for row, sample in self.earlier_samples.items():
            if row < n:
                is_late_label[row], result.predicted[row] = True, sample.predicted
        for row, first in self.rows_in_batch.items():
            if row < n:
                is_late_label[row], result.predicted[row] = True, result.predicted[first]
        return is_late_label


@dataclass(eq=False, repr=False)
class PendingSamples:
    """Pending samples by ID, oldest first."""

    n_evicted: int = 0
    # The names of features that have occurred in rows, but that the model has not learned.
    names: list[str] = field(default_factory=list)
    # The part of the samples that is saved as JSON, not in arrays.
    ids: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)  # the names of their features
    samples: dict[str, PendingSample] = field(default_factory=dict, metadata={"saved": False})
    _last_names: Names = field(default=(), metadata={"saved": False})
    # The names that the reader knew after the last batch.
    _known_names: Names = field(default=(), metadata={"saved": False})

    def join(self, batch: Batch, read_options: ReadOptions) -> JoinedBatch:
        """Join labels with their pending samples, without changing this object."""
        name = str(read_options.join)
        rejected: dict[int, str] = {}
        lengths, labels = batch.features.lengths.tolist(), batch.labels
        used: list[int] = []  # the usable rows that are not rejected
        earlier_samples: dict[int, PendingSample] = {}
        rows_in_batch: dict[int, int] = {}
        added_rows: dict[str, int] = {}
        removed_ids: set[str] = set()
        n_pending, n_evicted, oldest = len(self.samples), 0, iter(self.samples)
        for i, batch_row in enumerate(batch.rows.tolist()):
            key, row = _format_id(batch.passthrough[i][-1]), len(used)
            is_pending = key in added_rows or (key in self.samples and key not in removed_ids)
            reason = _find_rejection_reason(
                key, name, is_pending, lengths[i] > 0, labels[i] is not None
            )
            if reason is not None:
                rejected[batch_row] = reason
                continue
            used.append(i)
            if labels[i] is None:
                added_rows[key] = row
                n_pending += 1
            elif key in added_rows:
                rows_in_batch[row] = added_rows.pop(key)
                n_pending -= 1
            elif is_pending:
                earlier_samples[row] = self.samples[key]
                removed_ids.add(key)
                n_pending -= 1
            if n_pending > read_options.max_pending:
                n_pending, n_evicted = n_pending - 1, n_evicted + 1
                evicted = next((key for key in oldest if key not in removed_ids), None)
                if evicted is None:
                    del added_rows[next(iter(added_rows))]
                else:
                    removed_ids.add(evicted)
        features = batch.features[np.array(used, np.intp)]
        usable = replace(
            _join_features(batch, features, used, earlier_samples, rows_in_batch),
            rejected=batch.rejected | rejected,
        )
        return JoinedBatch(
            **vars(usable),
            read=batch,
            pending=self,
            read_options=read_options,
            read_features=features,
            earlier_samples=earlier_samples,
            rows_in_batch=rows_in_batch,
            added_rows=added_rows,
            removed_ids=removed_ids,
            n_evicted=n_evicted,
        )

    def commit(self, batch: JoinedBatch, predicted: NDArray[np.intp]) -> None:
        """Add new samples with their predictions, and remove completed and evicted samples."""
        self._known_names = batch.read.features.names
        for key in batch.removed_ids:
            del self.samples[key]
        self.n_evicted += batch.n_evicted
        features = batch.read_features
        starts, weights, numbers = (x.tolist() for x in (features.starts, batch.weights, predicted))
        name_ids = features.name_ids
        names: Names = ()
        last_ids: bytes | None = None
        for key, row in batch.added_rows.items():
            ids = name_ids[starts[row] : starts[row + 1]]
            if ids.tobytes() != last_ids:
                last_ids, names = ids.tobytes(), tuple(features.names[i] for i in ids.tolist())
            values = features.values[starts[row] : starts[row + 1]]
            self._add(key, names, values, weights[row], numbers[row])

    @property
    def known_names(self) -> list[str]:
        """The names of features that have occurred in rows, but may not have been learned."""
        return list(map(str, [*self.names, *self._known_names, *self.feature_names()]))

    def forget_names(self) -> None:
        """Forget the names of features that no pending sample has."""
        self.names, self._known_names = [], ()

    def feature_names(self) -> set[object]:
        """Return the names of the features of all samples."""
        return set().union(*{id(s.names): s.names for s in self.samples.values()}.values())

    def arrays(self) -> Arrays:
        """Return the part that is saved as arrays, and set the fields that are saved as JSON."""
        samples = list(self.samples.values())
        rows = _build_rows(samples)
        self.ids, self.columns = list(self.samples), list(map(str, rows.names))
        arrays: Arrays = {
            "starts": rows.starts,
            "places": rows.name_ids,
            "numbers": np.concatenate([np.empty(0), *(sample.values for sample in samples)]),
            "weights": np.array([sample.weight for sample in samples], np.float64),
            "predicted": np.array([sample.predicted for sample in samples], np.intp),
        }
        return {f"{ARRAY_PREFIX}{name}": array for name, array in arrays.items()}

    def restore(self, arrays: Arrays, max_pending: int, n_labels: int) -> None:
        """Restore the saved samples, of which there may be at most `max_pending`."""
        starts, name_ids = arrays["waiting_starts"], arrays["waiting_places"]
        numbers, weights = arrays["waiting_numbers"], arrays["waiting_weights"]
        predicted = arrays["waiting_predicted"]
        n, d = len(self.ids), len(self.columns)
        if (
            not len(starts) - 1 == len(weights) == n <= max_pending
            or not _are_between(np.diff(starts), 0, d)
            or starts[0] != 0
            or not len(numbers) == len(name_ids) == starts[-1]
            or not _are_between(name_ids, 0, d - 1)
            or not _are_between(predicted, -1, n_labels - 1)
        ):
            raise CheckpointError("pending samples are inconsistent")
        saved = zip(weights.tolist(), predicted.tolist(), strict=True)
        spans = zip(starts.tolist(), starts[1:].tolist(), strict=False)
        for key, (start, end), (weight, number) in zip(self.ids, spans, saved, strict=True):
            names = tuple(map(self.columns.__getitem__, name_ids[start:end].tolist()))
            self._add(key, names, numbers[start:end], weight, number)

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
    return format_value(value, is_text=False) or None


def _find_rejection_reason(
    key: Any, name: str, is_pending: bool, has_features: bool, has_label: bool
) -> str | None:
    """Return the reason to reject a row, or None."""
    if key is None:
        return f"{name!r} is missing: it identifies the sample"
    if not has_features and not has_label:
        return "it has neither features nor a label"
    if has_features and is_pending:
        return f"{name!r} is {key[:50]!r}, and a sample with this ID is already pending"
    if not has_features and not is_pending:
        return f"{name!r} is {key[:50]!r}, and no sample with this ID is pending"
    return None


def _join_features(
    batch: Batch,
    features: Rows,
    used: list[int],
    earlier_samples: dict[int, PendingSample],
    rows_in_batch: dict[int, int],
) -> Batch:
    """Return the usable rows of a batch; label rows get the features of their samples."""
    order, missing = np.arange(len(used)), batch.missing
    weights = batch.weights[used]
    missing = None if missing is None else missing[np.array(used, np.intp)]
    if earlier_samples or rows_in_batch:
        samples = list(earlier_samples.values())
        order[list(rows_in_batch)] = list(rows_in_batch.values())
        order[list(earlier_samples)] = len(used) + np.arange(len(earlier_samples))
        if samples:
            features = concatenate_rows([features, _build_rows(samples)])
            weights = np.concatenate([weights, [sample.weight for sample in samples]])
        features, weights = features[order], weights[order]
        if missing is not None:
            missing = missing.copy()
            missing[[*earlier_samples, *rows_in_batch]] = 0
    return replace(
        batch,
        rows=batch.rows[used],
        features=features,
        labels=[batch.labels[i] for i in used],
        weights=weights,
        missing=missing,
        passthrough=[batch.passthrough[i] for i in used],
    )


def _build_rows(samples: Sequence[PendingSample]) -> Rows:
    """Return the features of samples as rows."""
    return Rows.from_rows(
        [sample.names for sample in samples], [sample.values for sample in samples]
    )


def _are_between(values: Array, minimum: float, maximum: float) -> bool:
    return bool(((values >= minimum) & (values <= maximum)).all())
