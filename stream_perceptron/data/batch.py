"""Batches of rows, passed from a source to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.describe import Note
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Rows, concatenate_rows

# Enough rows to spread the cost of a batch, few enough for the processor's cache.
BATCH_ROWS = 1000
MOST_BATCH_ROWS = 4 * BATCH_ROWS  # for short rows


class Offset(NamedTuple):
    """A row's place in its origin: the values of the --position columns."""

    partition: tuple[str | int, ...]
    value: int

    @property
    def key(self) -> tuple[str, ...]:
        """The partition as text."""
        return tuple(map(str, self.partition))


def offset_of(selection: Selection, values: Sequence[Any]) -> Offset:
    """Return the offset given by the values of the position columns."""
    for name, value in zip(selection.position, values, strict=True):
        is_last = name == selection.position[-1]
        if type(value) is not int and (is_last or type(value) is not str):
            wanted = "a whole number" if is_last else "a whole number or a text"
            raise SampleError(f"position {name!r} is {str(value)[:50]!r}, not {wanted}")
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise SampleError(f"position {name!r} is {value}, which is too large for an offset")
    return Offset(tuple(values[:-1]), values[-1])


# Returns a row's content: its text, or a list of one dict with its values by name.
Held = Callable[[], str | list[dict[str, Any]]]


class Rejection(NamedTuple):
    """The place of a row that cannot be used, and the reason."""

    source: str
    row: int
    why: str
    held: Held | None = None

    def __str__(self) -> str:
        return f"{self.source}: row {self.row}: {self.why}"


@dataclass
class Redeliveries:
    """Tells redelivered rows of a source from new ones, by their offsets.

    A row is redelivered if its offset is at or below the highest one of its partition. A row
    without a readable offset has the status of the row before it. Those that followed the last new
    row are counted, so that further ones are new.

    Examples
    --------
    >>> redeliveries = Redeliveries({("p",): 3})
    >>> [redeliveries.update(Offset(("p",), value)) for value in (3, 4, 4)]
    [True, False, True]
    >>> redeliveries.update(None)
    False

    """

    offsets: dict[tuple[str, ...], int] = field(default_factory=dict)  # the highest, by partition
    last_partition: tuple[str, ...] | None = None  # of the last new row with a readable offset
    n_unreadable: int = 0  # new rows without a readable offset since then
    is_redelivered: bool = False  # whether the last row was
    # The rows without a readable offset that are known to follow the last row; None for any number.
    n_known: int | None = None

    def begin_source(self) -> None:
        """Forget the status of the last row, which was one of another source or run."""
        self.is_redelivered, self.n_known = False, None

    def copy(self) -> Redeliveries:
        """Return a copy, whose changes do not concern this object."""
        return replace(self, offsets=dict(self.offsets))

    def raise_offsets(self, offsets: Iterable[Offset | None]) -> None:
        """Raise the highest offsets to those of rows that are learned in any case."""
        for offset in offsets:
            if offset is not None:
                highest = self.offsets.get(offset.key, offset.value)
                self.offsets[offset.key] = max(highest, offset.value)

    def update(self, offset: Offset | None) -> bool:
        """Return whether the next row is redelivered, given its offset (None if unreadable)."""
        if offset is not None:
            highest = self.offsets.get(offset.key)
            self.is_redelivered = highest is not None and offset.value <= highest
            self.n_known = None
            if not self.is_redelivered:
                self.offsets[offset.key] = offset.value
                self.last_partition, self.n_unreadable = offset.key, 0
            elif offset.key == self.last_partition and offset.value == highest:
                self.n_known = self.n_unreadable
        elif self.n_known:
            self.n_known -= 1
        else:
            self.is_redelivered &= self.n_known is None
            self.n_unreadable += not self.is_redelivered
            self.n_known = None
        return self.is_redelivered


@dataclass(frozen=True, eq=False, repr=False)
class MissingValues:
    """The missing values of n rows."""

    counts: NDArray[np.intp]  # in the columns in use, shape (n,)
    # The null columns of each row that have had no value so far, with the value 1. They count once
    # they turn out to be features.
    untyped: Rows | None = None

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> MissingValues:
        """Return the missing values of some of the rows."""
        untyped = None if self.untyped is None else self.untyped[rows]
        return MissingValues(self.counts[rows], untyped)

    @property
    def any(self) -> bool:
        """Whether there are any."""
        has_untyped = self.untyped is not None and len(self.untyped.values) > 0
        return has_untyped or bool(self.counts.any())

    def clear(self, rows: Sequence[int]) -> MissingValues:
        """Return the missing values, but none in these rows."""
        counts, untyped = self.counts.copy(), self.untyped
        counts[rows] = 0
        if untyped is not None and len(rows):
            left = np.delete(np.arange(len(counts)), rows)
            untyped = untyped[left].spread(left, len(counts))
        return MissingValues(counts, untyped)

    def count_untyped(self) -> dict[str, int]:
        """Return the number of nulls in each column that has had no value so far."""
        if self.untyped is None:
            return {}
        counts = np.bincount(self.untyped.value_name_ids).tolist()
        return {str(name): n for name, n in zip(self.untyped.names, counts, strict=False) if n}


