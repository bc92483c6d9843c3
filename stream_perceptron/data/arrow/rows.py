"""Rows of Arrow record batches, and the roles of their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from pyarrow import types

from stream_perceptron.data import roles
from stream_perceptron.data.arrow.cells import convert_columns, convert_row, require_pillow
from stream_perceptron.data.arrow.types import (
    describe_type,
    find_index_columns,
    is_date,
    is_list,
    is_number,
    is_text,
    resolve_label_type,
)
from stream_perceptron.data.batch import BATCH_ROWS, MAX_BATCH_ROWS, Batch, ContentReader
from stream_perceptron.data.columns import ARROW, Columns
from stream_perceptron.data.layout import Kind
from stream_perceptron.data.naming import is_pixel_column
from stream_perceptron.data.notices import NOT_IN_MODEL, ColumnSummary, Notice, describe_columns
from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import Batches, Opening, are_pixels, build_opening
from stream_perceptron.data.tables import find_table_layout, raise_no_features
from stream_perceptron.errors import SourceError

MAX_DESCRIBED = 200  # the number of rows at the start whose strings are examined for notices

_BATCH_BYTES = 2**22


@dataclass(frozen=True, eq=False, repr=False)
class ArrowTable:
    """The columns of an Arrow source, and their use.

    Attributes
    ----------
    opening
        The layout of the rows, and the schema inferred from the types of the columns.
    used
        The positions of the columns that are read, in ascending order.
    ignored_texts
        The unused columns of strings.

    """

    opening: Opening
    used: list[int]
    ignored_texts: list[str]
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
            names = roles.rename_ignored_duplicates(columns.names, request.read_options, where)
        except UnicodeDecodeError:
            raise SourceError(f"{where}: the name of a column is not UTF-8") from None
        if names != columns.names:
            fields = [field.with_name(n) for field, n in zip(columns, names, strict=True)]
            columns = pa.schema(fields, columns.metadata)
        options = roles.resolve_columns(request.read_options, names, where, request.to_learn)
        _require_types(columns, options, where)
        column_types = {field.name: describe_type(field.type) for field in columns}
        column_types |= {n: column_types[n]._replace(kind=Kind.TEXT) for n in options.dates}
        layout = find_table_layout(
            request, options, names, where, form=ARROW, has_column_names=True, types=column_types
        )
        schema, features = request.schema, [*layout.declared_numbers]
        if layout.is_list:
            features = [layout.key]
            require_pillow(columns.field(layout.key).type)
        elif not features and not layout.encodings and (layout.candidates or not options.has_join):
            raise_no_features({name: column_types[name].name for name in layout.candidates}, where)
        else:
            schema = Columns(layout, request).infer_schema()
        if options.label is not None:
            kind = columns.field(options.label).type
            if label_type := resolve_label_type(kind, options.label, where):
                schema = schema.with_label_type(label_type, where)
        encoded = {encoding.column for encoding in layout.encodings}
        columns_to_read = {options.label, *options.roles, *encoded, *features}
        columns_to_read = columns_to_read.difference(options.ignore).union(options.passthrough)
        ignored_texts = [
            name
            for name in layout.candidates
            if column_types[name].kind is Kind.TEXT and name not in columns_to_read
        ]
        used = [i for i, name in enumerate(names) if name in columns_to_read]
        return cls(build_opening(layout, schema, None), used, ignored_texts, columns)

    def open_with_pixels(self, batches: Callable[[], Iterator[Batch | None]]) -> Opening:
        """Return the opening; if numbers may be pixels, the first row decides whether they are."""
        opening, layout = self.opening, self.opening.layout
        if opening.is_table:
            return opening
        if layout.has_bytes:
            return opening._replace(has_pixels=True)
        if layout.is_list and not is_pixel_column(layout.key):
            return opening
        rows = (row for batch in batches() if batch for row in batch.features.dicts())
        first = next(rows, None)
        return opening._replace(has_pixels=first is not None and are_pixels(first))

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        return list(self._columns.names)

    def describe(
        self, texts: Mapping[str, list[str]], members: Sequence[str]
    ) -> tuple[Notice, ...]:
        """Return notices about the used and ignored columns.

        `texts` are the first strings of ignored columns; `members` are the names of the elements of
        the list that holds the features, if there is one.
        """
        layout, schema = self.opening.layout, self.opening.schema
        options, column_types = layout.read_options, layout.types
        features: Sequence[str] = [*layout.declared_numbers]
        columns, location = features, ""
        if layout.is_list:
            features, columns = members, [layout.key]
            location = f" from column {layout.key!r}"
        ignored = {
            name: NOT_IN_MODEL
            for name in self.names
            if name in layout.unknown_columns
            and column_types[name].kind in (Kind.NUMBER, Kind.LIST)
        }
        encoded = {encoding.column for encoding in layout.encodings}
        used = {*columns, *texts, *layout.unknown_columns, *encoded}
        ignored |= {name: column_types[name].name for name in layout.candidates if name not in used}
        ignored |= dict.fromkeys(options.ignore, "--ignore")
        summary = ColumnSummary(
            features,
            location,
            sorted({layout.find_scale(column) for column in columns}),
            options.label,
            ignored,
            texts,
            {
                name: option
                for name in ignored
                if name not in options.ignore and (option := self._find_encoding(name))
            },
            find_index_columns(self._columns),
        )
        return describe_columns(options, schema, summary)

    def _find_encoding(self, name: str) -> str | None:
        """Return the option that encodes a column of dates or of lists of strings."""
        kind = self._columns.field(name).type
        if is_date(kind):
            return "dates"
        return "one_hot" if is_list(kind) and is_text(kind.value_type) else None


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
            first, start = start, block.end
            yield batches.build(block, partial(_make_content_reader, rows, first))


def _make_content_reader(rows: pa.RecordBatch, first: int, i: int) -> ContentReader:
    return partial(convert_row, rows.slice(first + i, 1))


def _require_types(columns: pa.Schema, options: ReadOptions, where: str) -> None:
    """Check the types of the weight column and of the encoded columns."""
    for option, name in options.encodings:
        kind = columns.field(name).type
        are_texts = is_text(kind) or (is_list(kind) and is_text(kind.value_type))
        if option == "dates":
            fits, supported_types = (
                is_text(kind) or is_date(kind),
                "dates, timestamps and strings in ISO 8601",
            )
        elif option == "words":
            fits, supported_types = are_texts, "strings and lists of strings"
        else:
            fits = are_texts or not types.is_nested(kind)
            supported_types = "strings, lists of strings, numbers and bools"
        if not (fits or types.is_null(kind)):
            flag = option.replace("_", "-")
            raise SourceError(
                f"{where}: column {name!r} is of type {kind}: --{flag} is for {supported_types}"
            )
    if options.weight is not None and not is_number(columns.field(options.weight).type):
        kind = columns.field(options.weight).type
        raise SourceError(
            f"{where}: weight column {options.weight!r} is of type {kind}, which is not numeric"
        )


def choose_batch_rows(size: int, n_rows: int) -> int:
    """Return the maximum number of rows in a batch, given the size in bytes of n_rows rows."""
    return min(MAX_BATCH_ROWS, max(BATCH_ROWS, _BATCH_BYTES * n_rows // max(size, 1)))
