"""Arrow IPC streams and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.byte_stream import ByteStream, first_line, open_bytes, open_file
from stream_perceptron.data.columns import ColumnDecoder
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.parquet import declared_classes, rows_at_once
from stream_perceptron.data.source import Fit, Request, Source
from stream_perceptron.errors import SourceError

_FILE = b"ARROW1\0\0"


class ArrowSource(Source):
    """An Arrow IPC stream, or a file in that format, read message by message."""

    def __init__(self, path: str, start: ByteStream) -> None:
        super().__init__(path)
        self._reader = self._open(start)
        self._columns = self._reader.schema

    @property
    def classes(self) -> list[Any] | None:
        return declared_classes(self._columns)

    def fit(self, request: Request) -> Fit:
        return ColumnDecoder(self._columns, self.name, request).fit

    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        if self.is_stream:
            return [Identity.of_stream(self.name)]
        with open_file(self.path) as file:
            schema = self._columns.serialize().to_pybytes()
            return [Identity.of_file(self.name, file.size(), schema, self.version)]

    def batches(self, request: Request) -> Iterator[Batch]:
        decoder = ColumnDecoder(self._columns, self.name, request)
        yield from decoder.batches(self._read(request.start), request.start + 1)

    def _read(self, start: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from `start` on."""
        reader = self._reader if self.is_stream else self._open(open_bytes(self.path))
        done = 0
        try:
            for batch in reader:
                # Arrow believes what a stream says of where texts and lists begin and end.
                batch.validate(full=True)
                done += batch.num_rows
                rest = batch.slice(max(0, batch.num_rows - (done - start)))
                rows = rows_at_once(rest.nbytes, rest.num_rows)
                for first in range(0, rest.num_rows, rows):
                    yield rest.slice(first, rows)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(
                f"{self.name}: damaged after row {done:,}: {first_line(error)}"
            ) from None

    def _open(self, start: ByteStream) -> pa.RecordBatchReader:
        if start.peek(len(_FILE)) == _FILE:
            # Behind its first bytes an Arrow file is a stream, and then an index.
            start.read(len(_FILE))
        try:
            # No threads: they may let go of Python's bytes when Python has ended already.
            options = pa.ipc.IpcReadOptions(use_threads=False)
            return pa.ipc.open_stream(pa.PythonFile(start, "r"), options=options)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{self.name}: not an Arrow stream ({first_line(error)})") from None
