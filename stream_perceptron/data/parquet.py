"""Sources of rows: files and streams as Arrow record batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from stream_perceptron.data.byte_stream import first_line, open_file
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.source import BATCH_ROWS, Source, rows_at_once
from stream_perceptron.errors import SourceError

__all__ = [
    "ParquetSource",
]


_BUFFER = 2**18  # bytes


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
        most = rows_at_once(n_bytes, sum(sizes[group] for group in groups))
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
