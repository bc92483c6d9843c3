"""Rows of Arrow record batches, and the roles of their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from stream_perceptron.data import roles
from stream_perceptron.data.arrow.cells import convert_columns, require_pillow
from stream_perceptron.data.arrow.types import (
    describe_type,
    find_index_columns,
    is_number,
    resolve_label_type,
)
from stream_perceptron.data.batch import BATCH_ROWS, MAX_BATCH_ROWS, Batch
from stream_perceptron.data.columns import ARROW, Columns
from stream_perceptron.data.naming import is_pixel
from stream_perceptron.data.request import Request
from stream_perceptron.data.source import Batches, Opening, are_pixels, build_opening
from stream_perceptron.data.tables import find_table_layout
from stream_perceptron.encoders import name_vector_elements
from stream_perceptron.errors import SourceError

_BATCH_BYTES = 2**22


@dataclass(frozen=True, eq=False, repr=False)
class ArrowTable:
    """The columns of an Arrow source, and their use.

    Attributes
    ----------
    opening
        The layout of the rows, and the schema as if the first row had been learned.
    used
        The positions of the columns that are read, in ascending order.

    """

    opening: Opening
    used: list[int]
    _columns: pa.Schema

    @classmethod
    def open(cls, columns: pa.Schema, where: str, request: Request) -> ArrowTable:
        """Return the table of a source for a request.

        Raises
        ------
        SourceError
            If the columns do not fit the model, or a column named in the read options is missing.

        """
        try:
            names = columns.names
        except UnicodeDecodeError:
            raise SourceError(f"{where}: the name of a column is not UTF-8") from None
        roles.require_distinct_names(names, where)
        options = roles.resolve_columns(request.read_options, names, where, request.to_learn)
        if options.weight is not None and not is_number(columns.field(options.weight).type):
            kind = columns.field(options.weight).type
            raise SourceError(
                f"{where}: weight column {options.weight!r} is of type {kind}, which is not numeric"
            )
        column_types = {field.name: describe_type(field.type) for field in columns}
        layout = find_table_layout(
            request, options, names, where, form=ARROW, has_column_names=True, types=column_types
        )
        features, schema = layout.candidates, Columns(layout, request).schema
        if layout.is_list:
            features = [layout.key]
            require_pillow(columns.field(layout.key).type)
        if options.label is not None:
            kind = columns.field(options.label).type
            if label_type := resolve_label_type(kind, options.label, where):
                schema = schema.with_label_type(label_type, where)
        columns_to_read = {options.label, *options.roles, *features}
        columns_to_read = columns_to_read.difference(options.ignore).union(
            options.passthrough, options.position
        )
        used = [i for i, name in enumerate(names) if name in columns_to_read]
        return cls(build_opening(layout, schema, None, layout.declared_numbers), used, columns)

    def open_with_pixels(self, batches: Callable[[], Iterator[Batch | None]]) -> Opening:
        """Return the opening; if numbers may be pixels, the first row decides whether they are."""
        opening, layout = self.opening, self.opening.layout
        if opening.is_table:
            return opening
        if layout.has_bytes:
            return opening._replace(has_pixels=True)
        if layout.is_list and not is_pixel(name_vector_elements(layout.key, 1)[0]):
            return opening
        rows = (row for batch in batches() if batch for row in batch.features.dicts())
        first = next(rows, None)
        return opening._replace(has_pixels=first is not None and are_pixels(first))

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        return list(self._columns.names)

    @property
    def row_ids(self) -> list[str]:
        """The columns that were the index of a DataFrame."""
        return find_index_columns(self._columns)


def read_rows(
    record_batches: Iterable[pa.RecordBatch], names: Sequence[str], batches: Batches
) -> Iterator[Batch]:
    """Yield the rows of record batches; `names` are the names of their columns."""
    for rows in record_batches:
        if rows.schema.names != list(names):
            rows = rows.rename_columns(list(names))
        columns, start = None, 0
        while start < rows.num_rows:
            batches.before_read()
            if columns is not batches.columns:
                columns = batches.columns
                converted = convert_columns(rows, columns)
            end = min(start + batches.max_rows, rows.num_rows)
            block = columns.read_arrow(
                converted.buffers, start, end, rows.num_rows, converted.errors
            )
            start = block.end
            yield batches.build(block)


def choose_batch_rows(size: int, n_rows: int) -> int:
    """Return the maximum number of rows in a batch, given the size in bytes of n_rows rows."""
    return min(MAX_BATCH_ROWS, max(BATCH_ROWS, _BATCH_BYTES * n_rows // max(size, 1)))
