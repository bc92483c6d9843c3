"""Cells: the content of records, without any meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Kind(IntEnum):
    """The kind of a cell's content."""

    NULL = 0
    NUMBER = 1
    BOOL = 2  # also a number, 1 or 0
    TEXT = 3
    LIST = 4  # a list; its members follow as cells of the same name, with their positions
    OBJECT = 5  # an object; its members follow as cells, named by path


@dataclass(frozen=True, eq=False, repr=False)
class Cells:
    """The cells of n records in compressed sparse form.

    Record i has the cells starts[i] to starts[i + 1] - 1. A record with an error has no cells, or
    in a table only nulls.

    Examples
    --------
    >>> cells = Cells(
    ...     ("a", "b"), np.array([0, 2]), np.array([0, 1], np.int32), np.full(2, -1, np.int32),
    ...     np.array([Kind.NUMBER, Kind.TEXT], np.uint8), np.array([1.0, np.nan]),
    ...     [1, "x"].__getitem__,
    ... )
    >>> len(cells), cells.values()
    (1, [('a', None, 'NUMBER', 1.0, 1), ('b', None, 'TEXT', nan, 'x')])

    """

    names: Sequence[str]
    starts: NDArray[np.intp]  # shape (n + 1,)
    # The index in `names` of each cell, shape (m,); None for a table: each record has every name.
    name_ids: NDArray[np.int32] | None
    # The position of a member of a list, else -1; shape (m,). None if the format has no lists.
    positions: NDArray[np.int32] | None
    kinds: NDArray[np.uint8]  # shape (m,)
    numbers: NDArray[np.float64]  # NaN for a cell that is not a number; shape (m,)
    # Returns the content of a cell: a text in formats of text, else what JSON has.
    content: Callable[[int], Any]
    errors: dict[int, str] = field(default_factory=dict)  # by record: why it cannot be read
    # As `content`, for many cells at once.
    many: Callable[[NDArray[np.intp]], list[Any]] | None = None
    # Returns the number of a name, -1 if it does not occur.
    number_of: Callable[[str], int] = field(default=lambda name: -1)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def contents(self, ids: NDArray[np.intp]) -> list[Any]:
        """Return the contents of some cells."""
        if self.many is not None:
            return self.many(ids)
        return list(map(self.content, ids.tolist()))

    def values(self) -> list[tuple[str, int | None, str, float, Any]]:
        """Return the name, position, kind, number and content of each cell."""
        m = len(self.kinds)
        positions = [-1] * m if self.positions is None else self.positions.tolist()
        name_ids = [i % len(self.names) for i in range(m)]
        if self.name_ids is not None:
            name_ids = self.name_ids.tolist()
        cells = zip(name_ids, positions, self.kinds.tolist(), self.numbers.tolist(), strict=True)
        return [
            (
                self.names[name_id], position if position >= 0 else None, Kind(kind).name, number,
                self.content(i),
            )
            for i, (name_id, position, kind, number) in enumerate(cells)
        ]  # fmt: skip
