"""Cells: the content of records before it is interpreted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.lazy import lazy_property
from stream_perceptron.model.arrays import Array

compiled: Any = import_module("stream_perceptron.data._cells")

UNNAMED_LIST = "x"  # the name given to an unnamed list


class Kind(IntEnum):
    """The kind of a cell's content."""

    NULL = 0
    NUMBER = 1
    BOOL = 2  # also a number, 1 or 0
    TEXT = 3
    LIST = 4  # a list, whose members are cells of their own
    OBJECT = 5  # an object; its members follow as cells named by their paths


class Contents(ABC):
    """The contents of cells: texts in CSV and LIBSVM, Python values in JSON and Arrow."""

    @abstractmethod
    def get(self, i: int) -> Any:
        """Return the content of a cell."""

    def get_all(self, ids: NDArray[np.intp]) -> list[object]:
        """Return the contents of the cells in `ids`."""
        return list(map(self.get, ids.tolist()))

    def encode(self, ids: NDArray[np.intp]) -> tuple[NDArray[np.int32], list[object]]:
        """Return a code for the content of each cell in `ids`, and the contents by code.

        Equal contents of one type may have several codes.
        """
        return np.arange(len(ids), dtype=np.int32), self.get_all(ids)


class ListContents(Contents):
    """Contents in a list."""

    def __init__(self, contents: list[object]) -> None:
        self._contents = contents

    def get(self, i: int) -> object:
        return self._contents[i]


class TakenContents(Contents):
    """The contents of cells taken from several parts by their indices across all parts."""

    def __init__(self, parts: Sequence[Contents], sizes: Sequence[int], ids: Any) -> None:
        self._parts, self._ids = parts, ids
        self._ends = np.cumsum(sizes)

    def get(self, i: int) -> object:
        origin = int(self._ids[i])
        part = int(np.searchsorted(self._ends, origin, side="right"))
        return self._parts[part].get(origin - (int(self._ends[part - 1]) if part else 0))


class SlicedContents(Contents):
    """The contents of consecutive cells."""

    def __init__(self, whole: Contents, first: int) -> None:
        self._whole, self._first = whole, first

    def get(self, i: int) -> object:
        return self._whole.get(self._first + i)

    def get_all(self, ids: NDArray[np.intp]) -> list[object]:
        return self._whole.get_all(self._first + ids)

    def encode(self, ids: NDArray[np.intp]) -> tuple[NDArray[np.int32], list[object]]:
        return self._whole.encode(self._first + ids)


# Not frozen, because a frozen dataclass takes several times as long to create.
@dataclass(eq=False, repr=False)
class Cells:
    """The cells of n records in compressed sparse form. Do not modify them.

    Record i has the cells starts[i] to starts[i + 1] - 1. A record with an error has no cells or,
    in a table, only nulls.

    Examples
    --------
    >>> cells = Cells(
    ...     ("a", "b"), np.array([0, 2]), np.array([0, 1], np.int32),
    ...     np.array([Kind.NUMBER, Kind.TEXT], np.uint8), np.array([1.0, np.nan]),
    ...     ListContents([1, "x"]),
    ... )
    >>> len(cells), cells.numbers.tolist(), cells.contents.get(1)
    (1, [1.0, nan], 'x')

    """

    names: Sequence[Any]
    starts: NDArray[np.intp]  # shape (n + 1,)
    # The index of each cell's name in `names`, shape (m,); None for a table, where each record has
    # all columns, and for members of lists.
    name_ids: NDArray[np.int32] | None
    kinds: NDArray[np.uint8]  # shape (m,)
    # The number in each cell, shape (m,): as float64, with NaN for a cell that is not a number; or,
    # if all numbers are integers from 0 to 255, as bytes, with 0 for a cell that is not a number.
    numbers: NDArray[np.float64] | NDArray[np.uint8]
    contents: Contents
    # The members of lists: the cells of record k are the members of the k-th list. The pairs of a
    # LIBSVM record form a list whose members have names.
    members: Cells | None = None
    errors: dict[int, str] = field(default_factory=dict)  # the reasons, by record index

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, records: slice) -> Cells:
        """Return the cells of a slice of the records."""
        start, end, _ = records.indices(len(self))
        if end - start == len(self):
            return self
        starts = self.starts[start : max(start, end) + 1]
        first, last = int(starts[0]), int(starts[-1])
        members = self.members
        if members is not None and len(members):
            members = members[slice(*np.searchsorted(self.list_ids, [first, last]).tolist())]
        return Cells(
            self.names,
            starts - first,
            None if self.name_ids is None else self.name_ids[first:last],
            self.kinds[first:last],
            self.numbers[first:last],
            SlicedContents(self.contents, first),
            members,
            {i - start: reason for i, reason in self.errors.items() if start <= i < end},
        )

    @lazy_property
    def list_ids(self) -> NDArray[np.intp]:
        """The indices of the cells that are lists."""
        return np.flatnonzero(self.kinds == Kind.LIST)

    @lazy_property
    def are_all_numbers(self) -> bool:
        """Whether every cell is a number and none is a bool."""
        kinds = self.kinds
        if kinds.strides == (0,) and len(kinds):  # all of one kind
            return bool(kinds[0] == Kind.NUMBER)
        return bool((kinds == Kind.NUMBER).all())

    @property
    def are_bytes(self) -> bool:
        """Whether the numbers are stored as bytes."""
        return self.numbers.dtype == np.uint8

    @lazy_property
    def doubles(self) -> NDArray[np.float64]:
        """The number in each cell; NaN for a cell that is not a number."""
        numbers = self.numbers.astype(np.float64, copy=False)
        if not self.are_bytes:
            return numbers
        is_number = (self.kinds == Kind.NUMBER) | (self.kinds == Kind.BOOL)
        return np.where(is_number, numbers, np.nan)


