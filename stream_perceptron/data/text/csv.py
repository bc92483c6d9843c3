"""The format CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from stream_perceptron.data import roles
from stream_perceptron.data.cells import Cells
from stream_perceptron.data.describe import (
    UNKNOWN,
    Described,
    Note,
    describe,
    missing_hints,
    number_hint,
)
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.interpreter.record import Record, Sample, infer_types
from stream_perceptron.data.naming import LABEL_NAMES, column_called
from stream_perceptron.data.number_texts import find_number_format
from stream_perceptron.data.schema import Selection
from stream_perceptron.data.source import Request
from stream_perceptron.data.tables import build_table_context, refuse_features
from stream_perceptron.data.text.records import Dialect, RawLines, joined
from stream_perceptron.data.text.scanning import CsvScanner
from stream_perceptron.data.values import DECIMAL_COMMA, is_number_or_bool, looks_numeric
from stream_perceptron.errors import SampleError, SourceError

_MAX_DESCRIBED = 200  # the number of first records whose texts are examined for notes


class CsvFormat:
    """The dialect, header and number of fields, detected from the first line.

    Examples
    --------
    >>> CsvFormat("a; b").header, CsvFormat("1;2").header, CsvFormat("0;1;label").header
    (['a', 'b'], None, ['0', '1', 'label'])

    """

    has_comments = False
    spans_lines = True

    def __init__(self, first: str, delimiter: str | None = None, decimal: str = ".") -> None:
        # The given delimiter may be meant for another source; else use the most frequent one.
        if delimiter is None or delimiter not in first:
            delimiter = max(",\t;" if decimal == "." else "\t;|", key=first.count)
            delimiter = delimiter if delimiter in first else ","
        self.dialect = Dialect(delimiter, decimal)
        fields = [field.strip() for field in _fields_in(first, self.dialect)]
        names_label = any(field.lower() in LABEL_NAMES for field in fields)
        is_header = names_label or not any(map(looks_numeric, fields))
        self.header = fields if is_header else None
        self._n_fields = len(fields)

    @property
    def n_header_lines(self) -> int:
        """The number of lines before the first record."""
        return int(self.header is not None)

    @property
    def form_line(self) -> str:
        """A row of zeros."""
        return self.dialect.delimiter.join("0" * self._n_fields)

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records of lines."""
        return joined(lines, self.dialect, self._n_fields)

    def scanner(self) -> CsvScanner:
        """Return a scanner of the records."""
        return CsvScanner([str(i) for i in range(self._n_fields)], self.dialect)

    def open(self, request: Request, where: str, first: bytes) -> Context:
        """Return the context of the records, given the first one.

        Without a header the columns are those of the first source that had one. If none had, the
        label comes first, and features have the model's names, or x0, x1 and so on.
        """
        names, options = self._columns(request, where)
        context = build_table_context(
            request, options, names, where, are_named=self.header is not None, is_text=True
        )
        cells = self.scanner().scan_records([first])
        columns = context.table_columns
        if context.schema.is_new and not (cells.errors or columns.encodings):
            record = Record(cells, 0, context)
            features, texts, untyped = infer_types(context, record)
            has_labels_alone = options.joins and not columns.free
            if not (features or untyped or has_labels_alone):
                fields = {name: record.text(name) for name in names}
                types = dict.fromkeys(texts, "text")
                refuse_features(types, where, _if_written_otherwise(fields))
        return context

    def _columns(self, request: Request, where: str) -> tuple[list[str], Selection]:
        """Return the columns, and the read options with their names."""
        options, schema = request.selection, request.schema
        if self.header is None and schema.columns:
            try:
                names = list(schema.columns_of(self._n_fields) or ())
            except SampleError as error:
                raise SourceError(f"{where}: row 1: {error}") from None
            selection = roles.among(options, schema.columns, where, to_learn=False)
            label = schema.label if schema.label in names else None
            if options.is_label_sure:
                label = column_called(str(options.label), names)
            lost = [name for name in selection.kept if name not in names]
            if lost:
                raise SourceError(f"{where}: there is no column {lost[0]!r} to keep in its rows")
            return names, replace(selection, label=label)
        names = self.header or roles.names_by_place(options, schema, self._n_fields, where)
        names = roles.distinct(names, options, where)
        return names, roles.among(options, names, where, request.to_learn)

    def describe(
        self, context: Context, cells: Cells, deciding: Sequence[tuple[int, Sample]]
    ) -> tuple[Note, ...]:
        """Return notes on the used and ignored columns."""
        selection, columns = context.selection, context.table_columns
        names, d = context.columns or (), len(context.columns or ())
        index = {name: c for c, name in enumerate(names)}

        def fields_in(name: str, records: Sequence[int]) -> list[str]:
            return [cells.contents.get(i * d + index[name]) for i in records]

        decisive = [i for i, _ in deciding]
        ignored = dict.fromkeys(selection.ignore, "as asked")
        unused = (name for name in names if name in context.unused)
        ignored |= {n: UNKNOWN for n in unused if is_number_or_bool(fields_in(n, decisive[:1])[0])}
        texts = [name for name in columns.texts if name not in selection.encoded]
        ignored |= dict.fromkeys(columns.untyped, "no value so far")
        first = [i for i in range(min(len(cells), _MAX_DESCRIBED)) if i not in cells.errors]
        fields = {name: fields_in(name, [*decisive, *first]) for name in texts}
        found = Described(
            columns.numbers, "", [1.0 if selection.scale is None else selection.scale],
            selection.label, ignored, fields,
            hints=_hints(context, {name: fields_in(name, decisive) for name in texts}, fields),
        )  # fmt: skip
        return describe(selection, context.schema, found)


