"""Rows of Arrow record batches, and the roles of their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from pyarrow import types

from stream_perceptron.data import roles
from stream_perceptron.data.arrow.cells import ArrowScanner, convert_row, require_pillow
from stream_perceptron.data.arrow.types import (
    describe_type,
    find_index_columns,
    is_date,
    is_list,
    is_number,
    is_text,
    resolve_label_type,
)
from stream_perceptron.data.batch import BATCH_ROWS, MAX_BATCH_ROWS, ContentReader
from stream_perceptron.data.cell_rows import CellInterpreter, CellRows
from stream_perceptron.data.cells import Cells, Kind
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.interpreter.record import Sample, are_pixels, interpret_record
from stream_perceptron.data.naming import is_pixel_column
from stream_perceptron.data.notices import NOT_IN_MODEL, ColumnSummary, Notice, describe_columns
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import Opening, Request, build_opening
from stream_perceptron.data.tables import build_table_context, raise_no_features
from stream_perceptron.errors import SourceError

MAX_DESCRIBED = 200  # the number of rows at the start whose texts are examined for notices

# Returns the first texts of columns by name, given the first rows.
ReadTexts = Callable[["ArrowRows"], Mapping[str, list[str]]]

# Returns the first rows, or None if there are no rows.
ReadFirst = Callable[[], "ArrowRows | None"]

_BATCH_BYTES = 2**22


@dataclass(frozen=True, eq=False, repr=False)
class ArrowTable:
    """The columns of an Arrow source, and their use.

    Attributes
    ----------
    opening
        The context of the rows, and the schema inferred from the types of the columns.
    used
        The positions of the columns that are read, in ascending order.
    ignored_texts
        The unused text columns.

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
        context = build_table_context(
            request, options, names, where, has_column_names=True, types=column_types
        )
        table, schema = context.table_columns, context.schema
        features = [*table.numbers, *([table.vector_column] if table.vector_column else [])]
        if table.vector_column is not None:
            require_pillow(columns.field(table.vector_column).type)
        elif (
            not features and not table.encodings and not (options.has_join and not table.candidates)
        ):
            raise_no_features({name: column_types[name].name for name in table.candidates}, where)
        else:
            schema = context.schema_of_known_columns
        if options.label is not None:
            kind = columns.field(options.label).type
            if label_type := resolve_label_type(kind, options.label, where):
                schema = schema.with_label_type(label_type, where)
        encoded = {encoding.column for encoding in table.encodings}
        columns_to_read = {options.label, *options.roles, *encoded, *features, *table.untyped}
        columns_to_read = columns_to_read.difference(options.ignore).union(options.passthrough)
        ignored_texts = [
            name
            for name in table.candidates
            if column_types[name].kind is Kind.TEXT and name not in columns_to_read
        ]
        used = [i for i, name in enumerate(names) if name in columns_to_read]
        opening = build_opening(context, schema, None)
        if table.vector_column is not None:
            opening = opening._replace(is_table=False)
        return cls(opening, used, ignored_texts, columns)

    def open_with_pixels(self, read_first: ReadFirst) -> Opening:
        """Return the opening; if numbers may be pixels, `read_first` returns the first rows."""
        opening, context = self.opening, self.opening.context
        table = context.table_columns
        if opening.is_table:
            return opening
        if context.byte_scale is not None:
            return opening._replace(has_pixels=True)
        if table.vector_column is not None and not is_pixel_column(table.vector_column):
            return opening
        if (rows := read_first()) is None:
            return opening
        cells = self.scanner().scan(rows.batch)
        samples = (interpret_record(context, cells, i) for i in range(len(rows)))
        first = next((sample for sample in samples if isinstance(sample, Sample)), None)
        return opening._replace(has_pixels=first is not None and are_pixels(first))

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        return list(self._columns.names)

    def scanner(self) -> ArrowScanner:
        """Return a scanner for the columns that are used."""
        names = self.names
        return ArrowScanner(self.opening.context.types, {names[i] for i in self.used})

    def describe(
        self,
        context: Context,
        texts: Mapping[str, list[str]],
        deciding_records: Sequence[tuple[int, Sample]],
    ) -> tuple[Notice, ...]:
        """Return notices about the used and ignored columns."""
        options, table, column_types = context.read_options, context.table_columns, context.types
        features, source = [*table.numbers], ""
        if table.vector_column is not None:
            features, source = (
                [*map(str, deciding_records[0][1].names)],
                f" from column {table.vector_column!r}",
            )
        columns = [table.vector_column] if table.vector_column else features
        is_feature_kind = {Kind.NUMBER, Kind.LIST}.__contains__
        unknown = [
            n
            for n in self.names
            if n in context.unknown_columns and is_feature_kind(column_types[n].kind)
        ]
        encoded = {encoding.column for encoding in table.encodings}
        used = {*columns, *texts, *context.unknown_columns, *encoded}
        ignored = dict.fromkeys(unknown, NOT_IN_MODEL)
        ignored |= {name: column_types[name].name for name in table.candidates if name not in used}
        ignored |= dict.fromkeys(options.ignore, "--ignore")
        summary = ColumnSummary(
            features,
            source,
            sorted({context.find_scale(column) for column in columns}),
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
        return describe_columns(options, context.schema, summary)

    def _find_encoding(self, name: str) -> str | None:
        """Return the option that encodes a column of dates or of lists of texts."""
        kind = self._columns.field(name).type
        if is_date(kind):
            return "dates"
        return "one_hot" if is_list(kind) and is_text(kind.value_type) else None


class ArrowRows(CellRows):
    """Rows of a record batch."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def _slice(self, start: int, end: int) -> ArrowRows:
        return ArrowRows(self.batch.slice(start, end - start))

    def make_content_reader(self, i: int) -> ContentReader | None:
        return partial(convert_row, self.batch.slice(i, 1))


class ArrowInterpreter(CellInterpreter):
    """Interprets rows of record batches.

    Parameters
    ----------
    name
        The name of the source.
    table
        The table of the source, opened for the request.
    request
        The request for the rows.
    read_texts
        Returns the first texts of the ignored columns, given the first rows.

    """

    def __init__(
        self, name: str, table: ArrowTable, request: Request, read_texts: ReadTexts
    ) -> None:
        super().__init__(name, table.opening.context, request)
        self._table, self._scanner, self._read_texts = table, table.scanner(), read_texts

    def scan(self, rows: ArrowRows) -> Cells:
        """Return the cells of the rows.

        Rows are scanned when they are interpreted, not by the prefetching thread, which would wait
        for the GIL between the many short calls to Arrow.
        """
        return self._scanner.scan(rows.batch)

    def describe(
        self, context: Context, rows: ArrowRows, deciding_records: Sequence[tuple[int, Sample]]
    ) -> tuple[Notice, ...]:
        """Return notices about the columns."""
        return self._table.describe(context, self._read_texts(rows), deciding_records)


def split_batches(
    batches: Iterable[pa.RecordBatch], names: Sequence[str], options: ReadOptions
) -> Iterator[ArrowRows]:
    """Yield the rows of record batches, at most a few thousand at a time.

    `names` are the names of the batches' columns.
    """
    # If each row has its own text, a batch has as many features as rows.
    max_rows = BATCH_ROWS if options.encodings else MAX_BATCH_ROWS
    for batch in batches:
        if batch.schema.names != list(names):
            batch = batch.rename_columns(list(names))
        for start in range(0, batch.num_rows, max_rows):
            yield ArrowRows(batch.slice(start, max_rows))


def _require_types(columns: pa.Schema, options: ReadOptions, where: str) -> None:
    """Check the types of the weight column and of the encoded columns."""
    for option, name in options.encodings:
        kind = columns.field(name).type
        are_texts = is_text(kind) or (is_list(kind) and is_text(kind.value_type))
        if option == "dates":
            fits, supported_types = (
                is_text(kind) or is_date(kind),
                "dates, timestamps and texts in ISO 8601",
            )
        elif option == "words":
            fits, supported_types = are_texts, "texts and lists of texts"
        else:
            fits = are_texts or not types.is_nested(kind)
            supported_types = "texts, lists of texts, numbers and bools"
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
