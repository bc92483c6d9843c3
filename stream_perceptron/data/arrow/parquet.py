"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from stream_perceptron.data.arrow.columns import ColumnDecoder, declared_classes, rows_at_once
from stream_perceptron.data.arrow.pages import longest_value
from stream_perceptron.data.batch import BATCH_ROWS, MOST_BATCH_ROWS, Batch
from stream_perceptron.data.byte_stream import first_line, open_file, reason_of
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.source import Request, SingleSource
from stream_perceptron.errors import SourceError

_DECODED_BYTES = 2**26
_BUFFER = 2**18  # bytes


class ParquetSource(SingleSource):
    """A Parquet file, read batch by batch."""

    def __init__(self, path: str, file: IO[bytes] | None = None) -> None:
        super().__init__(path)
        try:
            opened = open_file(path) if file is None else pa.PythonFile(file, "r")
            self._opened, self._size = opened, opened.size()
            if not self._size:
                raise OSError(0, "the file is empty")
            # Read through a buffer for each column; the default reads its whole row group.
            self._file = pq.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False)
        except UnicodeDecodeError:
            raise SourceError(f"{self.name}: the name of a column is not UTF-8") from None
        except (OSError, pa.ArrowException) as error:
            # Errors of the system have a number; others concern the file's content.
            reason = reason_of(error)
            if not isinstance(error, OSError) or error.errno is None:
                reason = f"not a Parquet file, or truncated ({reason})"
            raise SourceError(f"{self.name}: {reason}") from None

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return int(self._file.metadata.num_rows)

    @property
    def classes(self) -> list[Any] | None:
        return declared_classes(self._file.schema_arrow)

    def _prepare(self, request: Request) -> ColumnDecoder:
        return ColumnDecoder(self._file.schema_arrow, self.name, request)

    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        if self.is_stream:
            return [Identity.of_stream(self.name)]
        footer = pa.BufferOutputStream()
        self._file.metadata.write_metadata_file(footer)
        content = footer.getvalue().to_pybytes()
        return [Identity.of_file(self.name, self._size, content, self.version)]

    @property
    def groups(self) -> list[int]:
        """The number of rows in each row group."""
        metadata = self._file.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    @property
    def n_bytes(self) -> int:
        """The uncompressed size of all row groups."""
        return sum(map(self.group_bytes, range(len(self.groups))))

    def group_bytes(self, group: int) -> int:
        """Return the uncompressed size of a row group."""
        return int(self._file.metadata.row_group(group).total_byte_size)

    def group(self, group: int, request: Request) -> Iterator[Batch]:
        """Yield the rows of one row group, as `batches` does."""
        first = sum(self.groups[:group])
        asked = replace(request, start=first)
        batches: Iterator[Batch] = self.prepared(asked).batches(
            self._read([group], first, 0), asked
        )
        return batches

    def batches(self, request: Request) -> Iterator[Batch]:
        groups = self.groups
        first = before = 0
        while first < len(groups) and before + groups[first] <= request.start:
            before += groups[first]
            first += 1
        rest = self._read(list(range(first, len(groups))), before, request.start - before)
        yield from self.prepared(request).batches(rest, request)

    def _read(self, groups: list[int], before: int, start: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from `start` on of row groups; `before` rows precede these groups."""
        sizes, together, n_rows = self.groups, [], 0
        for group in groups:
            together.append(group)
            n_rows += sizes[group]
            if n_rows >= MOST_BATCH_ROWS or group == groups[-1]:
                yield from self._read_together(together, n_rows, before, max(0, start))
                before, start = before + n_rows, start - n_rows
                together, n_rows = [], 0

    def _read_together(
        self, groups: list[int], n_rows: int, before: int, start: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of row groups that share batches."""
        most = None
        while True:
            done = 0
            try:
                most = most or self._most_rows(groups, n_rows)
                for batch in self._file.iter_batches(most, row_groups=groups, use_threads=False):
                    done += batch.num_rows
                    rest = batch.slice(max(0, batch.num_rows - (done - start)))
                    if rest.num_rows:
                        yield rest
                        start = done
                return
            except (OSError, pa.ArrowException) as error:
                if most is not None and most > BATCH_ROWS:
                    most = BATCH_ROWS  # smaller batches come closer to the damage
                    continue
                raise SourceError(
                    f"{self.name}: damaged after row {before + start:,}: {first_line(error)}"
                ) from None

    def _most_rows(self, groups: list[int], n_rows: int) -> int:
        """Return the number of rows to read at once, by the headers of pages."""
        longest = max(longest_value(self._opened, self._file.metadata, group) for group in groups)
        most = rows_at_once(sum(map(self.group_bytes, groups)), n_rows)
        return max(1, min(most, _DECODED_BYTES // max(longest, self._first_row_bytes)))

    @cached_property
    def _first_row_bytes(self) -> int:
        """The decoded size of the first row, a guess for lists (pages do not show it); or 1."""
        if not any(types.is_nested(column.type) for column in self._file.schema_arrow):
            return 1
        try:
            longest_value(self._opened, self._file.metadata, 0)
            first = next(self._file.iter_batches(1, use_threads=False), None)
        except (OSError, pa.ArrowException):
            return 1  # reading will report it
        return max(1, 0 if first is None else int(first.nbytes))
