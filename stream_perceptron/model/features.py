"""Rows of features in the three forms in which they come: numbers, bytes, and sparse rows.

All three have one interface. Whoever makes one has checked the values: they are finite.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stream_perceptron.frozen import frozen

Array = NDArray[Any]
Names = tuple[Hashable, ...]


def wants_dense(n_nonzero: int, n_features: int) -> bool:
    """Whether a sample with `n_nonzero` of `n_features` is computed as a dense row.

    To gather a weight costs about as much as to compute with eight that lie in order, and up to
    1,024 columns the dense arithmetic costs less than the calls around it.
    """
    return n_features <= 1024 or n_nonzero * 8 >= n_features


@frozen
class _Table:
    """Rows that have a cell for each name, shape (n, d)."""

    names: Names
    values: Array
    present: NDArray[np.bool_] | None = None  # which features are there; None for all
    # So many names are columns of a table: the first row that is learned brings them, there or not.
    n_columns: int = 0

    def __len__(self) -> int:
        return len(self.values)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Which features are there, shape (n, d); None for all."""
        return self.present

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Self:
        """Return some of the rows: a slice, or those of the given numbers."""
        present = None if self.present is None else self.present[rows]
        return replace(self, values=self.values[rows], present=present)

    def renamed(self, names: Names) -> Self:
        """Return the rows with other names."""
        return replace(self, names=names)

    def numbers(self, dtype: DTypeLike) -> Array:
        """Return the features as numbers, shape (n, d), 0 where one is absent."""
        raise NotImplementedError

    def largest(self) -> float:
        """Return the largest absolute value, 0 if there is none."""
        return float(np.abs(self.numbers(np.float64)).max(initial=0.0))

    def beyond(self, limit: float) -> NDArray[np.bool_]:
        """Return which rows have a value of a larger absolute value, shape (n,)."""
        return np.asarray(np.abs(self.numbers(np.float64)).max(axis=1, initial=0.0) > limit)

    def first_rows(self, columns: NDArray[np.intp], rows: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the first of the `rows` that has each of the columns, -1 where none has."""
        there = np.broadcast_to(rows[:, np.newaxis], (len(rows), len(columns)))
        mask = self.mask
        if mask is not None:
            there = there & (mask[:, columns] | (columns < self.n_columns))
        return np.where(there.any(axis=0), there.argmax(axis=0), -1)

    def placed(
        self, columns: NDArray[np.intp], d: int, dtype: DTypeLike, with_zeros: bool = False
    ) -> Features:
        """Return the rows over the d features of a model.

        `with_zeros` tells a feature that is 0 from one that is absent: that is NaN in a dense row,
        and not in a sparse one.
        """
        known = np.flatnonzero(columns >= 0)
        order = known[np.argsort(columns[known])]
        cells = self.numbers(dtype)[:, order]
        mask = self.mask if with_zeros else None
        there = None if mask is None else mask[:, order]
        if wants_dense(len(order), d):
            values = np.full((len(self), d), np.nan if with_zeros else 0.0, dtype)
            values[:, columns[order]] = cells if there is None else np.where(there, cells, np.nan)
            return Dense((), values)
        if there is None:
            there = np.ones(cells.shape, bool) if with_zeros else cells != 0
        rows, places = np.nonzero(there)
        starts = np.searchsorted(rows, np.arange(len(self) + 1))
        return Sparse((), starts, columns[order][places], cells[rows, places])


@frozen
class Dense(_Table):
    """Rows of numbers.

    Examples
    --------
    >>> present = np.array([[True, True], [True, False]])
    >>> rows = Dense(("a", "b"), np.array([[1.0, 2.0], [3.0, 0.0]]), present)
    >>> list(rows.dicts()), rows[1:].largest()
    ([{'a': 1.0, 'b': 2.0}, {'a': 3.0}], 3.0)

    """

    def numbers(self, dtype: DTypeLike) -> Array:
        return self.values.astype(dtype, copy=False)

    def dicts(self) -> Iterator[dict[Hashable, float]]:
        """Yield each row as the features that it has, by name."""
        for i, row in enumerate(self.values):
            cells = zip(self.names, row.tolist(), strict=True)
            if self.present is None:
                yield dict(cells)
            else:
                there = self.present[i].tolist()
                yield {
                    name: x for (name, x), is_there in zip(cells, there, strict=True) if is_there
                }

    def placed(
        self, columns: NDArray[np.intp], d: int, dtype: DTypeLike, with_zeros: bool = False
    ) -> Features:
        if _are_all(columns, d):
            values = self.numbers(dtype)
            if with_zeros and self.present is not None:
                values = np.where(self.present, values, np.nan)
            return Dense(self.names, values)
        return super().placed(columns, d, dtype, with_zeros)


@frozen
class Uint8(_Table):
    """Rows of 8-bit features, such as pixels, which a kernel scales one row at a time.

    So they take an eighth of the memory on their way to it.

    Examples
    --------
    >>> rows = Uint8(("a", "b"), np.array([[0, 255]], np.uint8), scale=1 / 255)
    >>> len(rows), list(rows.dicts())
    (1, [{'a': 0.0, 'b': 1.0}])
    >>> list(Uint8(("a", "b"), rows.values, are_sparse=True).dicts())
    [{'b': 255.0}]

    """

    scale: float = field(default=1.0, kw_only=True)  # what the values are multiplied by
    are_sparse: bool = field(default=False, kw_only=True)  # whether a feature that is 0 is absent

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        return self.values != 0 if self.are_sparse else self.present

    def numbers(self, dtype: DTypeLike) -> Array:
        scaled = np.multiply(self.values, self.scale, dtype=np.float64)
        return scaled.astype(dtype, copy=False)

    def largest(self) -> float:
        """Return the largest absolute value, 0 if there is none."""
        return abs(float(self.values.max(initial=0)) * self.scale)

    def dicts(self) -> Iterator[dict[Hashable, float]]:
        """Yield each row as the features that it has, by name."""
        # Equal numbers are one object: to make them costs less, and so does reading them.
        every = np.multiply(np.arange(256), self.scale, dtype=np.float64).astype(object)
        yield from Dense(self.names, every[self.values], self.mask).dicts()

    def placed(
        self, columns: NDArray[np.intp], d: int, dtype: DTypeLike, with_zeros: bool = False
    ) -> Features:
        if with_zeros:
            numbers = Dense(self.names, self.numbers(dtype), self.mask)
            return numbers.placed(columns, d, dtype, with_zeros)
        if _are_all(columns[:d], d):
            return Uint8((), np.ascontiguousarray(self.values[:, :d]), scale=self.scale)
        known = np.flatnonzero(columns >= 0)
        if not wants_dense(len(known), d):
            return super().placed(columns, d, dtype)
        values = np.zeros((len(self), d), np.uint8)
        values[:, columns[known]] = self.values[:, known]
        return Uint8((), values, scale=self.scale)


@frozen
class Sparse:
    """Rows that each have some of the names, in compressed form (CSR).

    Examples
    --------
    >>> rows = Sparse.from_rows([("a", "b"), ("c",)], [np.array([1.0, 2.0]), np.array([-3.0])])
    >>> rows.names, list(rows.dicts()), rows.largest()
    (('a', 'b', 'c'), [{'a': 1.0, 'b': 2.0}, {'c': -3.0}], 3.0)

    """

    names: Names  # the names that occur
    # Where each row begins in `columns` and `values`, and where the last one ends; length n + 1.
    starts: NDArray[np.intp]
    columns: NDArray[np.intp]  # the places in `names` of the features of each row
    values: Array  # their values

    @classmethod
    def from_rows(cls, names: Sequence[Names], values: Sequence[Array]) -> Sparse:
        """Return rows made of the names and the values of each."""
        known: dict[Hashable, int] = {}
        last: Names | None = None
        places: list[NDArray[np.intp]] = []
        for row in names:
            # Rows of one stream mostly have the same names, often the same objects.
            if last is None or row != last:
                found = [known.setdefault(name, len(known)) for name in row]
                here, last = np.array(found, np.intp), row
            places.append(here)
        starts = np.concatenate([[0], np.cumsum([len(row) for row in places], dtype=np.intp)])
        none: list[Array] = [np.empty(0)]
        return cls(
            tuple(known),
            starts.astype(np.intp),
            np.concatenate([np.empty(0, np.intp), *places]),
            np.concatenate(none + list(values)),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def renamed(self, names: Names) -> Sparse:
        """Return the rows with other names."""
        return replace(self, names=names)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Sparse:
        """Return some of the rows: a slice, or those of the given numbers."""
        if isinstance(rows, slice):
            first, end, _ = rows.indices(len(self))
            starts = self.starts[first : max(first, end) + 1]
            part = slice(starts[0], starts[-1])
            return Sparse(self.names, starts - starts[0], self.columns[part], self.values[part])
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp)
        cells = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return Sparse(self.names, starts, self.columns[cells], self.values[cells])

    def largest(self) -> float:
        """Return the largest absolute value, 0 if there is none."""
        return float(np.abs(self.values).max(initial=0.0))

    def beyond(self, limit: float) -> NDArray[np.bool_]:
        """Return which rows have a value of a larger absolute value, shape (n,)."""
        beyond = np.zeros(len(self), bool)
        beyond[self.rows[np.abs(self.values) > limit]] = True
        return beyond

    @property
    def rows(self) -> NDArray[np.intp]:
        """The row of each value."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def dicts(self) -> Iterator[dict[Hashable, float]]:
        """Yield each row as the features that it has, by name."""
        names = self.names
        for start, end in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            row = zip(
                self.columns[start:end].tolist(), self.values[start:end].tolist(), strict=True
            )
            yield {names[i]: value for i, value in row}

    def first_rows(self, columns: NDArray[np.intp], rows: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the first of the `rows` that has each of the columns, -1 where none has."""
        first = np.full(len(self.names), -1, np.intp)
        is_asked = np.zeros(len(self.names), bool)
        is_asked[columns] = True
        cells = np.flatnonzero(is_asked[self.columns])[::-1]  # so the first row is written last
        each = np.searchsorted(self.starts, cells, side="right") - 1
        counts = rows[each]
        first[self.columns[cells[counts]]] = each[counts]
        return first[columns]

    def placed(
        self, columns: NDArray[np.intp], d: int, dtype: DTypeLike, with_zeros: bool = False
    ) -> Features:
        """Return the rows over the d features of a model, each in ascending order of columns."""
        places = columns[self.columns]
        values, starts = self.values.astype(dtype, copy=False), self.starts
        if places.min(initial=0) < 0:
            known = places >= 0
            ends = np.concatenate([[0], np.cumsum(known)])
            places, values, starts = places[known], values[known], ends[starts]
        # A kernel makes dense rows of so few columns, whatever their order, unless it scales them.
        if wants_dense(0, d) and not with_zeros:
            return Sparse((), starts, places, np.ascontiguousarray(values))
        keys = places + np.repeat(np.arange(len(self)) * d, np.diff(starts))
        if (keys[1:] <= keys[:-1]).any():
            order = np.argsort(keys, kind="stable")  # which is fast where rows are in order
            places, values = places[order], values[order]
        return Sparse((), starts, places, np.ascontiguousarray(values))


Features = Dense | Uint8 | Sparse


def _are_all(columns: NDArray[np.intp], d: int) -> bool:
    """Whether these are all d columns in their order."""
    return len(columns) == d and np.count_nonzero(columns == np.arange(d)) == d


def concatenate(parts: Sequence[Features]) -> Features:
    """Return the rows of several containers one after another.

    Examples
    --------
    >>> one = Dense(("a",), np.array([[1.0]]))
    >>> len(concatenate([one, one[:0], one]))
    2

    """
    names = parts[0].names
    tables = [part for part in parts if isinstance(part, _Table) and part.names == names]
    small = [part for part in tables if isinstance(part, Uint8) and part.present is None]
    if len(small) == len(parts) and all(
        (part.scale, part.are_sparse) == (small[0].scale, small[0].are_sparse) for part in small
    ):
        return replace(small[0], values=np.concatenate([part.values for part in small]))
    if len(tables) == len(parts):
        values = np.concatenate([part.numbers(np.float64) for part in tables])
        n_columns = min(part.n_columns for part in tables)
        masks = [part.mask for part in tables]
        if all(mask is None for mask in masks):
            return Dense(names, values, n_columns=n_columns)
        there = [
            np.ones(part.values.shape, bool) if mask is None else mask
            for part, mask in zip(tables, masks, strict=True)
        ]
        return Dense(names, values, np.concatenate(there), n_columns)
    rows = [x for part in parts for x in part.dicts()]
    return Sparse.from_rows([tuple(x) for x in rows], [np.array(list(x.values())) for x in rows])