def _fields_in(line: str, dialect: Dialect) -> list[str]:
    """Return the fields of one of the first lines, errors ignored."""
    return dialect.with_points(dialect.fields(line.replace("\r", " ")))


def _hints(
    context: Context, texts: Mapping[str, Sequence[str]], first_fields: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return hints at options and commands.

    `texts` are the fields of each column of texts in the records that decide, and
    `first_fields` those in the first records, too.
    """
    blanks, columns = context.selection.blanks, context.columns or ()
    first: dict[str, str] = {}
    for name, fields in texts.items():
        stripped = (field.strip() for field in fields)
        first[name] = next((field for field in stripped if field not in blanks), "")
    number_formats = {
        name: number_format
        for name, fields in first_fields.items()
        if (number_format := find_number_format(f for f in fields if f.strip() not in blanks))
    }
    hints = missing_hints(first) + [
        f"hint: {field} in column {name!r} has a decimal comma: --decimal ,"
        for name, field in first.items()
        if DECIMAL_COMMA.fullmatch(field) and name not in number_formats
    ]
    hints += [number_hint(name, each, each.sed_command()) for name, each in number_formats.items()]
    is_label_first = columns[0] == LABEL_NAMES[0] == context.selection.label
    if is_label_first and len(texts) == 1 and not hints:
        place = columns.index(next(iter(texts))) + 1
        called = -1 if place == len(columns) else place
        why = "is the only one of texts, and may be the label"
        hints.append(f"hint: column {place} {why}: --label {called}")
    return hints


def _if_written_otherwise(cells: Mapping[str, str]) -> str:
    """Return advice for a row whose cells are all texts, or an empty text."""
    for name, text in cells.items():
        if number_format := find_number_format([text]):
            command = number_format.sed_command()
            return f"; {name!r} is a number with {number_format}; to convert it: {command}"
    if any(map(DECIMAL_COMMA.fullmatch, cells.values())):
        return "; for decimal commas: --decimal ,"
    found = [c for c in "|: " if len(cells) == 1 and c in next(iter(cells.values()))]
    called = {" ": "space", "|": "'|'"}
    return f"; for another delimiter: --delimiter {called.get(found[0], found[0])}" if found else ""
