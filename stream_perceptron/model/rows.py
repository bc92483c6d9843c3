"""Rows of features as compressed sparse rows: the one form of samples from reader to kernel."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, count, repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Names = Sequence[Hashable]  # immutable: mostly a tuple or a range

_FEW_NAMES = 1000  # so few cost less than removing unused ones


@dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """Rows that each have some of the names. A stored value is present and finite.

    Examples
    --------
    >>> rows = Rows.from_rows([("a", "b"), ("c",)], [np.array([1.0, 2.0]), np.array([-3.0])])
    >>> rows.names, list(rows.dicts()), rows.largest()
    (('a', 'b', 'c'), [{'a': 1.0, 'b': 2.0}, {'c': -3.0}], 3.0)

    Pixels stay bytes until a kernel scales them:

    >>> rows = Rows.of_table(("a", "b"), np.array([[0, 255]], np.uint8), scale=1 / 255)
    >>> len(rows), list(rows.dicts())
    (1, [{'a': 0.0, 'b': 1.0}])

    """

    names: Names
    # Row i is values[starts[i] : starts[i + 1]]; shape (n + 1,).
    starts: NDArray[np.intp]
    # Each value's place in `names`, unique within a row; None for a table: rows have every name.
    columns: NDArray[np.int32] | None
    values: Array  # float64; or uint8, multiplied by `scale` when used
    scale: float = 1.0
    # The first n_columns names are a table's columns: the first learned row adds all, even absent.
    n_columns: int = 0

    @classmethod
    def of_table(
        cls,
        names: Names,
        cells: Array,
        there: NDArray[np.bool_] | None = None,
        scale: float = 1.0,
        n_columns: int = 0,
    ) -> Rows:
        """Return rows of cells (n, d); those not `there` are absent."""
        if cells.dtype != np.uint8:
            cells = np.require(cells, np.float64, ["C", "A"])
        n, d = cells.shape
        if there is None or there.all():
            return cls(names, np.arange(n + 1) * d, None, cells.ravel(), scale, n_columns)
        starts = _starts(np.count_nonzero(there, axis=1))
        columns = np.broadcast_to(np.arange(d, dtype=np.int32), (n, d))[there]
        return cls(names, starts, columns, cells[there], scale, n_columns)

    @classmethod
    def from_rows(cls, names: Sequence[Names], values: Sequence[Array]) -> Rows:
        """Return rows made from each row's names and values."""
        known: dict[Hashable, int] = {}
        last: Names | None = None
        places: list[NDArray[np.int32]] = []
        for row in names:
            # Consecutive rows mostly have the same names.
            if last is None or row != last:
                found = [known.setdefault(name, len(known)) for name in row]
                here, last = np.array(found, np.int32), row
            places.append(here)
        columns = np.concatenate([np.empty(0, np.int32), *places])
        starts = _starts(np.array([len(row) for row in places], np.intp))
        return cls(tuple(known), starts, columns, np.concatenate([np.empty(0), *values]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Rows:
        """Return a slice of the rows, or the rows of the given numbers."""
        if isinstance(rows, slice):
            first, end, _ = rows.indices(len(self))
            if end - first == len(self):
                return self
            starts = self.starts[first : max(first, end) + 1]
            cells: Any = slice(starts[0], starts[-1])
            starts = starts - starts[0]
        elif self.columns is None:
            cells = self.values.reshape(len(self), len(self.names))[rows]
            return Rows.of_table(self.names, cells, None, self.scale, self.n_columns)
        else:
            lengths = self.lengths[rows]
            starts = _starts(lengths)
            cells = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        columns = None if self.columns is None else self.columns[cells]
        return replace(self, starts=starts, columns=columns, values=self.values[cells])

    def reordered(self, order: NDArray[np.intp]) -> Rows:
        """Return the rows of a table with their features in another order."""
        cells = self.values.reshape(len(self), len(order))[:, order]
        return replace(
            self, columns=np.tile(order.astype(np.int32), len(self)), values=cells.ravel()
        )

    @property
    def lengths(self) -> NDArray[np.intp]:
        """The number of features of each row, shape (n,)."""
        return np.diff(self.starts)

    @property
    def rows(self) -> NDArray[np.intp]:
        """The row number of each value."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def places(self) -> NDArray[np.int32]:
        """The place in `names` of each value."""
        if self.columns is not None:
            return self.columns
        return np.tile(np.arange(len(self.names), dtype=np.int32), len(self))

    @property
    def numbers(self) -> NDArray[np.float64]:
        """The values as float64."""
        return self.values if self.values.dtype == np.float64 else self.of_byte[self.values]

    @property
    def of_byte(self) -> NDArray[np.float64]:
        """The number for each byte, shape (256,)."""
        return _of_byte(self.scale)

    def largest(self) -> float:
        """Return the largest absolute value; 0 without values, NaN if one is NaN."""
        values = self.values
        largest = max(float(values.max(initial=0)), -float(values.min(initial=0)))
        return largest * abs(self.scale)

    def dicts(self) -> Iterator[dict[Hashable, float]]:
        """Yield each row as a dict of its features."""
        names, columns = self.names, self.columns
        # Equal bytes share one float object, which saves time and memory.
        every = self.of_byte.astype(object)
        for start, end in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            row = self.values[start:end]
            values = (every[row] if row.dtype == np.uint8 else row).tolist()
            if columns is not None:
                names = tuple(map(self.names.__getitem__, columns[start:end].tolist()))
            yield dict(zip(names, values, strict=True))

    def by_name(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield the place of each name that occurs, with its values."""
        order = np.argsort(self.places, kind="stable")
        found, starts = np.unique(self.places[order], return_index=True)
        return zip(found.tolist(), np.split(self.numbers[order], starts[1:]), strict=False)

    def reaches(self) -> dict[str, float]:
        """Return, by name, the largest absolute value of each feature that all rows have."""
        return {
            str(self.names[place]): float(np.abs(values).max())
            for place, values in self.by_name()
            if len(values) == len(self)
        }

    def first_rows(self, wanted: NDArray[np.intp], rows: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return, for each wanted name, the first of the `rows` that adds it, or -1."""
        first = np.full(len(self.names), -1, np.intp)
        if self.columns is not None:
            is_wanted = np.zeros(len(self.names), bool)
            is_wanted[wanted] = True
            cells = np.flatnonzero(is_wanted[self.columns])[::-1]  # the first row is written last
            each = np.searchsorted(self.starts, cells, side="right") - 1
            counts = rows[each]
            first[self.columns[cells[counts]]] = each[counts]
        if rows.any():
            first[: len(first) if self.columns is None else self.n_columns] = rows.argmax()
        return first[wanted]

    def with_ones(self, rows: Any, names: Sequence[Hashable]) -> Rows:
        """Return rows with a further feature names[i] = 1 in row rows[i]; None adds nothing.

        Examples
        --------
        >>> rows = Rows.of_table(("a",), np.array([[2.0], [3.0]]))
        >>> list(rows.with_ones([1, 0], ["red", "blue"]).dicts())
        [{'a': 2.0, 'blue': 1.0}, {'a': 3.0, 'red': 1.0}]

        """
        known = dict.fromkeys(names)
        known.pop(None, None)
        if not known:
            return self
        numbers = dict(zip(known, count(len(self.names)), strict=False))
        columns = np.fromiter(map(numbers.get, names, repeat(-1)), np.int32, len(names))
        order = np.argsort(rows, kind="stable")
        order = order[columns[order] >= 0]
        having = np.asarray(rows)[order]
        ends = self.starts[having + 1]
        return Rows(
            (*self.names, *numbers),
            self.starts + np.searchsorted(having, np.arange(len(self) + 1)),
            np.insert(self.places, ends, columns[order]),
            np.insert(self.numbers, ends, 1.0),
            n_columns=self.n_columns,
        )

    def spread(self, places: NDArray[np.intp], n: int) -> Rows:
        """Return n rows: these at the given places, and rows without features elsewhere."""
        lengths = np.zeros(n, np.intp)
        lengths[places] = self.lengths
        return replace(self, starts=_starts(lengths), columns=self.places)

    def without_unused_names(self) -> Rows:
        """Return the rows without names that do not occur, if most do not: names cost time."""
        if self.columns is None or len(self.names) <= 4 * len(self.values) + _FEW_NAMES:
            return self
        occurs = np.zeros(len(self.names), bool)
        occurs[self.columns] = True
        found = np.flatnonzero(occurs)
        places = np.empty(len(self.names), np.int32)
        places[found] = np.arange(len(found))
        names = tuple([self.names[i] for i in found.tolist()])
        return replace(self, names=names, columns=places[self.columns])


class Samples(NamedTuple):
    """Checked rows of features, with a label and a weight for each."""

    rows: Rows
    labels: Sequence[Hashable]  # None: predict the row only
    weights: NDArray[np.float64]  # the sample weights, shape (n,)
    # New features with these names are not scaled.
    indicators: AbstractSet[Hashable] = frozenset()


@lru_cache(maxsize=16)
def _of_byte(scale: float) -> NDArray[np.float64]:
    return np.multiply(np.arange(256), scale, dtype=np.float64)


def _starts(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where rows of these lengths begin, and the end of the last one."""
    return np.concatenate([[0], np.cumsum(lengths)])


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts in order.

    Examples
    --------
    >>> one = Rows.of_table(("a",), np.array([[1.0]]))
    >>> len(joined([one, one[:0], one]))
    2

    """
    names, n, scale = parts[0].names, parts[0].n_columns, parts[0].scale
    are_tables = all(part.columns is None for part in parts)
    places = [] if are_tables else [part.places for part in parts]
    if any(part.names != names for part in parts):
        names = tuple(dict.fromkeys(chain.from_iterable(part.names for part in parts)))
        numbers = {name: i for i, name in enumerate(names)}
        places = [
            np.array([numbers[name] for name in part.names], np.int32)[part.places]
            for part in parts
        ]
    are_bytes = all(part.values.dtype == np.uint8 and part.scale == scale for part in parts)
    return Rows(
        names,
        _starts(np.concatenate([part.lengths for part in parts])),
        np.concatenate(places) if places else None,
        np.concatenate([part.values if are_bytes else part.numbers for part in parts]),
        scale if are_bytes else 1.0,
        n if all((part.n_columns, part.names[:n]) == (n, names[:n]) for part in parts) else 0,
    )
