"""Batches of rows, passed from a source to the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.notices import Notice
from stream_perceptron.data.position import FilePosition, Span
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Rows

# Enough rows to amortize the cost of a batch, but few enough to fit in the processor's cache.
BATCH_ROWS = 1000
MAX_BATCH_ROWS = 2 * BATCH_ROWS  # for short rows


_INTEGER = re.compile(r" *-?[0-9]{1,19} *")


class Offset(NamedTuple):
    """The position of a row in a partition of its origin, read from the --position columns."""

    partition: tuple[str | int, ...]
    value: int

    @property
    def key(self) -> tuple[str, ...]:
        """The partition as text."""
        return tuple(map(str, self.partition))


def parse_offset(read_options: ReadOptions, values: Sequence[Any], is_text: bool) -> Offset:
    """Return the offset given by the contents of the position columns.

    Raises
    ------
    SampleError
        If a value has the wrong type or is too large.

    """
    if is_text:
        name, last = read_options.position[-1], values[-1]
        if not _INTEGER.fullmatch(last):
            raise SampleError(f"position {name!r} is {last[:50]!r}, not a whole number")
        values = [*values[:-1], int(last)]
    for name, value in zip(read_options.position, values, strict=True):
        is_last = name == read_options.position[-1]
        if type(value) is not int and (is_last or type(value) is not str):
            expected = "a whole number" if is_last else "a whole number or a string"
            raise SampleError(f"position {name!r} is {str(value)[:50]!r}, not {expected}")
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise SampleError(f"position {name!r} is {value}, which is too large for an offset")
    return Offset(tuple(values[:-1]), values[-1])


class Lines(NamedTuple):
    """The lines of rows of text."""

    data: bytes
    begins: NDArray[np.intp]  # the place of each line in the data, shape (n,)
    ends: NDArray[np.intp]

    def read(self, i: int) -> str:
        """Return line i; invalid UTF-8 becomes lone surrogates."""
        return self.data[self.begins[i] : self.ends[i]].decode(errors="surrogateescape")

    def slice(self, start: int, end: int) -> Lines:
        """Return the lines [start, end)."""
        return self._replace(begins=self.begins[start:end], ends=self.ends[start:end])


class Rejection(NamedTuple):
    """A row that cannot be used, and the reason."""

    source: str
    row: int
    reason: str
    line: str | None = None  # of a row of text

    def __str__(self) -> str:
        return f"{self.source}: row {self.row}: {self.reason}"


@dataclass
class Redeliveries:
    """Detects redelivered rows: those at or below the highest offset of their partition.

    Examples
    --------
    >>> redeliveries = Redeliveries({("p",): 3})
    >>> [redeliveries.update(Offset(("p",), value)) for value in (3, 4, 4)]
    [True, False, True]

    """

    offsets: dict[tuple[str, ...], int] = field(default_factory=dict)  # the highest, by partition

    def copy(self) -> Redeliveries:
        """Return an independent copy."""
        return Redeliveries(dict(self.offsets))

    def update(self, offset: Offset | None) -> bool:
        """Return whether the next row is redelivered; a rejected row without an offset is not."""
        if offset is None:
            return False
        highest = self.offsets.get(offset.key)
        if highest is not None and offset.value <= highest:
            return True
        self.offsets[offset.key] = offset.value
        return False


# Not frozen, because a frozen dataclass takes several times as long to create.
@dataclass(eq=False, repr=False)
class Batch:
    """Consecutive interpreted rows of a source, n of which are usable. Do not modify a batch."""

    source: str  # the source's name in messages
    first_row: int  # the first row's number in the source, counted from 1
    n_rows: int  # the number of rows, including rejected and redelivered ones
    rows: NDArray[np.intp]  # the index of each usable row in the batch, ascending, shape (n,)
    features: Rows  # of the usable rows
    labels: list[object]  # of the usable rows; None for an unlabeled row; length n
    weights: NDArray[np.float64]  # the sample weights of the usable rows, shape (n,)
    # The schema after any of these rows: only the first row may change it.
    schema: Schema
    rejected: dict[int, str] = field(default_factory=dict)  # the reasons, by row index
    lines: Lines | None = None  # of all rows, in text
    # The offset of every row, or None for a rejected row without one; empty without --position.
    offsets: tuple[Offset | None, ...] = ()
    # A mask of the redelivered rows, which are not usable, shape (n_rows,); None if there are none.
    redelivered: NDArray[np.bool_] | None = None
    # Whether redelivered rows are numbered, as they are in files but not in pipes.
    numbers_redelivered: bool = True
    # Notices about the source, which come with its first usable rows.
    notices: tuple[Notice, ...] = ()
    # The number of missing values in each usable row, shape (n,); None if no value is missing.
    missing: NDArray[np.int32] | None = None
    # The contents of the passthrough columns and the join ID of each usable row.
    passthrough: list[tuple[object, ...]] = field(default_factory=list)
    # What each usable row does to the pending samples (`live.pending.Join`); None if labels are not
    # joined.
    joins: Sequence[Any] | None = None
    # The byte offset of each row's end in a text file, shape (n_rows,); None for other sources.
    ends: NDArray[np.intp] | None = None
    span: Span | None = None  # the part of a text file that contains these rows
    # The columns that have their first string in these rows, each with its row.
    added_columns: tuple[tuple[int, str], ...] = ()
    # The names in options that have occurred in the source so far, if rows name their own cells.
    seen: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, rows: slice) -> Batch:
        """Return a slice of the rows."""
        start, end, _ = rows.indices(self.n_rows)
        if end - start == self.n_rows:
            return self
        first, last = np.searchsorted(self.rows, [start, end]).tolist()
        usable = slice(first, last)
        return replace(
            self,
            first_row=self.row_number(start),
            n_rows=end - start,
            rows=self.rows[usable] - start,
            features=self.features[usable],
            labels=self.labels[usable],
            weights=self.weights[usable],
            rejected={i - start: text for i, text in self.rejected.items() if start <= i < end},
            lines=None if self.lines is None else self.lines.slice(start, end),
            offsets=self.offsets[start:end],
            redelivered=None if self.redelivered is None else self.redelivered[start:end],
            notices=() if start else self.notices,
            missing=None if self.missing is None else self.missing[usable],
            passthrough=self.passthrough[usable],
            joins=None if self.joins is None else self.joins[usable],
            ends=None if self.ends is None else self.ends[start:end],
            added_columns=tuple(
                [(i - start, name) for i, name in self.added_columns if start <= i < end]
            ),
        )

    def move(self, position: FilePosition, is_stream: bool = False) -> FilePosition:
        """Return the position after these rows, given the position before them.

        In a stream, redelivered rows are not counted.
        """
        n_rows = self.n_rows
        start_digest, end_digest = position.start_digest, position.end_digest
        header_size = position.header_size
        if is_stream and self.redelivered is not None:
            n_rows -= int(np.count_nonzero(self.redelivered))
        offset = position.rows + n_rows
        if self.span is not None and self.ends is not None:
            header_size, offset = self.span.header_size, int(self.ends[-1])
            start_digest, end_digest = self.span.digest(offset)
        return FilePosition(
            position.name, start_digest, end_digest, header_size, offset,
            position.rows + n_rows, position.rejected + len(self.rejected),
        )  # fmt: skip

    def row_number(self, i: int) -> int:
        """Return the number of row i in the source; for i = n_rows, that of the next row."""
        if self.redelivered is None or self.numbers_redelivered:
            return self.first_row + i
        return self.first_row + i - int(np.count_nonzero(self.redelivered[:i]))

    def format_location(self, i: int) -> str:
        """Return the source and number of row i, for a message."""
        return f"{self.source}: row {self.row_number(i)}"

    def rejections(self) -> list[Rejection]:
        """Return the rejected rows with their reasons, in order."""
        return [
            Rejection(self.source, self.row_number(i), reason, self.lines and self.lines.read(i))
            for i, reason in sorted(self.rejected.items())
        ]

    def truncate_at_rejected(self) -> Batch:
        """Return the rows before the first rejected row."""
        return self[: min(self.rejected)] if self.rejected else self

    def require_usable(self) -> None:
        """Check that no row is rejected."""
        if self.rejected:
            raise SampleError(str(self.rejections()[0]))

    def reject_rows(self, mask: NDArray[np.bool_], reason: str) -> Batch:
        """Return the batch with the usable rows in `mask`, shape (n,), rejected for this reason."""
        remaining = np.flatnonzero(~mask)
        return replace(
            self,
            rows=self.rows[remaining],
            features=self.features[remaining],
            labels=[self.labels[i] for i in remaining.tolist()],
            weights=self.weights[remaining],
            missing=None if self.missing is None else self.missing[remaining],
            passthrough=[self.passthrough[i] for i in remaining.tolist()]
            if self.passthrough
            else [],
            rejected=self.rejected | dict.fromkeys(self.rows[mask].tolist(), reason),
        )


def build_empty_batch(source: str, first_row: int, schema: Schema) -> Batch:
    """Return a batch without rows."""
    return Batch(
        source, first_row, 0, np.zeros(0, np.intp), Rows.from_rows([], []), [], np.zeros(0), schema
    )
