"""Rows of features in compressed sparse form, in which all samples reach the kernel."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.arrays import Array, Floats, Mask

Names = Sequence[Hashable]  # a tuple, a range, or a list that may grow

# What a row is; the compiled reader and the kernel use the same numbers.
LEARNED, UNLABELED, REJECTED, MALFORMED, REDELIVERED = range(5)


# Not frozen, because a frozen dataclass takes several times as long to create.
@dataclass(eq=False, repr=False)
class FeatureRows:
    """Rows, each with values for some of the names; do not modify them. All values are finite.

    Zeros may be left out, except where a scaler counts them.

    Examples
    --------
    >>> rows = FeatureRows.from_rows([("a", "b"), ("c",)], [np.array([1.0, 2.0]), np.array([-3.0])])
    >>> rows.names, list(rows.dicts()), rows.max_abs()
    (('a', 'b', 'c'), [{'a': 1.0, 'b': 2.0}, {'c': -3.0}], 3.0)

    """

    names: Names  # of the features, by number
    # Row i is values[starts[i] : starts[i + 1]]; shape (n + 1,).
    starts: NDArray[np.intp]
    feature_ids: NDArray[np.int32]  # unique within a row
    values: Floats

    @classmethod
    def from_table(cls, names: Names, cells: Array, is_present: Mask | None = None) -> FeatureRows:
        """Build rows from cells (n, d). Cells where `is_present` is False mark absent features."""
        n, d = cells.shape
        values = np.require(cells, np.float64, ["C", "A"])
        ids = np.broadcast_to(np.arange(d, dtype=np.int32), (n, d))
        if is_present is None or is_present.all():
            return cls(names, np.arange(n + 1) * d, ids.ravel(), values.ravel())
        starts = _compute_starts(np.count_nonzero(is_present, axis=1))
        return cls(names, starts, ids[is_present], values[is_present])

    @classmethod
    def from_rows(cls, names: Sequence[Names], values: Sequence[Array]) -> FeatureRows:
        """Build rows from the names and the values of each row."""
        ids_by_name: dict[Hashable, int] = {}
        ids_by_row: dict[tuple[Hashable, ...], list[int]] = {}  # most rows have the names of others
        ids: list[int] = []
        for row in map(tuple, names):
            if row not in ids_by_row:
                ids_by_row[row] = [ids_by_name.setdefault(n, len(ids_by_name)) for n in row]
            ids += ids_by_row[row]
        starts = _compute_starts(np.array([*map(len, names)], np.intp))
        return cls(
            tuple(ids_by_name), starts, np.array(ids, np.int32),
            np.concatenate([np.empty(0), *values]),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: slice) -> Self:
        """Return a slice of the rows."""
        n = len(self)
        start, end, _ = rows.indices(n)
        if end - start == n:
            return self
        return replace(self, **self._slice_fields(start, max(start, end)))

    def _slice_fields(self, start: int, end: int) -> dict[str, Any]:
        """Return the fields that differ for the rows [start, end)."""
        starts = self.starts[start : end + 1]
        cells = slice(starts[0], starts[-1])
        return {
            "starts": starts - starts[0], "feature_ids": self.feature_ids[cells],
            "values": self.values[cells],
        }  # fmt: skip

    def take(self, rows: NDArray[np.intp]) -> FeatureRows:
        """Return the features of the rows with the given indices."""
        lengths = self.lengths[rows]
        starts = _compute_starts(lengths)
        cells = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return FeatureRows(self.names, starts, self.feature_ids[cells], self.values[cells])

    @property
    def lengths(self) -> NDArray[np.intp]:
        """The number of values in each row, shape (n,)."""
        return np.diff(self.starts)

    def max_abs(self) -> float:
        """Return the largest absolute value: 0 if there are no values, NaN if any value is NaN."""
        return max(float(self.values.max(initial=0)), -float(self.values.min(initial=0)))

    def dicts(self) -> Iterator[dict[Hashable, float]]:
        """Yield each row as a dict of its features."""
        for start, end in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            names = map(self.names.__getitem__, self.feature_ids[start:end].tolist())
            yield dict(zip(names, self.values[start:end].tolist(), strict=True))

    def compute_max_abs_by_name(self) -> dict[str, float]:
        """Return, by name, the largest absolute value of each feature that all rows have."""
        counts = np.bincount(self.feature_ids)
        largest = np.zeros(len(counts))
        np.maximum.at(largest, self.feature_ids, np.abs(self.values))
        is_in_all_rows = (counts == len(self)) & (counts > 0)
        return {
            str(self.names[i]): float(largest[i]) for i in np.flatnonzero(is_in_all_rows).tolist()
        }

    def without_unused_names(self) -> Self:
        """Remove unused names if they are in the majority, because each name costs time."""
        if len(self.names) <= 4 * len(self.values):
            return self
        used, new_ids = np.unique(self.feature_ids, return_inverse=True)
        names = tuple([self.names[i] for i in used.tolist()])
        return replace(self, names=names, feature_ids=new_ids.astype(np.int32))


class AddedNames(NamedTuple):
    """Names that rows add to a model, in order."""

    rows: NDArray[np.intp] = np.empty(0, np.intp)  # the row that adds each name, ascending
    names: Sequence[Hashable] = ()

    def between(self, start: int, end: int) -> AddedNames:
        """Return what the rows [start, end) add."""
        if not self.names:
            return self
        low, high = np.searchsorted(self.rows, [start, end]).tolist()
        return AddedNames(self.rows[low:high] - start, self.names[low:high])

    def count_names_by_row(self, n_known: int, n: int) -> NDArray[np.intp] | None:
        """Return the number of names before each of n rows and after the last; None if constant."""
        if not self.names:
            return None
        return n_known + np.searchsorted(self.rows, np.arange(n + 1))


NOTHING_ADDED = AddedNames()


@dataclass(eq=False, repr=False)
class Samples(FeatureRows):
    """Rows with labels, whose names have the numbers of a model, or will have them once added.

    A labeled row adds its label and its features, except names that the model or an earlier labeled
    row already contains. An unlabeled row adds nothing.
    """

    label_ids: NDArray[np.intp]  # the number of each row's label, -1 if it is missing; shape (n,)
    weights: NDArray[np.float64]  # the sample weights, shape (n,)
    status: NDArray[np.uint8]  # rows from REJECTED on are skipped; shape (n,)
    added_features: AddedNames = NOTHING_ADDED
    added_labels: AddedNames = NOTHING_ADDED
    # The labels by number; None if they are those of the model. They are not if `has_own_ids`.
    labels: Sequence[Hashable] | None = None
    has_own_ids: bool = False  # whether the model has other numbers for these names
    # The numbers of labels and features that the model knew before the first row.
    shape_before: tuple[int, int] = (0, 0)

    def _slice_fields(self, start: int, end: int) -> dict[str, Any]:
        fields = super()._slice_fields(start, end)
        for name in ("label_ids", "weights", "status"):
            fields[name] = getattr(self, name)[start:end]
        for name in ("added_features", "added_labels"):
            fields[name] = getattr(self, name).between(start, end)
        fields["shape_before"] = self.compute_model_shape_after(self.shape_before, start)
        return fields

    @property
    def adds_names(self) -> bool:
        """Whether rows add any label or feature."""
        return bool(self.added_features.names or self.added_labels.names)

    def compute_model_shape_after(self, shape: tuple[int, int], end: int) -> tuple[int, int]:
        """Return the numbers of labels and features after `end` rows, given those before."""
        return (
            shape[0] + int(np.searchsorted(self.added_labels.rows, end)),
            shape[1] + int(np.searchsorted(self.added_features.rows, end)),
        )

    @property
    def usable_rows(self) -> Any:
        """An index of the usable rows: `...` if all rows are."""
        if self.status.max(initial=0) < REJECTED:
            return ...
        return np.flatnonzero(self.status < REJECTED)

    def dicts(self) -> Iterator[dict[Hashable, float]]:
        """Yield each usable row as a dict of its features."""
        return FeatureRows.dicts(self if self.usable_rows is ... else self.take(self.usable_rows))

    def list_labels(self, rows: Any = None) -> list[Hashable]:
        """Return the labels of the usable rows, or of others, None for unlabeled rows."""
        assert self.labels is not None
        labels, ids = self.labels, self.label_ids[self.usable_rows if rows is None else rows]
        return [labels[i] if i >= 0 else None for i in ids.tolist()]


def as_samples(
    rows: FeatureRows, labels: Sequence[Hashable], weights: NDArray[np.float64]
) -> Samples:
    """Return rows with labels, which may be None, as samples that a model has to number."""
    label_ids = np.arange(len(labels))
    if None in labels:
        label_ids[[label is None for label in labels]] = -1
    return Samples(
        rows.names, rows.starts, rows.feature_ids, rows.values, label_ids, weights,
        np.zeros(len(rows), np.uint8), labels=labels, has_own_ids=True,
    )  # fmt: skip


def _compute_starts(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the starts of rows with the given lengths, and the end of the last row."""
    return np.concatenate([[0], np.cumsum(lengths)])


def concatenate_rows(parts: Sequence[FeatureRows]) -> FeatureRows:
    """Concatenate the rows of all parts.

    Examples
    --------
    >>> one = FeatureRows.from_table(("a",), np.array([[1.0]]))
    >>> len(concatenate_rows([one, one[:0], one]))
    2

    """
    ids_by_name: dict[Hashable, int] = {}
    ids = []
    for part in parts:
        part = part.without_unused_names()
        new_ids = [ids_by_name.setdefault(name, len(ids_by_name)) for name in part.names]
        ids.append(np.array(new_ids, np.int32)[part.feature_ids])
    return FeatureRows(
        tuple(ids_by_name),
        _compute_starts(np.concatenate([part.lengths for part in parts])),
        np.concatenate(ids),
        np.concatenate([part.values for part in parts]),
    )