def concatenate_missing(parts: Sequence[MissingValues]) -> MissingValues:
    """Return the missing values of the rows of all parts in order."""
    untyped = None
    if any(part.untyped is not None for part in parts):
        every = [Rows.empty(len(p.counts)) if p.untyped is None else p.untyped for p in parts]
        untyped = concatenate_rows(every)
    return MissingValues(np.concatenate([part.counts for part in parts]), untyped)


class Inferred(NamedTuple):
    """What the rows of a batch add to a model's knowledge of its sources."""

    schema: Schema  # after these rows
    # New names of features, of rows that name their own.
    names: tuple[str, ...] = ()
    # Names given in options that a row of the source has, if rows name their own cells.
    seen: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False, repr=False)
class Batch:
    """Consecutive rows of a source, interpreted; n of them are usable."""

    source: str  # the source's name in messages
    first_row: int  # the number of the first row in the source, counted from 1
    n_rows: int  # the number of rows, rejected and redelivered ones included
    rows: NDArray[np.intp]  # the place of each usable row in the batch, ascending, shape (n,)
    features: Rows  # of the usable rows
    labels: list[Any]  # of the usable rows, None without a label; length n
    weights: NDArray[np.float64]  # the sample weights of the usable rows, shape (n,)
    inferred: Inferred
    rejected: dict[int, str] = field(default_factory=dict)  # by place: why a row cannot be used
    held: dict[int, Held] = field(default_factory=dict)  # by place: a rejected row's content
    # The offset of every row, None for a rejected row without one; empty without --position.
    offsets: tuple[Offset | None, ...] = ()
    # Which rows are redelivered, and left out; shape (n_rows,), None for none.
    redelivered: NDArray[np.bool_] | None = None
    # Whether redelivered rows have numbers, as rows of files do and rows of pipes do not.
    numbers_redelivered: bool = True
    # Notes to users about the source; they come with its first usable rows.
    notes: tuple[Note, ...] = ()
    missing: MissingValues | None = None  # of the usable rows; None for none
    # The features that stand for texts or dates, which a scaler leaves as they are.
    unscaled: frozenset[str] = frozenset()
    kept: list[tuple[Any, ...]] = field(default_factory=list)  # kept columns of each usable row
    # The bytes of a text file up to the end of each row, shape (n_rows,); None for other sources.
    ends: NDArray[np.intp] | None = None
    epoch: int = 0  # counted from 0
    index: int = 0  # the source in the epoch, counted from 0
    # Interprets the first rows again, which may infer less than all of them.
    interpret_first: Callable[[int], Batch] | None = None

    def __len__(self) -> int:
        return self.n_rows

    def first(self, n: int) -> Batch:
        """Return the first n rows."""
        if n == self.n_rows:
            return self
        assert self.interpret_first is not None
        return replace(self.interpret_first(n), interpret_first=self.interpret_first)

    def slice_first(self, n: int) -> Batch:
        """Return the first n rows, with all that the batch infers."""
        n_usable = int(np.searchsorted(self.rows, n))
        return replace(
            self,
            n_rows=n,
            rows=self.rows[:n_usable],
            features=self.features[:n_usable],
            labels=self.labels[:n_usable],
            weights=self.weights[:n_usable],
            rejected={i: why for i, why in self.rejected.items() if i < n},
            offsets=self.offsets[:n],
            redelivered=None if self.redelivered is None else self.redelivered[:n],
            missing=None if self.missing is None else self.missing[:n_usable],
            kept=self.kept[:n_usable],
            ends=None if self.ends is None else self.ends[:n],
        )

    def number(self, i: int) -> int:
        """Return the number in the source of the row at place i, or of the next row for i = n."""
        if self.redelivered is None or self.numbers_redelivered:
            return self.first_row + i
        return self.first_row + i - int(np.count_nonzero(self.redelivered[:i]))

    def place(self, i: int) -> str:
        """Return the source and number of the row at place i, for a message."""
        return f"{self.source}: row {self.number(i)}"

    def rejections(self) -> list[Rejection]:
        """Return the rejected rows with their reasons, in order."""
        return [
            Rejection(self.source, self.number(i), why, self.held.get(i))
            for i, why in sorted(self.rejected.items())
        ]

    def before_rejected(self) -> Batch:
        """Return the rows before the first rejected one."""
        return self.first(min(self.rejected)) if self.rejected else self

    def require_usable(self) -> None:
        """Check that no row is rejected."""
        if self.rejected:
            raise SampleError(str(self.rejections()[0]))

    def without(self, some: NDArray[np.bool_], reason: str) -> Batch:
        """Return the batch with some of its usable rows (a mask, shape (n,)) rejected."""
        left = np.flatnonzero(~some)

        def interpret_first(n: int) -> Batch:
            first = self.first(n)
            return first.without(some[: len(first.rows)], reason)

        return replace(
            self,
            rows=self.rows[left],
            features=self.features[left],
            labels=[self.labels[i] for i in left.tolist()],
            weights=self.weights[left],
            missing=None if self.missing is None else self.missing[left],
            kept=[self.kept[i] for i in left.tolist()] if self.kept else [],
            rejected=self.rejected | dict.fromkeys(self.rows[some].tolist(), reason),
            interpret_first=interpret_first,
        )
