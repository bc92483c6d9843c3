"""Batches of rows, passed from a source to the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.notices import Notice
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Rows, concatenate_rows

# Enough rows to amortize the cost of a batch, but few enough to fit in the processor's cache.
BATCH_ROWS = 1000
MAX_BATCH_ROWS = 8 * BATCH_ROWS  # for short rows


class Offset(NamedTuple):
    """The position of a row in a partition of its origin, read from the --position columns."""

    partition: tuple[str | int, ...]
    value: int

    @property
    def key(self) -> tuple[str, ...]:
        """The partition as text."""
        return tuple(map(str, self.partition))


def build_offset(read_options: ReadOptions, values: Sequence[Any]) -> Offset:
    """Return the offset given by the values of the position columns.

    Raises
    ------
    SampleError
        If a value has the wrong type or is too large.

    """
    for name, value in zip(read_options.position, values, strict=True):
        is_last = name == read_options.position[-1]
        if type(value) is not int and (is_last or type(value) is not str):
            expected = "a whole number" if is_last else "a whole number or a text"
            raise SampleError(f"position {name!r} is {str(value)[:50]!r}, not {expected}")
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise SampleError(f"position {name!r} is {value}, which is too large for an offset")
    return Offset(tuple(values[:-1]), values[-1])


# Returns the content of a row: its text, or a list with one dict that maps column names to
# values.
ContentReader = Callable[[], str | list[dict[str, object]]]


class Rejection(NamedTuple):
    """A row that cannot be used, and the reason."""

    source: str
    row: int
    reason: str
    read_content: ContentReader | None = None

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


@dataclass(frozen=True, eq=False, repr=False)
class MissingValues:
    """The missing values in n rows."""

    counts: NDArray[np.intp]  # in the used columns of each row, shape (n,)
    # The untyped columns that are null in each row, with the value 1. These nulls are counted once
    # the columns turn out to be features.
    untyped: Rows | None = None

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> MissingValues:
        """Return the missing values of some of the rows."""
        untyped = None if self.untyped is None else self.untyped[rows]
        return MissingValues(self.counts[rows], untyped)

    @property
    def any(self) -> bool:
        """Whether any value is missing."""
        has_untyped = self.untyped is not None and len(self.untyped.values) > 0
        return has_untyped or bool(self.counts.any())

    def clear(self, rows: Sequence[int]) -> MissingValues:
        """Return a copy without the missing values of these rows."""
        counts, untyped = self.counts.copy(), self.untyped
        counts[rows] = 0
        if untyped is not None and len(rows):
            remaining = np.delete(np.arange(len(counts)), rows)
            untyped = untyped[remaining].scatter(remaining, len(counts))
        return MissingValues(counts, untyped)

    def count_untyped(self) -> dict[str, int]:
        """Return the number of nulls in each untyped column."""
        if self.untyped is None:
            return {}
        counts = np.bincount(self.untyped.value_name_ids).tolist()
        return {str(name): n for name, n in zip(self.untyped.names, counts, strict=False) if n}


def concatenate_missing(parts: Sequence[MissingValues]) -> MissingValues:
    """Concatenate the missing values of all parts."""
    untyped = None
    if any(part.untyped is not None for part in parts):
        untyped_rows = [
            Rows.empty(len(p.counts)) if p.untyped is None else p.untyped for p in parts
        ]
        untyped = concatenate_rows(untyped_rows)
    return MissingValues(np.concatenate([part.counts for part in parts]), untyped)


class InferredKnowledge(NamedTuple):
    """The schema and names that the rows of a batch add to a model's knowledge of its sources."""

    schema: Schema  # after these rows
    # The names of new features, if rows name their own features.
    names: tuple[str, ...] = ()
    # The names in options that occur in a row of the source, if rows name their own cells.
    seen: frozenset[str] = frozenset()


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
    inferred: InferredKnowledge
    rejected: dict[int, str] = field(default_factory=dict)  # the reasons, by row index
    content_readers: dict[int, ContentReader] = field(
        default_factory=dict
    )  # by index of the rejected row
    # The offset of every row, or None for a rejected row without one; empty without --position.
    offsets: tuple[Offset | None, ...] = ()
    # A mask of the redelivered rows, which are not usable, shape (n_rows,); None if there are none.
    redelivered: NDArray[np.bool_] | None = None
    # Whether redelivered rows are numbered, as they are in files but not in pipes.
    numbers_redelivered: bool = True
    # Notices about the source, which come with its first usable rows.
    notices: tuple[Notice, ...] = ()
    missing: MissingValues | None = None  # of the usable rows; None if no value is missing
    # The contents of the passthrough columns and the join ID of each usable row.
    passthrough: list[tuple[object, ...]] = field(default_factory=list)
    # The byte offset of each row's end in a text file, shape (n_rows,); None for other sources.
    ends: NDArray[np.intp] | None = None
    epoch: int = 0  # counted from 0
    index: int = 0  # of the source in the epoch, counted from 0
    # Interprets the first n rows again; less may be inferred from them than from all rows.
    interpret_first: Callable[[int], Batch] | None = None

    def __len__(self) -> int:
        return self.n_rows

    def reinterpret_first(self, n: int) -> Batch:
        """Return the first n rows, interpreted again without the later rows."""
        if n == self.n_rows:
            return self
        assert self.interpret_first is not None
        return replace(self.interpret_first(n), interpret_first=self.interpret_first)

    def slice_first(self, n: int) -> Batch:
        """Return the first n rows, with the knowledge inferred from the whole batch."""
        n_usable = int(np.searchsorted(self.rows, n))
        return replace(
            self,
            n_rows=n,
            rows=self.rows[:n_usable],
            features=self.features[:n_usable],
            labels=self.labels[:n_usable],
            weights=self.weights[:n_usable],
            rejected={i: reason for i, reason in self.rejected.items() if i < n},
            offsets=self.offsets[:n],
            redelivered=None if self.redelivered is None else self.redelivered[:n],
            missing=None if self.missing is None else self.missing[:n_usable],
            passthrough=self.passthrough[:n_usable],
            ends=None if self.ends is None else self.ends[:n],
        )

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
            Rejection(self.source, self.row_number(i), reason, self.content_readers.get(i))
            for i, reason in sorted(self.rejected.items())
        ]

    def truncate_at_rejected(self) -> Batch:
        """Return the rows before the first rejected row."""
        return self.reinterpret_first(min(self.rejected)) if self.rejected else self

    def require_usable(self) -> None:
        """Check that no row is rejected."""
        if self.rejected:
            raise SampleError(str(self.rejections()[0]))

    def reject_rows(self, mask: NDArray[np.bool_], reason: str) -> Batch:
        """Return the batch with the usable rows in `mask`, shape (n,), rejected for this reason."""
        remaining = np.flatnonzero(~mask)

        def interpret_first(n: int) -> Batch:
            first = self.reinterpret_first(n)
            return first.reject_rows(mask[: len(first.rows)], reason)

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
            interpret_first=interpret_first,
        )
