"""Files as streams of Arrow record batches."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stream_perceptron.errors import SourceError
from stream_perceptron.position import STDIN, Identity

__all__ = [
    "BATCH_ROWS",
    "METADATA_KEY",
    "ParquetSource",
    "RandomDraws",
    "first_line",
    "spool_stdin",
]

# Enough rows to spread the cost of a batch, few enough to stay in the processor's cache.
BATCH_ROWS = 1000

_BUFFER = 2**18  # bytes

# Where our own files keep shape, classes and origin, as JSON.
METADATA_KEY = b"stream_perceptron"


class ParquetSource:
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
        self.name = path
        try:
            file = _open(path) if file is None else file
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
        """The Arrow schema, with its metadata."""
        return self._file.schema_arrow

    @property
    def classes(self) -> list[Any] | None:
        """The labels that the file declares, if it is one of those that `mnist` writes."""
        metadata = (self.columns.metadata or {}).get(METADATA_KEY)
        return None if metadata is None else json.loads(metadata)["classes"]

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return int(self._file.metadata.num_rows)

    def identities(self) -> list[Identity]:
        """Return what tells this file from others, in a list."""
        if self.name == STDIN:
            return [Identity(STDIN, 0, "")]
        footer = pa.BufferOutputStream()
        self._file.metadata.write_metadata_file(footer)
        return [Identity.of(self.name, self._size, footer.getvalue().to_pybytes())]

    def batches(self, turn: int = 0, start: int = 0) -> Iterator[pa.RecordBatch]:
        """Yield the rows from `start` on, in batches of at most `BATCH_ROWS`; alike in all turns.

        Raises
        ------
        SourceError
            If the file is damaged; the rows before are yielded first.

        """
        metadata = self._file.metadata
        groups = list(range(metadata.num_row_groups))
        done = 0
        while groups and done + metadata.row_group(groups[0]).num_rows <= start:
            done += metadata.row_group(groups.pop(0)).num_rows
        try:
            for batch in self._file.iter_batches(BATCH_ROWS, row_groups=groups):
                done += batch.num_rows
                yield batch.slice(max(0, batch.num_rows - (done - start)))
        except (OSError, pa.ArrowException) as error:
            raise SourceError(
                f"{self.name}: damaged after row {done:,}: {first_line(error)}"
            ) from None


class RandomDraws:
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

    name = "random draws"

    def __init__(self, sources: list[ParquetSource], seed: int) -> None:
        self._sources = sources
        self.columns = sources[0].columns
        self.classes = sources[0].classes
        tables = [pa.Table.from_batches(s.batches(), s.columns) for s in sources]
        for source in sources[1:]:
            if not source.columns.equals(self.columns):
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

    def identities(self) -> list[Identity]:
        """Return what tells these files from others."""
        return [identity for source in self._sources for identity in source.identities()]

    def batches(self, turn: int = 0, start: int = 0) -> Iterator[pa.RecordBatch]:
        """Yield draws from `start` on, in all as many as there are rows; others in every turn."""
        end = (turn + 1) * self.n_rows
        for first in range(turn * self.n_rows + start, end, BATCH_ROWS):
            rows = self.draws(first, min(BATCH_ROWS, end - first))
            indices = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])
            yield from self._table.take(indices).combine_chunks().to_batches()


def spool_stdin(wait: Callable[[int], None]) -> ParquetSource:
    """Return the Parquet file that arrives on stdin; it is read when it is there as a whole.

    Parameters
    ----------
    wait
        Is called with the descriptor before each read, and returns when there is something to read.

    """
    spool = tempfile.TemporaryFile()  # noqa: SIM115, as the source reads from it
    while True:
        wait(0)
        data = os.read(0, 1 << 20)
        if not data:
            break
        spool.write(data)
    if not spool.tell():
        raise SourceError(f"{STDIN}: nothing came on stdin")
    return ParquetSource(STDIN, pa.PythonFile(spool, "r"))


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without its full stop."""
    return str(error).partition("\n")[0].rstrip(". ")


def _open(path: str) -> pa.NativeFile:
    if "://" in path:
        filesystem, inner = pyarrow.fs.FileSystem.from_uri(path)
        return filesystem.open_input_file(inner)
    # Python's own errors are plainer than Arrow's.
    with open(path, "rb") as file:
        if not file.read(1):
            raise OSError(0, "the file is empty")
    return pa.OSFile(path)
