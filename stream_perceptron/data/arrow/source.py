"""Rows of Arrow record batches, and the roles of their columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from stream_perceptron.data.arrow.cells import convert_columns, require_pillow
from stream_perceptron.data.arrow.types import (
    describe_type,
    is_numeric_type,
    resolve_label_type,
)
from stream_perceptron.data.batch import BATCH_ROWS, MAX_BATCH_ROWS, Batch
from stream_perceptron.data.layout import Format, Layout, compiled
from stream_perceptron.data.meaning.tables import (
    find_table_layout,
    require_distinct_names,
    resolve_columns,
)
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.source import BatchReader
from stream_perceptron.errors import Reason, SourceError

_BATCH_BYTES = 2**22


class ArrowFormat(Format):
    """Rows of Arrow record batches."""

    scanner = compiled.ARROW
    has_typed_cells = True

    def decode(self, cell_kind: int, content: bytes) -> object:
        text = content.decode()
        if cell_kind == compiled.TEXT:
            return text
        try:
            return json.loads(text)
        except json.JSONDecodeError:  # inf
            return float(text)

    def explain_rejection(self, record: bytes) -> Reason:
        raise NotImplementedError  # rows are not malformed


def find_arrow_layout(columns: pa.Schema, source_name: str, request: ReadRequest) -> Layout:
    """Return the layout of rows with these columns.

    Raises
    ------
    SourceError
        If the columns do not fit the model, or a column named in the read options is missing.

    """
    try:
        columns = pa.schema([field.with_name(field.name.strip()) for field in columns])
    except UnicodeDecodeError:
        raise SourceError(f"{source_name}: the name of a column is not UTF-8") from None
    names = columns.names
    require_distinct_names(names, source_name)
    options = resolve_columns(request, names, source_name, request.to_learn)
    if options.weight is not None and not is_numeric_type(columns.field(options.weight).type):
        kind = columns.field(options.weight).type
        raise SourceError(
            f"{source_name}: weight column {options.weight!r} is of type {kind}, which is not "
            "numeric"
        )
    layout = find_table_layout(
        request, options, names, source_name, record_format=ArrowFormat(), has_column_names=True,
        types={field.name: describe_type(field.name, field.type) for field in columns},
    )  # fmt: skip
    if layout.key is not None:
        require_pillow(columns.field(layout.key).type)
    if options.label is None:
        return layout
    label_type = resolve_label_type(columns.field(options.label).type, options.label, source_name)
    if label_type is not None:
        request.schema.with_label_type(label_type, source_name)
    return replace(layout, label_type=label_type)


def find_used_columns(layout: Layout) -> list[int]:
    """Return the positions of the columns that are read, in ascending order."""
    options = layout.read_options
    features = layout.feature_columns if layout.key is None else [layout.key]
    names = {layout.label, *options.columns_with_role, *features}
    names = names.difference(options.ignore).union(options.passthrough, options.position)
    return [i for i, name in enumerate(layout.columns) if name in names]


def read_rows(
    record_batches: Iterable[pa.RecordBatch], names: Sequence[str], batches: BatchReader
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
            columns.kept.first_row = start
            records = columns.read_block(
                columns.reader.read_arrow, converted.columns, start, end, is_rejected,
                converted.errors,
            )  # fmt: skip
            start = records.end
            yield batches.build(records)


def choose_batch_rows(n_bytes: int, n_rows: int) -> int:
    """Return the maximum number of rows in a batch, given the size in bytes of n_rows rows."""
    return min(MAX_BATCH_ROWS, max(BATCH_ROWS, _BATCH_BYTES * n_rows // max(n_bytes, 1)))
