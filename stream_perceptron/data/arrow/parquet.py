"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from stream_perceptron.data.arrow.source import (
    choose_batch_rows,
    find_arrow_layout,
    find_used_columns,
    read_rows,
)
from stream_perceptron.data.arrow.types import is_list, read_declared_classes
from stream_perceptron.data.batch import MAX_BATCH_ROWS, Batch
from stream_perceptron.data.input.bytes import (
    ByteInput,
    first_line,
    format_reason,
    open_seekable_file,
)
from stream_perceptron.data.input.positions import require_same_content
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.source import BatchReader, Source
from stream_perceptron.errors import SourceError

_BUFFER_SIZE = 2**18  # bytes
_MAX_DECODED_BYTES = 2**23  # of a batch of rows of average length; PyArrow takes four times as much
_VALUE_BYTES = 8  # the maximum size of a value in a list


class ParquetSource(Source):
    """A Parquet file, read batch by batch."""

    def __init__(self, stream: ByteInput) -> None:
        super().__init__(stream)
        self._n_rows = int(self._file.metadata.num_rows)
        self._classes = read_declared_classes(self._file.schema_arrow)

    @cached_property
    def _file(self) -> pq.ParquetFile:
        """The open file."""
        try:
            file = open_seekable_file(self.open_input())
            if not file.size():
                raise OSError(0, "the file is empty")
            # Use a buffer for each column; by default, whole column chunks are read.
            return pq.ParquetFile(file, buffer_size=_BUFFER_SIZE, pre_buffer=False)
        except UnicodeDecodeError:
            raise SourceError(f"{self.name}: the name of a column is not UTF-8") from None
        except (OSError, pa.ArrowException) as error:
            # System errors have a number; others concern the file's content.
            reason = format_reason(error)
            if not isinstance(error, OSError) or error.errno is None:
                reason = f"not a Parquet file, or truncated ({reason})"
            raise SourceError(f"{self.name}: {reason}") from None

    def _close(self) -> None:
        super()._close()
        for name in ("_file", "groups"):
            vars(self).pop(name, None)

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return self._n_rows

    @property
    def classes(self) -> list[object] | None:
        return self._classes

    def find_layout(self, request: ReadRequest) -> Layout:
        return find_arrow_layout(self._file.schema_arrow, self.name, request)

    @cached_property
    def rows_by_group(self) -> list[int]:
        """The number of rows in each row group."""
        metadata = self._file.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def get_row_group_bytes(self, group: int) -> int:
        """Return the uncompressed size of a row group."""
        return int(self._file.metadata.row_group(group).total_byte_size)

    def read_batches(self, batches: BatchReader, request: ReadRequest) -> Iterator[Batch]:
        if not self.is_stream:
            require_same_content(self.take_bytes(), request.position)
        groups, start = self.rows_by_group, 0 if self.is_stream else request.position.rows
        first = n_rows_before = 0
        while first < len(groups) and n_rows_before + groups[first] <= start:
            n_rows_before += groups[first]
            first += 1
        left, layout = list(range(first, len(groups))), batches.columns.layout
        columns = find_used_columns(layout)
        rows = self._read(left, n_rows_before, start - n_rows_before, columns)
        return read_rows(rows, [layout.columns[i] for i in columns], batches)

    def peek_batches(self, batches: BatchReader) -> Iterator[Batch]:
        layout, groups = batches.columns.layout, list(range(len(self.rows_by_group)))
        columns = find_used_columns(layout)
        rows = self._read(groups, 0, 0, columns)
        return read_rows(rows, [layout.columns[i] for i in columns], batches)

    def _read(
        self, groups: list[int], n_rows_before: int, start: int, columns: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of row groups from `start` on; `n_rows_before` rows precede the groups."""
        sizes, shared_groups, n_rows = self.rows_by_group, [], 0
        for group in groups:
            shared_groups.append(group)
            n_rows += sizes[group]
            if n_rows >= MAX_BATCH_ROWS or group == groups[-1]:
                yield from self._read_groups(
                    shared_groups, n_rows, n_rows_before, max(0, start), columns
                )
                n_rows_before, start = n_rows_before + n_rows, start - n_rows
                shared_groups, n_rows = [], 0

    def _read_groups(
        self, groups: list[int], n_rows: int, n_rows_before: int, start: int, columns: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of row groups that are read together."""
        max_rows = choose_batch_rows(sum(map(self.get_row_group_bytes, groups)), n_rows)
        n_read = 0
        try:
            for batch in self._decode_groups(groups, columns, max_rows):
                n_read += batch.num_rows
                rest = batch.slice(max(0, batch.num_rows - (n_read - start)))
                if rest.num_rows:
                    yield rest
                    start = n_read
        except MemoryError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise SourceError(
                f"{self.name}: damaged after row {n_rows_before + start:,}: {first_line(error)}"
            ) from None

    def _decode_groups(
        self, groups: Sequence[int], columns: Sequence[int], max_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most `max_rows` rows, or fewer if rows are long on average."""
        leaves = self._find_leaf_columns(columns)
        n_rows = sum(self.rows_by_group[group] for group in groups)
        n_bytes = max(
            sum(map(self.get_row_group_bytes, groups)),
            _VALUE_BYTES * self._count_list_values(groups, leaves),
        )
        n = min(max_rows, max(1, _MAX_DECODED_BYTES * n_rows // max(n_bytes, 1)))
        return self._file.reader.iter_batches(  # type: ignore[no-any-return]
            n, row_groups=groups, column_indices=leaves, use_threads=False
        )

    def _find_leaf_columns(self, columns: Sequence[int]) -> list[int]:
        """Return the positions of the leaf columns below columns of the Arrow schema."""
        starts = np.cumsum(
            [0, *(_count_leaf_columns(field.type) for field in self._file.schema_arrow)]
        )
        return [leaf for i in columns for leaf in range(starts[i], starts[i + 1])]

    def _count_list_values(self, groups: Sequence[int], leaves: Sequence[int]) -> int:
        """Return the number of list values in row groups, according to the file's metadata."""
        metadata = self._file.metadata
        lists = [i for i in leaves if metadata.schema.column(i).max_repetition_level > 0]
        return sum(metadata.row_group(g).column(i).num_values for g in groups for i in lists)


def _count_leaf_columns(data_type: pa.DataType) -> int:
    """Return the number of leaf columns that Parquet uses for a column of this type."""
    if isinstance(data_type, pa.BaseExtensionType):
        return _count_leaf_columns(data_type.storage_type)
    if types.is_struct(data_type):
        return sum(_count_leaf_columns(field.type) for field in data_type)
    if types.is_map(data_type):
        return _count_leaf_columns(data_type.key_type) + _count_leaf_columns(data_type.item_type)
    return _count_leaf_columns(data_type.value_type) if is_list(data_type) else 1
