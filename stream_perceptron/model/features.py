"""Rows of features, in the forms in which they come."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["ByteRows", "NamedRows"]

Array = NDArray[Any]

_MOST_CELLS = 2**20  # in a block of rows put side by side


@dataclass(frozen=True)
class ByteRows:
    """Rows of 8-bit features, such as pixels, that a kernel scales one at a time.

    So they take an eighth of the memory on their way to it.

    Parameters
    ----------
    values
        The features, shape (n, d).
    scale
        What to multiply them by.

    Examples
    --------
    >>> rows = ByteRows(np.array([[0, 255]], np.uint8), 1 / 255)
    >>> len(rows), rows.numbers(np.float64).tolist()
    (1, [[0.0, 1.0]])

    """

    values: NDArray[np.uint8]
    scale: float

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, and of features."""
        return self.values.shape

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> ByteRows:
        """Return some of the rows."""
        return ByteRows(self.values[rows], self.scale)

    def numbers(self, dtype: DTypeLike) -> Array:
        """Return the features as numbers, shape (n, d)."""
        return np.multiply(self.values, self.scale, dtype=np.float64).astype(dtype, copy=False)


class NamedRows:
    """Rows that each bring names for their features.

    Parameters
    ----------
    names
        The names of the features of each row.
    values
        Their values, finite, an array for each row.

    """

    def __init__(self, names: Sequence[tuple[Hashable, ...]], values: Sequence[Array]) -> None:
        self.names = names
        self.values = values

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, part: slice | NDArray[np.intp]) -> NamedRows:
        """Return some of the rows."""
        if isinstance(part, slice):
            return NamedRows(self.names[part], self.values[part])
        rows = part.tolist()
        return NamedRows([self.names[i] for i in rows], [self.values[i] for i in rows])

    def blocks(
        self, dtype: DTypeLike
    ) -> Iterator[tuple[slice, tuple[Hashable, ...], Array, NDArray[np.bool_] | None]]:
        """Yield rows side by side: which, the names of all columns, the cells, where there is one.

        As many rows at once as make a block of bounded size; None is for cells everywhere.

        Examples
        --------
        >>> rows = NamedRows([("a", "b"), ("b", "c")], [np.ones(2), np.ones(2)])
        >>> for part, names, X, present in rows.blocks(float):
        ...     print(part.stop, names, X.tolist(), present[0].tolist())
        2 ('a', 'b', 'c') [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]] [True, True, False]

        """
        start = 0
        while start < len(self):
            columns: dict[Hashable, int] = {}
            end = start
            while end < len(self):
                if end > start and self.names[end] is self.names[end - 1]:
                    if (end + 1 - start) * len(columns) > _MOST_CELLS:
                        break
                    end += 1
                    continue
                new = {name: 0 for name in self.names[end] if name not in columns}
                if end > start and (end + 1 - start) * (len(columns) + len(new)) > _MOST_CELLS:
                    break
                columns |= zip(new, range(len(columns), len(columns) + len(new)), strict=True)
                end += 1
            names = self.names[start] if len(columns) == len(self.names[start]) else tuple(columns)
            part = slice(start, end)
            if all(row is names or row == names for row in self.names[part]):
                yield part, names, np.stack(self.values[part]).astype(dtype), None
            else:
                X = np.zeros((end - start, len(names)), dtype)
                present = np.zeros(X.shape, bool)
                for i, (row, values) in enumerate(
                    zip(self.names[part], self.values[part], strict=True)
                ):
                    there = [columns[name] for name in row]
                    X[i, there] = values
                    present[i, there] = True
                yield part, names, X, present
            start = end
