"""Rows of features as compressed sparse rows: the one form of samples from reader to kernel."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, compress, count, repeat
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
    >>> rows.names, list(rows.dicts()), rows.max_abs()
    (('a', 'b', 'c'), [{'a': 1.0, 'b': 2.0}, {'c': -3.0}], 3.0)

    Pixels stay bytes until a kernel scales them:

    >>> rows = Rows.of_table(("a", "b"), np.array([[0, 255]], np.uint8), scale=1 / 255)
    >>> len(rows), list(rows.dicts())
    (1, [{'a': 0.0, 'b': 1.0}])

    """

    names: Names
    # Row i is values[starts[i] : starts[i + 1]]; shape (n + 1,).
    starts: NDArray[np.intp]
    # The index in `names` of each value, unique within a row; None for a table, whose rows have
    # every name.
    name_ids: NDArray[np.int32] | None
    values: Array  # float64; or uint8, multiplied by `scale` when used
    scale: float = 1.0

    @classmethod
    def of_table(
        cls,
        names: Names,
        cells: Array,
        is_present: NDArray[np.bool_] | None = None,
        scale: float = 1.0,
    ) -> Rows:
        """Return rows of cells (n, d); those that are not present are absent features."""
        if cells.dtype != np.uint8:
            cells = np.require(cells, np.float64, ["C", "A"])
        n, d = cells.shape
        if is_present is None or is_present.all():
            return cls(names, np.arange(n + 1) * d, None, cells.ravel(), scale)
        starts = _starts(np.count_nonzero(is_present, axis=1))
        name_ids = np.broadcast_to(np.arange(d, dtype=np.int32), (n, d))[is_present]
        return cls(names, starts, name_ids, cells[is_present], scale)

    @classmethod
    def from_rows(cls, names: Sequence[Names], values: Sequence[Array]) -> Rows:
        """Return rows made from each row's names and values."""
        numbers: dict[Hashable, int] = {}
        last: Names | None = None
        name_ids: list[NDArray[np.int32]] = []
        for names_of_row in names:
            # Consecutive rows mostly have the same names.
            if last is None or names_of_row != last:
                ids = [numbers.setdefault(name, len(numbers)) for name in names_of_row]
                ids_of_row, last = np.array(ids, np.int32), names_of_row
            name_ids.append(ids_of_row)
        starts = _starts(np.array([len(ids_of_row) for ids_of_row in name_ids], np.intp))
        return cls(
            tuple(numbers),
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
        """Return rows made from dicts of features."""
        every = list(chain.from_iterable(rows))
        names = tuple(dict.fromkeys(every))
        numbers = dict(zip(names, count(), strict=False))
        values = chain.from_iterable([row.values() for row in rows])
        return cls(
            names,
            _starts(np.fromiter(map(len, rows), np.intp, len(rows))),
            np.fromiter(map(numbers.__getitem__, every), np.int32, len(every)),
            np.fromiter(values, np.float64, len(every)),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: slice | NDArray[np.intp] | NDArray[np.int32]) -> Rows:
        """Return a slice of the rows, or the rows of the given numbers."""
        if isinstance(rows, slice):
            first, end, _ = rows.indices(len(self))
            if end - first == len(self):
                return self
            starts = self.starts[first : max(first, end) + 1]
            cells: Any = slice(starts[0], starts[-1])
            starts = starts - starts[0]
        elif self.name_ids is None:
            cells = self.values.reshape(len(self), len(self.names))[rows]
            return Rows.of_table(self.names, cells, None, self.scale)
        else:
            lengths = self.lengths[rows]
            starts = _starts(lengths)
            cells = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        name_ids = None if self.name_ids is None else self.name_ids[cells]
        return replace(self, starts=starts, name_ids=name_ids, values=self.values[cells])

    def reordered(self, order: NDArray[np.intp]) -> Rows:
        """Return the rows of a table with their features in another order."""
        cells = self.values.reshape(len(self), len(order))[:, order]
        return replace(
            self, name_ids=np.tile(order.astype(np.int32), len(self)), values=cells.ravel()
        )

    @property
    def lengths(self) -> NDArray[np.intp]:
        """The number of features of each row, shape (n,)."""
        return np.diff(self.starts)

    @property
    def value_rows(self) -> NDArray[np.intp]:
        """The row number of each value."""
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
        """Return the largest absolute value; 0 without values, NaN if one is NaN."""
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

    def reaches(self) -> dict[str, float]:
        """Return, by name, the largest absolute value of each feature that all rows have."""
        name_ids, n_names = self.value_name_ids, len(self.names)
        counts = np.bincount(name_ids, minlength=n_names)
        reaches = np.zeros(n_names)
        np.maximum.at(reaches, name_ids, np.abs(self.numbers))
        is_everywhere = (counts == len(self)) & (counts > 0)
        return {
            str(self.names[i]): float(reaches[i]) for i in np.flatnonzero(is_everywhere).tolist()
        }

    def find_first_rows(
        self, name_ids: NDArray[np.intp], is_used: NDArray[np.bool_]
    ) -> NDArray[np.intp]:
        """Return, for each of some names, the first used row that has it, or -1."""
        if self.name_ids is None:
            return np.full(len(name_ids), is_used.argmax() if is_used.any() else -1)
        first = np.full(len(self.names), -1, np.intp)
        is_asked = np.zeros(len(self.names), bool)
        is_asked[name_ids] = True
        cells = np.flatnonzero(is_asked[self.name_ids])[::-1]  # the first row is written last
        rows = np.searchsorted(self.starts, cells, side="right") - 1
        used = is_used[rows]
        first[self.name_ids[cells[used]]] = rows[used]
        return first[name_ids]

    def extended(self, others: Rows) -> Rows:
        """Return rows with the features of other rows that they lack.

        A row that has a feature keeps its value.

        Examples
        --------
        >>> rows = Rows.of_table(("a",), np.array([[2.0], [3.0]]))
        >>> others = Rows.from_dicts([{"b": 1.0, "a": 1.0}, {"c": 4.0}])
        >>> list(rows.extended(others).dicts())
        [{'a': 2.0, 'b': 1.0}, {'a': 3.0, 'c': 4.0}]

        """
        if not len(others.values):
            return self
        rows = self.without_unused_names()
        numbers = {name: i for i, name in enumerate(others.names)}
        # The number among the names of others of each own name, or -1.
        shared = np.fromiter(map(numbers.get, rows.names, repeat(-1)), np.int32, len(rows.names))
        ids = np.empty(len(others.names), np.int32)
        is_new = np.ones(len(ids), bool)
        is_new[shared[shared >= 0]] = False
        ids[shared[shared >= 0]] = np.flatnonzero(shared >= 0)
        ids[is_new] = len(rows.names) + np.arange(np.count_nonzero(is_new))
        name_ids, of_rows, values = ids[others.value_name_ids], others.value_rows, others.numbers
        if not is_new.all():
            n_names = len(rows.names) + len(ids)
            is_shared = (shared >= 0)[rows.value_name_ids]
            present = (rows.value_rows * n_names + rows.value_name_ids)[is_shared]
            is_absent = ~np.isin(of_rows * n_names + name_ids, present)
            name_ids, of_rows, values = name_ids[is_absent], of_rows[is_absent], values[is_absent]
        ends = rows.starts[of_rows + 1]
        return Rows(
            (*rows.names, *compress(others.names, is_new)),
            rows.starts + np.searchsorted(of_rows, np.arange(len(rows) + 1)),
            np.insert(rows.value_name_ids, ends, name_ids),
            np.insert(rows.numbers, ends, values),
        )

    def used_names(self) -> list[Hashable]:
        """Return the names that occur in a row, in order of their first occurrence.

        Examples
        --------
        >>> Rows.from_dicts([{"a": 1.0}, {"c": 4.0, "a": 1.0}])[1:].used_names()
        ['c', 'a']

        """
        ids, first = np.unique(self.value_name_ids, return_index=True)
        return [self.names[i] for i in ids[np.argsort(first)].tolist()]

    def spread(self, rows: NDArray[np.intp], n: int) -> Rows:
        """Return n rows: these in the given places, and rows without features elsewhere."""
        lengths = np.zeros(n, np.intp)
        lengths[rows] = self.lengths
        return replace(self, starts=_starts(lengths), name_ids=self.value_name_ids)

    def without_unused_names(self) -> Rows:
        """Return the rows without names that do not occur, if most do not: names cost time."""
        if self.name_ids is None or len(self.names) <= 4 * len(self.values) + _FEW_NAMES:
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
    labels: Sequence[Hashable]  # None: predict the row only
    weights: NDArray[np.float64]  # the sample weights, shape (n,)
    # A scaler leaves new features with these names as they are.
    unscaled: AbstractSet[Hashable] = frozenset()


@lru_cache(maxsize=16)
def _byte_values(scale: float) -> NDArray[np.float64]:
    return np.multiply(np.arange(256), scale, dtype=np.float64)


def _starts(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where rows of these lengths begin, and the end of the last one."""
    return np.concatenate([[0], np.cumsum(lengths)])


def concatenate_rows(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts in order.

    Examples
    --------
    >>> one = Rows.of_table(("a",), np.array([[1.0]]))
    >>> len(concatenate_rows([one, one[:0], one]))
    2

    """
    names, scale = parts[0].names, parts[0].scale
    are_tables = all(part.name_ids is None for part in parts)
    name_ids = [] if are_tables else [part.value_name_ids for part in parts]
    if any(part.names != names for part in parts):
        names = tuple(dict.fromkeys(chain.from_iterable(part.names for part in parts)))
        numbers = {name: i for i, name in enumerate(names)}
        name_ids = [
            np.array([numbers[name] for name in part.names], np.int32)[part.value_name_ids]
            for part in parts
        ]
    are_bytes = all(part.values.dtype == np.uint8 and part.scale == scale for part in parts)
    return Rows(
        names,
        _starts(np.concatenate([part.lengths for part in parts])),
        np.concatenate(name_ids) if name_ids else None,
        np.concatenate([part.values if are_bytes else part.numbers for part in parts]),
        scale if are_bytes else 1.0,
    )
