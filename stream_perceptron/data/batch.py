"""Batches of rows, passed from a source to the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.input.positions import FilePosition, Span
from stream_perceptron.data.notices import Notice
from stream_perceptron.data.schema import Schema
from stream_perceptron.errors import Reason, SampleError
from stream_perceptron.model.rows import REDELIVERED, REJECTED, Samples

# Enough rows to amortize the cost of a batch, but few enough to fit in the processor's cache.
BATCH_ROWS = 1000
MAX_BATCH_ROWS = 2 * BATCH_ROWS  # for short rows


class Offset(NamedTuple):
    """The partition and offset of a row, read from the --position columns."""

    partition: tuple[str | int, ...]
    value: int

    @property
    def key(self) -> tuple[str, ...]:
        """The partition as text."""
        return tuple(map(str, self.partition))


class Lines(NamedTuple):
    """The lines of rows of text."""

    data: bytes
    begins: NDArray[np.intp]  # where each line begins in `data`, shape (n,)
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
    reason: Reason
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
@dataclass(eq=False, repr=False, kw_only=True)
class Batch(Samples):
    """Consecutive interpreted rows of a source. Do not modify a batch."""

    source: str  # the source's name in messages
    first_row: int  # the first row's number in the source, counted from 1
    # The schema after any of these rows: only the first row may change it.
    schema: Schema
    rejected: dict[int, Reason] = field(default_factory=dict)  # the reasons, by row index
    lines: Lines | None = None  # of all rows, in text
    # The offset of every row, or None for a rejected row without one; empty without --position.
    offsets: tuple[Offset | None, ...] = ()
    # Whether redelivered rows are numbered, as they are in files but not in pipes.
    counts_redelivered_rows: bool = True
    # Notices about the source, which come with its first usable rows.
    notices: tuple[Notice, ...] = ()
    # The number of missing values in each row, shape (n,); None if no value is missing.
    n_missing: NDArray[np.int32] | None = None
    # The contents of the passthrough columns and the join ID of each row.
    passthrough: list[tuple[object, ...]] = field(default_factory=list)
    # What each row does to the pending samples (`live.pending.Join`), None for a row that is not
    # usable; None if labels are not joined.
    joins: Sequence[Any] | None = None
    # The byte offset of each row's end in a text file, shape (n,); None for other sources.
    row_ends: NDArray[np.intp] | None = None
    span: Span | None = None  # the part of a text file that contains these rows
    # The strings of these rows: the row, the column, and the number of features that the strings of
    # the column have added by the end of the row.
    added_strings: tuple[tuple[int, str, int], ...] = ()

    def _slice_fields(self, start: int, end: int) -> dict[str, Any]:
        fields = super()._slice_fields(start, end)
        for name in ("offsets", "n_missing", "passthrough", "joins", "row_ends"):
            if (values := getattr(self, name)) is not None:
                fields[name] = values[start:end]
        fields["lines"] = None if self.lines is None else self.lines.slice(start, end)
        fields["rejected"] = {
            i - start: text for i, text in self.rejected.items() if start <= i < end
        }
        fields["first_row"] = self.row_number(start)
        fields["notices"] = () if start else self.notices
        fields["added_strings"] = tuple(
            [(i - start, name, n) for i, name, n in self.added_strings if start <= i < end]
        )
        return fields

    def count_redelivered(self, end: int | None = None) -> int:
        """Count the redelivered rows before an index."""
        return int(np.count_nonzero(self.status[:end] == REDELIVERED))

    def advance_position(self, position: FilePosition, is_stream: bool = False) -> FilePosition:
        """Return the position after these rows, given the position before them.

        In a stream, redelivered rows are not counted.
        """
        n_rows = len(self)
        start_digest, end_digest = position.start_digest, position.end_digest
        header_size = position.header_size
        if is_stream and self.offsets:
            n_rows -= self.count_redelivered()
        offset = position.rows + n_rows
        if self.span is not None and self.row_ends is not None:
            header_size, offset = self.span.header_size, int(self.row_ends[-1])
            start_digest, end_digest = self.span.digest_windows(offset)
        return FilePosition(
            position.name, start_digest, end_digest, header_size, offset, position.rows + n_rows
        )

    def row_number(self, i: int) -> int:
        """Return the number of row i in the source; for i = len(self), that of the next row."""
        if self.counts_redelivered_rows or not self.offsets:
            return self.first_row + i
        return self.first_row + i - self.count_redelivered(i)

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

    def require_no_rejections(self) -> None:
        """Check that no row is rejected."""
        if self.rejected:
            raise SampleError(str(self.rejections()[0]))

    def reject_rows(self, reasons: dict[int, Reason]) -> Batch:
        """Return the batch with some of its usable rows rejected, given the reasons."""
        status, label_ids, rows = self.status.copy(), self.label_ids.copy(), list(reasons)
        status[rows], label_ids[rows] = REJECTED, -1
        rejected = self.rejected | reasons
        return replace(self, status=status, label_ids=label_ids, rejected=rejected)


def build_empty_batch(source: str, first_row: int, schema: Schema, **fields: Any) -> Batch:
    """Return a batch without usable rows, but perhaps with a rejected one."""
    n = len(fields.get("rejected", ()))
    return Batch(
        (), np.zeros(n + 1, np.intp), np.zeros(0, np.int32), np.zeros(0), np.full(n, -1, np.int32),
        np.ones(n), np.full(n, REJECTED, np.uint8), labels=(), has_own_ids=True,
        source=source, first_row=first_row, schema=schema, **fields,
    )  # fmt: skip
