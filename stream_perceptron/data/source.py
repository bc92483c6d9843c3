"""What a source of rows is, whatever its format."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

from stream_perceptron.data.batch import Rows
from stream_perceptron.data.byte_stream import is_stream
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.schema import Schema

__all__ = [
    "ARROW_FILE",
    "BATCH_ROWS",
    "LINES_KEY",
    "METADATA_KEY",
    "RowLayout",
    "Source",
    "are_lines",
    "rows_at_once",
]

# Enough rows to spread the cost of a batch, few enough to stay in the processor's cache.
BATCH_ROWS = 1000

_MOST_BATCH_ROWS = 4 * BATCH_ROWS  # where they are short

_BATCH_BYTES = 2**22

# Where our own files keep shape, classes and origin, as JSON.
METADATA_KEY = b"stream_perceptron"

# Where sources of lines say what lines they have.
LINES_KEY = b"lines"

ARROW_FILE = b"ARROW1\0\0"


class RowLayout(Protocol):
    """How the batches of a source become rows."""

    where: str

    @property
    def label(self) -> str | None:
        """The label column, if there is one."""

    def rows(self, batch: pa.RecordBatch, until_bad: bool = False) -> Rows:
        """Return the rows of a batch; see `Layout.rows`."""

    def describe(self) -> list[str]:
        """Say in a few lines what is used and what is not, once rows were read."""


class Source(ABC):
    """Where rows come from.

    Parameters
    ----------
    name
        What it is called in messages: a path, a URI or - for stdin.

    Attributes
    ----------
    is_stream : bool
        Whether it can be read once only.

    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_stream = is_stream(name)

    @property
    @abstractmethod
    def columns(self) -> pa.Schema:
        """The Arrow schema of the batches, with its metadata."""

    @property
    def n_rows(self) -> int | None:
        """The number of rows, if it is known before they are read."""
        return None

    @property
    def classes(self) -> list[Any] | None:
        """The labels that it declares, if it is one of the files that `mnist` writes."""
        metadata = (self.columns.metadata or {}).get(METADATA_KEY)
        return None if metadata is None else json.loads(metadata)["classes"]

    def layout(self, schema: Schema, to_learn: bool = True) -> RowLayout | None:
        """Say how the batches are read, None if there are none; see `Schema.layout`."""
        return schema.layout(self.columns, self.name, to_learn)

    @abstractmethod
    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        """Return what tells this source from others, for what was read of it `before`."""

    @abstractmethod
    def batches(self, turn: int = 0, start: int = 0) -> Iterator[pa.RecordBatch]:
        """Yield the rows from `start` on, in batches of a few thousand at most.

        Raises
        ------
        SourceError
            If it is damaged; the rows before are yielded first.

        """

    def passed(self, batch: pa.RecordBatch) -> Identity | None:
        """Hear that rows were read for the first time; return the identity, if that changes it."""
        return None


def rows_at_once(size: int, n_rows: int) -> int:
    """Return how many rows of this many bytes in all make a batch."""
    return min(_MOST_BATCH_ROWS, max(BATCH_ROWS, _BATCH_BYTES * n_rows // max(size, 1)))


def are_lines(columns: pa.Schema) -> bool:
    return LINES_KEY in (columns.metadata or {})
