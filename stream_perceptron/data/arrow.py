"""Arrow IPC streams and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from stream_perceptron.data.byte_stream import Input, first_line, open_file, open_input
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.source import ARROW_FILE, Source, rows_at_once
from stream_perceptron.errors import SourceError

__all__ = ["ArrowSource"]


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
                rows = rows_at_once(rest.nbytes, rest.num_rows)
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