def take_records(parts: Sequence[Cells], records: NDArray[np.intp]) -> Cells:
    """Return records from several parts with the same names, given the indices across all parts."""
    lengths = np.concatenate([np.diff(part.starts) for part in parts])
    sizes = [len(part.kinds) for part in parts]
    firsts = np.cumsum(lengths) - lengths
    starts = np.concatenate([[0], np.cumsum(lengths[records])])
    cells = np.repeat(firsts[records] - starts[:-1], lengths[records]) + np.arange(starts[-1])
    kinds = np.concatenate([part.kinds for part in parts])
    are_bytes = all(part.are_bytes for part in parts)
    numbers = np.concatenate([part.numbers if are_bytes else part.doubles for part in parts])
    name_ids = [part.name_ids for part in parts if part.name_ids is not None]
    members = [part.members for part in parts if part.members is not None]
    if members:
        number_of_list = np.cumsum(kinds == Kind.LIST) - 1
        lists = number_of_list[cells[kinds[cells] == Kind.LIST]]
        members = [take_records(members, lists)]
    return Cells(
        max((part.names for part in parts), key=len),
        starts,
        np.concatenate(name_ids)[cells] if name_ids else None,
        kinds[cells],
        numbers[cells],
        TakenContents([part.contents for part in parts], sizes, cells),
        members[0] if members else None,
    )


class SelectedCells(NamedTuple):
    """The numeric cells of features, and the other cells."""

    starts: NDArray[np.intp]  # of the selected cells of each of n records, shape (n + 1,)
    features: NDArray[np.int32]
    numbers: Array
    other_cells: NDArray[np.intp]
    other_rows: NDArray[np.intp]  # the records of the other cells


def select_cells(cells: Cells, feature_of_name: NDArray[np.int32]) -> SelectedCells:
    """Select the numeric cells of features; other names have -1 in `feature_of_name`.

    Examples
    --------
    >>> cells = Cells(
    ...     ("a", "b"), np.array([0, 2]), np.array([0, 1], np.int32),
    ...     np.array([Kind.NUMBER, Kind.TEXT], np.uint8), np.array([1.0, np.nan]),
    ...     ListContents([1, "x"]),
    ... )
    >>> selected = select_cells(cells, np.array([5, 6], np.int32))
    >>> selected.features.tolist(), selected.numbers.tolist(), selected.other_cells.tolist()
    ([5], [1.0], [1])

    """
    starts, name_ids, kinds, numbers = cells.starts, cells.name_ids, cells.kinds, cells.numbers
    assert name_ids is not None
    return SelectedCells(*compiled.select_cells(starts, name_ids, kinds, numbers, feature_of_name))
