"""Rows of Arrow record batches, and the roles of their columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from stream_perceptron.data.arrow.cells import convert_columns, require_pillow
from stream_perceptron.data.arrow.types import (
    describe_type,
    is_number,
    resolve_label_type,
)
from stream_perceptron.data.batch import BATCH_ROWS, MAX_BATCH_ROWS, Batch
from stream_perceptron.data.layout import ARROW, Layout
from stream_perceptron.data.meaning import roles
from stream_perceptron.data.meaning.tables import find_table_layout
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.source import Batches
from stream_perceptron.errors import SourceError

_BATCH_BYTES = 2**22


def find_arrow_layout(columns: pa.Schema, where: str, request: ReadRequest) -> Layout:
    """Return the layout of rows with these columns.

    Raises
    ------
    SourceError
        If the columns do not fit the model, or a column named in the read options is missing.

    """
    try:
        columns = pa.schema([field.with_name(field.name.strip()) for field in columns])
    except UnicodeDecodeError:
        raise SourceError(f"{where}: the name of a column is not UTF-8") from None
    names = columns.names
    roles.require_distinct_names(names, where)
    options = roles.resolve_columns(request.read_options, names, where, request.to_learn)
    if options.weight is not None and not is_number(columns.field(options.weight).type):
        kind = columns.field(options.weight).type
        raise SourceError(
            f"{where}: weight column {options.weight!r} is of type {kind}, which is not numeric"
        )
    layout = find_table_layout(
        request, options, names, where, record_format=ARROW, has_column_names=True,
        types={field.name: describe_type(field.type) for field in columns},
    )  # fmt: skip
    if layout.is_list:
        require_pillow(columns.field(layout.key).type)
    if options.label is None:
        return layout
    label_type = resolve_label_type(columns.field(options.label).type, options.label, where)
    if label_type is not None:
        request.schema.with_label_type(label_type, where)
    return replace(layout, label_type=label_type)


def find_used_columns(layout: Layout) -> list[int]:
    """Return the positions of the columns that are read, in ascending order."""
    options = layout.read_options
    features = [layout.key] if layout.is_list else layout.feature_columns
    names = {layout.label, *options.roles, *features}
    names = names.difference(options.ignore).union(options.passthrough, options.position)
    return [i for i, name in enumerate(layout.columns) if name in names]


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
                converted = convert_columns(rows, columns, batches.source_name)
                is_rejected = np.zeros(rows.num_rows, np.uint8)
                is_rejected[list(converted.errors)] = 1
            end = min(start + batches.max_rows, rows.num_rows)
            block = columns.read_arrow(converted.columns, start, end, is_rejected, converted.errors)
            start = block.end
            yield batches.build(block)


def choose_batch_rows(size: int, n_rows: int) -> int:
    """Return the maximum number of rows in a batch, given the size in bytes of n_rows rows."""
    return min(MAX_BATCH_ROWS, max(BATCH_ROWS, _BATCH_BYTES * n_rows // max(size, 1)))
