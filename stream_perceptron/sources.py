"""Sources of rows: files and streams as Arrow record batches."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stream_perceptron.errors import SourceError
from stream_perceptron.inputs import Input, first_line, is_stream, open_file, open_input
from stream_perceptron.position import Identity
from stream_perceptron.rows import Rows
from stream_perceptron.schema import Schema

__all__ = [
    "BATCH_ROWS",
    "METADATA_KEY",
    "ArrowSource",
    "ParquetSource",
    "RandomDraws",
    "RowLayout",
    "Source",
]

# Enough rows to spread the cost of a batch, few enough to stay in the processor's cache.
BATCH_ROWS = 1000
_MOST_BATCH_ROWS = 4 * BATCH_ROWS  # where they are short
_BATCH_BYTES = 2**22

_BUFFER = 2**18  # bytes

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


class ParquetSource(Source):
    """A Parquet file, read batch by batch.

    Parameters
    ----------
    path
        A path, or a URI that `pyarrow.fs` knows, such as s3://bucket/file.parquet.
    file
        The file, if it is open already.

    Raises
    ------
    SourceError
        If there is no such file, or it is not a whole Parquet file.

    """

    def __init__(self, path: str, file: pa.NativeFile | None = None) -> None:
        super().__init__(path)
        try:
            if file is None:
                with open_file(path) as begin:
                    if not begin.read(1):
                        raise OSError(0, "the file is empty")
                file = open_file(path)
            self._size = file.size()
            # A buffer for each column, where the default is to read its whole row group.
            self._file = pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
        except (OSError, pa.ArrowException) as error:
            # Only errors of the system have a number; the others are about what the file holds.
            if isinstance(error, OSError) and error.errno is not None:
                reason = error.strerror
            else:
                reason = f"not a Parquet file, or not a whole one ({first_line(error)})"
            raise SourceError(f"{path}: {reason}") from None

    @property
    def columns(self) -> pa.Schema:
        return self._file.schema_arrow

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return int(self._file.metadata.num_rows)

    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        if self.is_stream:
            return [Identity.of_stream(self.name)]
        footer = pa.BufferOutputStream()
        self._file.metadata.write_metadata_file(footer)
        return [Identity.of(self.name, self._size, footer.getvalue().to_pybytes())]

    @property
    def groups(self) -> list[int]:
        """The number of rows in each row group."""
        metadata = self._file.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    @property
    def n_bytes(self) -> int:
        """The size of all row groups, not packed."""
        return sum(map(self.group_bytes, range(len(self.groups))))

    def group_bytes(self, group: int) -> int:
        """Return the size of a row group that is not packed."""
        return int(self._file.metadata.row_group(group).total_byte_size)

    def group(self, group: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one row group; as `batches`."""
        return self._batches([group], sum(self.groups[:group]), 0)

    def batches(self, turn: int = 0, start: int = 0) -> Iterator[pa.RecordBatch]:
        groups = self.groups
        first = before = 0
        while first < len(groups) and before + groups[first] <= start:
            before += groups[first]
            first += 1
        return self._batches(list(range(first, len(groups))), before, start - before)

    def _batches(self, groups: list[int], before: int, start: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from `start` on of row groups that have so many rows before them."""
        sizes = self.groups
        n_bytes = sum(map(self.group_bytes, groups))
        most = _rows_at_once(n_bytes, sum(sizes[group] for group in groups))
        while True:
            done = 0
            try:
                for batch in self._file.iter_batches(most, row_groups=groups, use_threads=False):
                    done += batch.num_rows
                    rest = batch.slice(max(0, batch.num_rows - (done - start)))
                    if rest.num_rows:
                        yield rest
                        start = done
                return
            except (OSError, pa.ArrowException) as error:
                if most > BATCH_ROWS:
                    most = BATCH_ROWS  # comes closer to the damage
                    continue
                raise SourceError(
                    f"{self.name}: damaged after row {before + start:,}: {first_line(error)}"
                ) from None


class ArrowSource(Source):
    """An Arrow IPC stream, or a file in that format, read message by message.

    Parameters
    ----------
    path
        A path, a URI or - for stdin.
    start
        Its bytes from the first on.

    Raises
    ------
    SourceError
        If it is not an Arrow stream.

    """

    def __init__(self, path: str, start: Input) -> None:
        super().__init__(path)
        self._reader = self._open(start)

    @property
    def columns(self) -> pa.Schema:
        return self._reader.schema

    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        if self.is_stream:
            return [Identity.of_stream(self.name)]
        with open_file(self.name) as file:
            return [Identity.of(self.name, file.size(), self.columns.serialize().to_pybytes())]

    def batches(self, turn: int = 0, start: int = 0) -> Iterator[pa.RecordBatch]:
        reader = self._reader if self.is_stream else self._open(open_input(self.name))
        done = 0
        try:
            for batch in reader:
                done += batch.num_rows
                rest = batch.slice(max(0, batch.num_rows - (done - start)))
                rows = _rows_at_once(rest.nbytes, rest.num_rows)
                for first in range(0, rest.num_rows, rows):
                    yield rest.slice(first, rows)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(
                f"{self.name}: damaged after row {done:,}: {first_line(error)}"
            ) from None

    def _open(self, start: Input) -> pa.RecordBatchReader:
        if start.peek(len(ARROW_FILE)) == ARROW_FILE:
            # Behind its first bytes an Arrow file is a stream, and then an index.
            start.read(len(ARROW_FILE))
        try:
            # No threads: they may let go of Python's bytes when Python has ended already.
            options = pa.ipc.IpcReadOptions(use_threads=False)
            return pa.ipc.open_stream(pa.PythonFile(start, "r"), options=options)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{self.name}: not an Arrow stream ({first_line(error)})") from None


def _rows_at_once(size: int, n_rows: int) -> int:
    """Return how many rows of this many bytes in all make a batch."""
    return min(_MOST_BATCH_ROWS, max(BATCH_ROWS, _BATCH_BYTES * n_rows // max(size, 1)))


def _are_lines(columns: pa.Schema) -> bool:
    return LINES_KEY in (columns.metadata or {})


class RandomDraws(Source):
    """Rows drawn at random with replacement from all rows of several files.

    The files are held in memory in Arrow's form. Draw t is row floor(u_t n), where u_t is the t-th
    double of a PCG64 stream seeded with `seed`, so any draw can be found again.

    Parameters
    ----------
    sources
        The files; their columns must be alike.
    seed
        The seed of the draws.

    """

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        super().__init__("random draws")
        self._sources = sources
        tables = [pa.Table.from_batches(s.batches(), s.columns) for s in sources]
        for source in sources[1:]:
            if not source.columns.equals(self.columns, check_metadata=_are_lines(self.columns)):
                raise SourceError(
                    f"{source.name}: its columns are not those of {sources[0].name}, so rows "
                    "cannot be drawn from both"
                )
        self._table = pa.concat_tables(tables).combine_chunks()
        self._seed = seed
        if not len(self._table):
            raise SourceError(f"{sources[0].name}: has no rows to draw from")

    @property
    def n_rows(self) -> int:
        """The number of rows to draw from."""
        return len(self._table)

    def draws(self, start: int, n: int) -> NDArray[np.int64]:
        """Return the rows of draws start to start + n - 1."""
        bits = np.random.PCG64(self._seed)
        bits.advance(start)
        u = np.random.Generator(bits).random(n)
        return (u * self.n_rows).astype(np.int64)

    @property
    def columns(self) -> pa.Schema:
        return self._sources[0].columns

    def layout(self, schema: Schema, to_learn: bool = True) -> RowLayout | None:
        return self._sources[0].layout(schema, to_learn)

    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        whole = [Identity("", 2**63 - 1, "")]
        return [identity for source in self._sources for identity in source.identities(whole)]

    def batches(self, turn: int = 0, start: int = 0) -> Iterator[pa.RecordBatch]:
        """Yield draws from `start` on, in all as many as there are rows; others in every turn."""
        end = (turn + 1) * self.n_rows
        for first in range(turn * self.n_rows + start, end, BATCH_ROWS):
            rows = self.draws(first, min(BATCH_ROWS, end - first))
            indices = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])
            yield from self._table.take(indices).combine_chunks().to_batches()
