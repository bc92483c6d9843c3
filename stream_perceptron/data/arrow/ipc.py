"""Arrow IPC streams and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain, islice
from typing import Any

import pyarrow as pa
from pyarrow import types

from stream_perceptron.data.arrow.source import (
    choose_batch_rows,
    find_arrow_layout,
    read_rows,
)
from stream_perceptron.data.arrow.types import read_declared_classes
from stream_perceptron.data.batch import Batch
from stream_perceptron.data.input.bytes import (
    ByteInput,
    first_line,
    open_seekable_file,
)
from stream_perceptron.data.input.positions import require_same_content
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.source import BatchReader, Source
from stream_perceptron.errors import SourceError

_FILE_MAGIC = b"ARROW1\0\0"


class ArrowSource(Source):
    """An Arrow IPC stream or file, read message by message."""

    def __init__(self, stream: ByteInput) -> None:
        super().__init__(stream)
        self._is_file = stream.peek(len(_FILE_MAGIC)) == _FILE_MAGIC
        reader = self._file if self._is_file else self._open_stream(stream)
        self._stream: Any = reader if self.is_stream else None
        self._columns: pa.Schema = reader.schema

    @cached_property
    def _file(self) -> Any:
        """A reader of the file, whose index is at its end, so that all of it is needed."""
        return self._open(pa.ipc.open_file, open_seekable_file(self.open_input()))

    def _close(self) -> None:
        super()._close()
        vars(self).pop("_file", None)

    @property
    def classes(self) -> list[object] | None:
        return read_declared_classes(self._columns)

    def find_layout(self, request: ReadRequest) -> Layout:
        return find_arrow_layout(self._columns, self.name, request)

    def read_batches(self, batches: BatchReader, request: ReadRequest) -> Iterator[Batch]:
        stream, start = self.open_input(), 0
        if not self.is_stream:
            stream, start = self.take_bytes(), request.position.rows
            require_same_content(stream, request.position)
        return read_rows(self._read(stream, start), batches.columns.layout.columns, batches)

    def peek_batches(self, batches: BatchReader) -> Iterator[Batch]:
        if self.is_stream and not self._is_file:
            first = list(islice(self._stream, 1))
            self._stream = chain(first, self._stream)
        else:
            first = list(islice(self._read(self.open_input(), 0), 1))
        return read_rows(first, batches.columns.layout.columns, batches)

    def _read(self, stream: ByteInput, start: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from `start` on."""
        n_read = 0
        try:
            for batch in self._batches(stream):
                for column in batch.columns:
                    _require_valid(column)
                n_read += batch.num_rows
                rest = batch.slice(max(0, batch.num_rows - (n_read - start)))
                # `nbytes` fails for string views in older versions of Arrow.
                max_rows = choose_batch_rows(rest.get_total_buffer_size(), rest.num_rows)
                for first in range(0, rest.num_rows, max_rows):
                    yield rest.slice(first, max_rows)
        except MemoryError:
            raise
        except (OSError, pa.ArrowException) as error:
            if stream.is_interrupted:
                return
            raise SourceError(
                f"{self.name}: damaged after row {n_read:,}: {first_line(error)}"
            ) from None

    def _batches(self, stream: ByteInput) -> Iterator[pa.RecordBatch]:
        """Yield all record batches of the source."""
        if self._is_file:
            yield from map(self._file.get_batch, range(self._file.num_record_batches))
        elif self.is_stream:
            yield from self._stream
        else:
            stream.rewind()
            yield from self._open_stream(stream)

    def _open_stream(self, start: ByteInput) -> Any:
        return self._open(pa.ipc.open_stream, pa.PythonFile(start, "r"))

    def _open(self, open_reader: Callable[..., object], file: pa.NativeFile) -> object:
        """Return a reader for an Arrow file or stream; turn errors into a SourceError."""
        try:
            # No threads: they might release Python's bytes after Python has shut down.
            return open_reader(file, options=pa.ipc.IpcReadOptions(use_threads=False))
        except (OSError, pa.ArrowException) as error:
            kind = "file" if open_reader is pa.ipc.open_file else "stream"
            raise SourceError(
                f"{self.name}: not an Arrow {kind}, or truncated ({first_line(error)})"
            ) from None


def _require_valid(column: pa.Array) -> None:
    """Check offsets and indices, which Arrow trusts; a string that is not UTF-8 rejects its row.

    Raises
    ------
    pyarrow.ArrowException
        If the column is damaged.

    """
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        if isinstance(column, pa.DictionaryArray):
            values = column.dictionary.view(_to_binary_type(column.dictionary.type))
            column = pa.DictionaryArray.from_arrays(column.indices, values, safe=False)
        column.view(_to_binary_type(column.type)).validate(full=True)


def _to_binary_type(data_type: pa.DataType) -> pa.DataType:
    """Return a type of strings, or of lists of strings, as one of bytes; others are unchanged."""
    if types.is_string(data_type):
        return pa.binary()
    if types.is_large_string(data_type):
        return pa.large_binary()
    return (
        pa.list_(_to_binary_type(data_type.value_type)) if types.is_list(data_type) else data_type
    )
