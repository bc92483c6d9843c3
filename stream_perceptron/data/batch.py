"""Batches of rows, passed from a source to the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stream_perceptron.data.describe import Note
from stream_perceptron.data.identity import TextPart
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Rows

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


def too_large(dtype: DTypeLike) -> str:
    """Return the reason for rejecting a feature too large for a type."""
    return f"a feature is beyond {np.finfo(dtype).max:.3g}, the largest number of its type"


class Replays:
    """Detects replayed rows of a stream by the highest offsets so far; none if these are None.

    Examples
    --------
    >>> replays = Replays({("p",): 3})
    >>> [replays.had(Offset(("p",), value)) for value in (3, 4, 4)]
    [True, False, True]

    """

    def __init__(self, highest: Mapping[tuple[str, ...], int] | None) -> None:
        self._highest = None if highest is None else dict(highest)

    def had(self, offset: Offset) -> bool:
        """Record a row's offset; return whether it is at or below the highest before."""
        if self._highest is None:
            return False
        before = self._highest.get(offset.key)
        self._highest[offset.key] = max(offset.value, offset.value if before is None else before)
        return before is not None and offset.value <= before


@dataclass(frozen=True, eq=False, repr=False)
class Batch:
    """Consecutive rows of a source, the only form between reading and learning; n are usable."""

    source: str  # the source's name in messages
    first_row: int  # the number of the first row in the source, counted from 1
    n_rows: int  # the number of rows, rejected and replayed ones included
    rows: NDArray[np.intp]  # the place of each usable row in the batch, ascending, shape (n,)
    features: Rows  # of the usable rows
    labels: list[Any]  # of the usable rows, None without a label; length n
    weights: NDArray[np.float64]  # the sample weights of the usable rows, shape (n,)
    schema: Schema  # after these rows
    rejected: dict[int, str] = field(default_factory=dict)  # by place: why a row cannot be used
    held: dict[int, Held] = field(default_factory=dict)  # by place: a rejected row's content
    # The offset of every row, None for a rejected row without one; empty without --position.
    offsets: tuple[Offset | None, ...] = ()
    # Which rows are replayed, and left out; shape (n_rows,), None for none.
    replayed: NDArray[np.bool_] | None = None
    # Notes to users about the source; they come with its first usable rows.
    notes: tuple[Note, ...] = ()
    # The number of missing features of each usable row, shape (n,); None for none.
    missing: NDArray[np.intp] | None = None
    # The features that stand for a text and are 1 if a row has it.
    indicators: frozenset[str] = frozenset()
    kept: list[tuple[Any, ...]] = field(default_factory=list)  # kept columns of each usable row
    text: TextPart | None = None  # the rows' bytes, if they identify the source
    epoch: int = 0  # counted from 0
    index: int = 0  # the source in the epoch, counted from 0

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, part: slice) -> Batch:
        """Return the rows of a slice of places."""
        start, end, _ = part.indices(self.n_rows)
        if start == 0 and end == self.n_rows:
            return self
        usable = slice(*np.searchsorted(self.rows, [start, end]).tolist())
        return replace(
            self,
            first_row=self.first_row + start,
            n_rows=end - start,
            rows=self.rows[usable] - start,
            features=self.features[usable],
            labels=self.labels[usable],
            weights=self.weights[usable],
            rejected={i - start: why for i, why in self.rejected.items() if start <= i < end},
            held={i - start: held for i, held in self.held.items() if start <= i < end},
            offsets=self.offsets[start:end],
            replayed=None if self.replayed is None else self.replayed[start:end],
            notes=() if usable.start else self.notes,
            missing=None if self.missing is None else self.missing[usable],
            kept=self.kept[usable],
            text=None if self.text is None else self.text[start:end],
        )

    @property
    def tells(self) -> bool:
        """Whether a row is learned, so that the schema is kept from here on."""
        return self.labels.count(None) < len(self.labels)

    def place(self, i: int) -> str:
        """Return the source and number of the row at place i, for a message."""
        return f"{self.source}: row {self.first_row + i}"

    def rejections(self) -> list[Rejection]:
        """Return the rejected rows with their reasons, in order."""
        first, held = self.first_row, self.held
        return [
            Rejection(self.source, first + i, why, held.get(i))
            for i, why in sorted(self.rejected.items())
        ]

    def before_rejected(self) -> Batch:
        """Return the rows before the first rejected one."""
        return self[: min(self.rejected)] if self.rejected else self

    def require_usable(self) -> None:
        """Check that no row is rejected."""
        if self.rejected:
            raise SampleError(str(self.rejections()[0]))

    def fitting(self, dtype: DTypeLike) -> Batch:
        """Return the batch with rows rejected whose features do not fit a type."""
        if np.dtype(dtype) == np.float64:
            return self
        limit = float(np.finfo(dtype).max)
        if self.features.largest() <= limit:
            return self
        return self.without(self.features.beyond(limit), too_large(dtype))

    def without(self, some: NDArray[np.bool_], why: str) -> Batch:
        """Return the batch with some of its usable rows (a mask, shape (n,)) rejected."""
        kept = np.flatnonzero(~some)
        return replace(
            self,
            rows=self.rows[kept],
            features=self.features[kept],
            labels=[self.labels[i] for i in kept.tolist()],
            weights=self.weights[kept],
            missing=None if self.missing is None else self.missing[kept],
            kept=[self.kept[i] for i in kept.tolist()] if self.kept else [],
            rejected=self.rejected | dict.fromkeys(self.rows[some].tolist(), why),
        )
