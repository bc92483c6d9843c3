"""Rows of features in compressed sparse form, in which all samples reach the kernel."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.arrays import Array, Floats, Mask
from stream_perceptron.model.vocabulary import NamesPrefix

Names = Sequence[Hashable]  # immutable: usually a tuple or a range

_ROWS_AT_ONCE = 1000  # rows that are searched for new names at a time
_MAX_UNUSED_NAMES = 1000  # keeping up to this many unused names costs less than removing them


# Not frozen, because a frozen dataclass takes several times as long to create.
@dataclass(eq=False, repr=False)
class Rows:
    """Rows, each with values for some of the names; do not modify them. All values are finite.

    Zeros may be left out, except where a scaler counts them.

    Examples
    --------
    >>> rows = Rows.from_rows([("a", "b"), ("c",)], [np.array([1.0, 2.0]), np.array([-3.0])])
    >>> rows.names, list(rows.dicts()), rows.max_abs()
    (('a', 'b', 'c'), [{'a': 1.0, 'b': 2.0}, {'c': -3.0}], 3.0)

    """

    names: Names
    # Row i is values[starts[i] : starts[i + 1]]; shape (n + 1,).
    starts: NDArray[np.intp]
    name_ids: NDArray[np.int32]  # the index in `names` of each value's name, unique within a row
    values: Floats
    # The row that adds each of the last names, ascending; None if the values show these rows.
    added_rows: NDArray[np.intp] | None = None

    @classmethod
    def from_table(cls, names: Names, cells: Array, is_present: Mask | None = None) -> Rows:
        """Build rows from cells (n, d). Cells where `is_present` is False mark absent features."""
        n, d = cells.shape
        values = np.require(cells, np.float64, ["C", "A"])
        name_ids = np.broadcast_to(np.arange(d, dtype=np.int32), (n, d))
        if is_present is None or is_present.all():
            return cls(names, np.arange(n + 1) * d, name_ids.ravel(), values.ravel())
        starts = _compute_starts(np.count_nonzero(is_present, axis=1))
        return cls(names, starts, name_ids[is_present], values[is_present])

    @classmethod
    def from_rows(cls, names: Sequence[Names], values: Sequence[Array]) -> Rows:
        """Build rows from the names and the values of each row."""
        ids_by_name: dict[Hashable, int] = {}
        last: Names | None = None
        name_ids: list[NDArray[np.int32]] = []
        for names_of_row in names:
            # Consecutive rows usually have the same names.
            if last is None or names_of_row != last:
                ids = [ids_by_name.setdefault(name, len(ids_by_name)) for name in names_of_row]
                ids_of_row, last = np.array(ids, np.int32), names_of_row
            name_ids.append(ids_of_row)
        starts = _compute_starts(np.array([len(ids_of_row) for ids_of_row in name_ids], np.intp))
        return cls(
            tuple(ids_by_name),
            starts,
            np.concatenate([np.empty(0, np.int32), *name_ids]),
            np.concatenate([np.empty(0), *values]),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Rows:
        """Return a slice of the rows, or the rows with the given indices.

        A slice has no names that later rows add.
        """
        names, added_rows = self.names, None
        if isinstance(rows, slice):
            first, end, _ = rows.indices(len(self))
            if end - first == len(self):
                return self
            starts = self.starts[first : max(first, end) + 1]
            cells: Any = slice(starts[0], starts[-1])
            starts = starts - starts[0]
            if self.added_rows is not None:
                low, high = np.searchsorted(self.added_rows, [first, end]).tolist()
                names = names[: len(names) - (len(self.added_rows) - high)]
                added_rows = self.added_rows[low:high] - first
        else:
            lengths = self.lengths[rows]
            starts = _compute_starts(lengths)
            cells = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return Rows(names, starts, self.name_ids[cells], self.values[cells], added_rows)

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
            names = map(self.names.__getitem__, self.name_ids[start:end].tolist())
            yield dict(zip(names, self.values[start:end].tolist(), strict=True))

    def compute_max_abs_by_name(self) -> dict[str, float]:
        """Return, by name, the largest absolute value of each feature that all rows have."""
        counts = np.bincount(self.name_ids, minlength=len(self.names))
        largest = np.zeros(len(self.names))
        np.maximum.at(largest, self.name_ids, np.abs(self.values))
        is_in_all_rows = (counts == len(self)) & (counts > 0)
        return {
            str(self.names[i]): float(largest[i]) for i in np.flatnonzero(is_in_all_rows).tolist()
        }

    def find_first_rows(
        self, name_ids: NDArray[np.intp], is_used: Mask
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Find which of the given names the used rows have.

        Returns
        -------
        The indices of these names, in order of appearance, and the first used row of each.

        """
        is_wanted = np.zeros(len(self.names), bool)
        is_wanted[name_ids] = True
        ids, rows = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        # The first rows usually have all names.
        for begin in range(0, len(self), _ROWS_AT_ONCE):
            end = min(begin + _ROWS_AT_ONCE, len(self))
            cells = self.starts[begin] + np.flatnonzero(
                is_wanted[self.name_ids[self.starts[begin] : self.starts[end]]]
            )
            cell_rows = np.searchsorted(self.starts, cells, side="right") - 1
            cells, cell_rows = cells[is_used[cell_rows]], cell_rows[is_used[cell_rows]]
            new_ids, first = np.unique(self.name_ids[cells], return_index=True)
            order = np.argsort(first)
            ids.append(new_ids[order].astype(np.intp))
            rows.append(cell_rows[first[order]])
            is_wanted[new_ids] = False
            if not is_wanted.any():
                break
        return np.concatenate(ids), np.concatenate(rows)

    def without_unused_names(self) -> Rows:
        """Remove unused names if they are in the majority, because each name costs time."""
        if len(self.names) <= 4 * len(self.values) + _MAX_UNUSED_NAMES:
            return self
        used, new_ids = np.unique(self.name_ids, return_inverse=True)
        names = tuple([self.names[i] for i in used.tolist()])
        return replace(self, names=names, name_ids=new_ids.astype(np.int32))


class Samples(NamedTuple):
    """Checked rows of features, with a label and a weight for each."""

    rows: Rows
    labels: Sequence[Hashable]  # None for a row that is only predicted
    weights: NDArray[np.float64]  # the sample weights, shape (n,)


def _compute_starts(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the starts of rows with the given lengths, and the end of the last row."""
    return np.concatenate([[0], np.cumsum(lengths)])


def concatenate_rows(parts: Sequence[Rows]) -> Rows:
    """Concatenate the rows of all parts.

    Examples
    --------
    >>> one = Rows.from_table(("a",), np.array([[1.0]]))
    >>> len(concatenate_rows([one, one[:0], one]))
    2

    """
    names_of_parts = [part.names for part in parts]
    name_ids = [part.name_ids for part in parts]
    names = max(names_of_parts, key=len)
    if not (isinstance(names, NamesPrefix) and all(map(names.has_same_list_as, names_of_parts))):
        names = tuple(dict.fromkeys(chain.from_iterable(names_of_parts)))
        ids_by_name = {name: i for i, name in enumerate(names)}
        name_ids = [
            np.array([ids_by_name[name] for name in part.names], np.int32)[part.name_ids]
            for part in parts
        ]
    return Rows(
        names,
        _compute_starts(np.concatenate([part.lengths for part in parts])),
        np.concatenate(name_ids),
        np.concatenate([part.values for part in parts]),
    )
