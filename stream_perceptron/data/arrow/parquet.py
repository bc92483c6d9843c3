"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from stream_perceptron.data.arrow.cells import list_texts
from stream_perceptron.data.arrow.rows import (
    MAX_DESCRIBED,
    ArrowInterpreter,
    ArrowRows,
    ArrowTable,
    rows_at_once,
    split_batches,
)
from stream_perceptron.data.arrow.types import declared_classes, is_list
from stream_perceptron.data.batch import BATCH_ROWS, MOST_BATCH_ROWS
from stream_perceptron.data.byte_stream import first_line, open_file, reason_of
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.source import Opening, Request, Source
from stream_perceptron.errors import SourceError

_BUFFER = 2**18  # bytes
_FOOTER_END = 8  # bytes after the footer: its length and the magic number
_FIRST_ROWS = 16  # read at once before the size of rows is known
_GROWTH = 4  # the largest ratio of the rows in a batch to those in the one before
_DECODED_BYTES = 2**26  # of a batch
_VALUE_BYTES = 8  # of a value in a list, at most
_DESCRIBED_BYTES = 2**22  # of unused columns, for notes


class ParquetSource(Source):
    """A Parquet file, read batch by batch."""

    def __init__(self, path: str, file: IO[bytes] | None = None) -> None:
        super().__init__(path)
        try:
            self._opened = open_file(path) if file is None else pa.PythonFile(file, "r")
            self._size = self._opened.size()
            if not self._size:
                raise OSError(0, "the file is empty")
            # Read through a buffer for each column; the default reads its whole row group.
            self._file = pq.ParquetFile(self._opened, buffer_size=_BUFFER, pre_buffer=False)
            self._last_batch_rows = 0
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

    def _table(self, request: Request) -> ArrowTable:
        return ArrowTable.open(self._file.schema_arrow, self.name, request)

    def open(self, request: Request) -> Opening:
        return self._table(request).opening

    def identities(self) -> list[Identity]:
        if self.is_stream:
            return [Identity.of_stream(self.name)]
        self.require_unchanged()
        # PyArrow can write the footer itself, but crashes with some damaged ones.
        length = self._file.metadata.serialized_size
        self._opened.seek(self._size - _FOOTER_END - length)
        footer = self._opened.read(length)
        return [Identity.of_file(self.name, self._size, footer, self.version)]

    @property
    def groups(self) -> list[int]:
        """The number of rows in each row group."""
        metadata = self._file.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def group_bytes(self, group: int) -> int:
        """Return the uncompressed size of a row group."""
        return int(self._file.metadata.row_group(group).total_byte_size)

    def rows_of_group(
        self, group: int, start: int, end: int, request: Request
    ) -> Iterator[ArrowRows]:
        """Yield the rows from `start` to `end` (exclusive) of one row group."""
        before, rows_left = sum(self.groups[:group]), end - start
        for rows in self._rows([group], before, start, request):
            yield rows[:rows_left]
            rows_left -= len(rows)
            if rows_left <= 0:
                return

    def rows(self, request: Request) -> Iterator[ArrowRows]:
        groups = self.groups
        first = before = 0
        while first < len(groups) and before + groups[first] <= request.start:
            before += groups[first]
            first += 1
        left = list(range(first, len(groups)))
        yield from self._rows(left, before, request.start - before, request)

    def _rows(
        self, groups: list[int], before: int, start: int, request: Request
    ) -> Iterator[ArrowRows]:
        """Yield the rows from `start` on of row groups; `before` rows precede these groups."""
        table = self._table(request)
        columns = list(range(len(table.names))) if request.holds_rejected else table.used
        batches = self._read(groups, before, start, columns)
        names = [table.names[i] for i in columns]
        yield from split_batches(batches, names, request.selection)

    def interpreter(self, request: Request) -> ArrowInterpreter:
        table = self._table(request)
        texts: dict[str, list[str]] = {}
        if table.ignored_texts and not request.start and any(self.groups):
            positions = [table.names.index(name) for name in table.ignored_texts]
            columns = zip(table.ignored_texts, self._read_first(positions).columns, strict=True)
            texts = {name: list_texts(column) for name, column in columns}
        return ArrowInterpreter(self.name, table, request, lambda rows: texts)

    def _read_first(self, columns: Sequence[int]) -> pa.Table:
        """Return the first rows of columns that are not used.

        They are at most 200, fewer if they are long, and end where the file is damaged.
        """
        schema = self._file.schema_arrow
        # An empty table made from a schema would import pandas, if that is installed.
        first = [pa.Table.from_batches([], pa.schema([schema.field(i) for i in columns]))]
        n_rows = n_bytes = 0
        group = next(group for group, size in enumerate(self.groups) if size)
        try:
            for batch in self._read_adaptively([group], columns, _FIRST_ROWS):
                first.append(pa.Table.from_batches([batch]))
                n_rows, n_bytes = n_rows + batch.num_rows, n_bytes + batch.nbytes
                if n_rows >= MAX_DESCRIBED or n_bytes > _DESCRIBED_BYTES:
                    break
        except MemoryError:
            raise
        except (OSError, pa.ArrowException):
            pass  # what is not used need not be readable
        return pa.concat_tables(first)

    def _read(
        self, groups: list[int], before: int, start: int, columns: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows from `start` on of row groups; `before` rows precede these groups."""
        sizes, together, n_rows = self.groups, [], 0
        for group in groups:
            together.append(group)
            n_rows += sizes[group]
            if n_rows >= MOST_BATCH_ROWS or group == groups[-1]:
                yield from self._read_together(together, n_rows, before, max(0, start), columns)
                before, start = before + n_rows, start - n_rows
                together, n_rows = [], 0

    def _read_together(
        self, groups: list[int], n_rows: int, before: int, start: int, columns: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of row groups that share batches."""
        limit = rows_at_once(sum(map(self.group_bytes, groups)), n_rows)
        while True:
            done = 0
            try:
                for batch in self._read_adaptively(groups, columns, limit):
                    done += batch.num_rows
                    rest = batch.slice(max(0, batch.num_rows - (done - start)))
                    if rest.num_rows:
                        yield rest
                        start = done
                return
            except MemoryError:
                raise
            except (OSError, pa.ArrowException) as error:
                if limit > BATCH_ROWS:
                    limit = BATCH_ROWS  # smaller batches come closer to the damage
                    continue
                raise SourceError(
                    f"{self.name}: damaged after row {before + start:,}: {first_line(error)}"
                ) from None

    def _read_adaptively(
        self, groups: list[int], columns: Sequence[int], limit: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most `limit` rows, and of few rows where these are long.

        Lists and texts may be much longer in later rows than in earlier ones. The number of values
        in a row group shows that such lists remain; these rows are read one by one.
        """
        leaves = self._leaves(columns)
        rows_left = sum(self.groups[group] for group in groups)
        values_left = self._count_list_values(groups, leaves)
        n = limit
        if any(_has_variable_size(self._file.schema_arrow.field(i).type) for i in columns):
            n = min(limit, max(_FIRST_ROWS, self._last_batch_rows))
        longest_mean = 0.0  # the largest mean length of lists in a batch
        reader = self._file.reader
        for batch in reader.iter_batches(
            n, row_groups=groups, column_indices=leaves, use_threads=False
        ):
            yield batch
            n_values = sum(_count_leaves(column) for column in batch.columns)
            rows_left, values_left = rows_left - batch.num_rows, values_left - n_values
            longest_mean = max(longest_mean, n_values / batch.num_rows)
            row_bytes = max(
                batch.get_total_buffer_size() / batch.num_rows,
                _VALUE_BYTES * values_left / max(rows_left, 1),
            )
            n = min(limit, _GROWTH * batch.num_rows, int(_DECODED_BYTES / max(row_bytes, 1)))
            if _VALUE_BYTES * (values_left - longest_mean * rows_left) > _DECODED_BYTES:
                n = 1
            self._last_batch_rows = n = max(n, 1)
            reader.set_batch_size(n)

    def _leaves(self, columns: Sequence[int]) -> list[int]:
        """Return the positions of the leaf columns below some columns of the Arrow schema."""
        starts = np.cumsum([0, *(_leaf_count(field.type) for field in self._file.schema_arrow)])
        return [leaf for i in columns for leaf in range(starts[i], starts[i + 1])]

    def _count_list_values(self, groups: Sequence[int], leaves: Sequence[int]) -> int:
        """Return the number of values in lists of some row groups, as their metadata says."""
        metadata = self._file.metadata
        lists = [i for i in leaves if metadata.schema.column(i).max_repetition_level > 0]
        return sum(metadata.row_group(g).column(i).num_values for g in groups for i in lists)


def _leaf_count(kind: pa.DataType) -> int:
    """Return the number of leaf columns that Parquet has for a column of this type."""
    if isinstance(kind, pa.BaseExtensionType):
        return _leaf_count(kind.storage_type)
    if types.is_struct(kind):
        return sum(_leaf_count(field.type) for field in kind)
    if types.is_map(kind):
        return _leaf_count(kind.key_type) + _leaf_count(kind.item_type)
    return _leaf_count(kind.value_type) if is_list(kind) else 1


def _has_variable_size(kind: pa.DataType) -> bool:
    return not (types.is_primitive(kind) or types.is_fixed_size_binary(kind) or types.is_null(kind))


def _count_leaves(column: pa.Array) -> int:
    """Return the number of values in the lists of a column; 0 if it has no lists."""
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    if not is_list(column.type):
        return 0
    while is_list(column.type):
        column = column.flatten()
    return len(column)
