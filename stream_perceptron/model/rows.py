"""Rows of features in compressed sparse form, in which readers pass samples to the kernel."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.arrays import Array
from stream_perceptron.model.vocabulary import NamesPrefix

Names = Sequence[Hashable]  # immutable: usually a tuple or a range

_MAX_UNUSED_NAMES = 1000  # keeping up to this many unused names costs less than removing them


# Not frozen, because a frozen dataclass takes several times as long to create.
@dataclass(eq=False, repr=False)
class Rows:
    """Rows, each with values for some of the names; do not modify them. All values are finite.

    Examples
    --------
    >>> rows = Rows.from_rows([("a", "b"), ("c",)], [np.array([1.0, 2.0]), np.array([-3.0])])
    >>> rows.names, list(rows.dicts()), rows.max_abs()
    (('a', 'b', 'c'), [{'a': 1.0, 'b': 2.0}, {'c': -3.0}], 3.0)

    Pixels remain bytes until a kernel scales them:

    >>> rows = Rows.from_table(("a", "b"), np.array([[0, 255]], np.uint8), scale=1 / 255)
    >>> len(rows), list(rows.dicts())
    (1, [{'a': 0.0, 'b': 1.0}])

    """

    names: Names
    # Row i is values[starts[i] : starts[i + 1]]; shape (n + 1,).
    starts: NDArray[np.intp]
    # The index in `names` of each value's name, unique within a row; None for a table, whose rows
    # have values for all names.
    name_ids: NDArray[np.int32] | None
    values: Array  # float64; or uint8, multiplied by `scale` when used
    scale: float = 1.0
    # The row that adds each of the last names, ascending; None if the values tell.
    added_rows: NDArray[np.intp] | None = None

    @classmethod
    def from_table(
        cls,
        names: Names,
        cells: Array,
        is_present: NDArray[np.bool_] | None = None,
        scale: float = 1.0,
    ) -> Rows:
        """Build rows from cells (n, d). Cells that are not present mark absent features."""
        if cells.dtype != np.uint8:
            cells = np.require(cells, np.float64, ["C", "A"])
        n, d = cells.shape
        if is_present is None or is_present.all():
            return cls(names, np.arange(n + 1) * d, None, cells.ravel(), scale)
        starts = _compute_starts(np.count_nonzero(is_present, axis=1))
        name_ids = np.broadcast_to(np.arange(d, dtype=np.int32), (n, d))[is_present]
        return cls(names, starts, name_ids, cells[is_present], scale)

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

    @classmethod
    def empty(cls, n: int) -> Rows:
        """Return n rows without features."""
        return cls((), np.zeros(n + 1, np.intp), np.empty(0, np.int32), np.empty(0))

    @classmethod
    def from_dicts(cls, rows: Sequence[Mapping[str, float]]) -> Rows:
        """Build rows from dicts of features."""
        all_names = list(chain.from_iterable(rows))
        names = tuple(dict.fromkeys(all_names))
        ids_by_name = dict(zip(names, count(), strict=False))
        values = chain.from_iterable([row.values() for row in rows])
        return cls(
            names,
            _compute_starts(np.fromiter(map(len, rows), np.intp, len(rows))),
            np.fromiter(map(ids_by_name.__getitem__, all_names), np.int32, len(all_names)),
            np.fromiter(values, np.float64, len(all_names)),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: slice | NDArray[np.intp] | NDArray[np.int32]) -> Rows:
        """Return a slice of the rows, or the rows with the given indices."""
        if isinstance(rows, slice):
            first, end, _ = rows.indices(len(self))
            if end - first == len(self):
                return self
            starts = self.starts[first : max(first, end) + 1]
            cells: Any = slice(starts[0], starts[-1])
            starts = starts - starts[0]
            if self.added_rows is not None and isinstance(self.names, NamesPrefix):
                return self._slice(first, end, starts, cells)
        elif self.name_ids is None:
            cells = self.values.reshape(len(self), len(self.names))[rows]
            return Rows.from_table(self.names, cells, None, self.scale)
        else:
            lengths = self.lengths[rows]
            starts = _compute_starts(lengths)
            cells = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        name_ids = None if self.name_ids is None else self.name_ids[cells]
        values = self.values[cells]
        return replace(self, starts=starts, name_ids=name_ids, values=values, added_rows=None)

    def _slice(self, first: int, end: int, starts: NDArray[np.intp], cells: slice) -> Rows:
        """Return a slice of rows that add names, without the names that later rows add."""
        added = self.added_rows
        assert added is not None
        assert self.name_ids is not None
        low, high = np.searchsorted(added, [first, end]).tolist()
        return replace(
            self,
            names=self.names[: len(self.names) - (len(added) - high)],
            starts=starts,
            name_ids=self.name_ids[cells],
            values=self.values[cells],
            added_rows=added[low:high] - first,
        )

    @property
    def lengths(self) -> NDArray[np.intp]:
        """The number of features in each row, shape (n,)."""
        return np.diff(self.starts)

    @property
    def value_rows(self) -> NDArray[np.intp]:
        """The index of the row of each value."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def value_name_ids(self) -> NDArray[np.int32]:
        """The index in `names` of each value."""
        if self.name_ids is not None:
            return self.name_ids
        return np.tile(np.arange(len(self.names), dtype=np.int32), len(self))

    @property
    def numbers(self) -> NDArray[np.float64]:
        """The values as float64."""
        return self.values if self.values.dtype == np.float64 else self.byte_values[self.values]

    @property
    def byte_values(self) -> NDArray[np.float64]:
        """The number that each byte stands for, shape (256,)."""
        return _byte_values(self.scale)

    def max_abs(self) -> float:
        """Return the largest absolute value: 0 if there are no values, NaN if any value is NaN."""
        values = self.values
        largest = max(float(values.max(initial=0)), -float(values.min(initial=0)))
        return largest * abs(self.scale)

    def dicts(self) -> Iterator[dict[Hashable, float]]:
        """Yield each row as a dict of its features."""
        names, name_ids = self.names, self.name_ids
        # Equal bytes share one float object, which saves time and memory.
        byte_values = self.byte_values.astype(object)
        for start, end in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            cells = self.values[start:end]
            values = (byte_values[cells] if cells.dtype == np.uint8 else cells).tolist()
            if name_ids is not None:
                names = tuple(map(self.names.__getitem__, name_ids[start:end].tolist()))
            yield dict(zip(names, values, strict=True))

    def compute_max_abs_by_name(self) -> dict[str, float]:
        """Return, by name, the largest absolute value of each feature that all rows have."""
        name_ids, n_names = self.value_name_ids, len(self.names)
        counts = np.bincount(name_ids, minlength=n_names)
        largest = np.zeros(n_names)
        np.maximum.at(largest, name_ids, np.abs(self.numbers))
        is_in_all_rows = (counts == len(self)) & (counts > 0)
        return {
            str(self.names[i]): float(largest[i]) for i in np.flatnonzero(is_in_all_rows).tolist()
        }

    def find_first_rows(
        self, name_ids: NDArray[np.intp], is_used: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Find which of the given names the used rows have.

        Returns
        -------
        The indices of these names, in order of appearance, and the first used row of each.

        """
        if self.name_ids is None:
            name_ids = name_ids if is_used.any() else name_ids[:0]
            return name_ids, np.full(len(name_ids), is_used.argmax() if len(is_used) else 0)
        is_requested = np.zeros(len(self.names), bool)
        is_requested[name_ids] = True
        cells = np.flatnonzero(is_requested[self.name_ids])
        rows = np.searchsorted(self.starts, cells, side="right") - 1
        cells, rows = cells[is_used[rows]], rows[is_used[rows]]
        found, first = np.unique(self.name_ids[cells], return_index=True)
        order = np.argsort(first)
        return found[order].astype(np.intp), rows[first[order]]

    def without_unused_names(self) -> Rows:
        """Remove unused names if they are in the majority, because each name costs time."""
        if self.name_ids is None or len(self.names) <= 4 * len(self.values) + _MAX_UNUSED_NAMES:
            return self
        occurs = np.zeros(len(self.names), bool)
        occurs[self.name_ids] = True
        used = np.flatnonzero(occurs)
        new_ids = np.empty(len(self.names), np.int32)
        new_ids[used] = np.arange(len(used))
        names = tuple([self.names[i] for i in used.tolist()])
        return replace(self, names=names, name_ids=new_ids[self.name_ids])


class Samples(NamedTuple):
    """Checked rows of features, with a label and a weight for each."""

    rows: Rows
    labels: Sequence[Hashable]  # None for a row that is only predicted
    weights: NDArray[np.float64]  # the sample weights, shape (n,)


@lru_cache(maxsize=16)
def _byte_values(scale: float) -> NDArray[np.float64]:
    return np.multiply(np.arange(256), scale, dtype=np.float64)


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
    names, scale = parts[0].names, parts[0].scale
    names_of_parts = [part.names for part in parts]
    are_tables = all(part.name_ids is None for part in parts)
    name_ids = [] if are_tables else [part.value_name_ids for part in parts]
    longest = max(parts, key=lambda part: len(part.names)).names
    if isinstance(longest, NamesPrefix) and all(map(longest.has_same_list_as, names_of_parts)):
        names = longest
    elif any(other != names for other in names_of_parts):
        names = tuple(dict.fromkeys(chain.from_iterable(part.names for part in parts)))
        ids_by_name = {name: i for i, name in enumerate(names)}
        name_ids = [
            np.array([ids_by_name[name] for name in part.names], np.int32)[part.value_name_ids]
            for part in parts
        ]
    are_bytes = all(part.values.dtype == np.uint8 and part.scale == scale for part in parts)
    return Rows(
        names,
        _compute_starts(np.concatenate([part.lengths for part in parts])),
        np.concatenate(name_ids) if name_ids else None,
        np.concatenate([part.values if are_bytes else part.numbers for part in parts]),
        scale if are_bytes else 1.0,
    )
