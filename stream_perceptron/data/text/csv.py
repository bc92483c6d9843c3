"""The CSV format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from stream_perceptron.data import roles
from stream_perceptron.data.cells import Cells
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.interpreter.record import Record, Sample, infer_types
from stream_perceptron.data.naming import LABEL_NAMES, find_column, suggest_options
from stream_perceptron.data.notices import (
    NOT_IN_MODEL,
    ColumnSummary,
    Notice,
    build_null_hints,
    build_number_hint,
    describe_columns,
)
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import Request
from stream_perceptron.data.tables import build_table_context, raise_no_features
from stream_perceptron.data.text.records import Dialect, RawLines, join_records
from stream_perceptron.data.text.scanning import CsvScanner
from stream_perceptron.data.values import (
    DECIMAL_COMMA,
    is_formatted_number,
    is_number_or_bool,
    looks_numeric,
)
from stream_perceptron.errors import SampleError, SourceError

_MAX_DESCRIBED = 200  # how many of the first records to examine for notices


class CsvFormat:
    """The dialect, header and number of fields, detected from the first line.

    Examples
    --------
    >>> CsvFormat("a; b").header, CsvFormat("1;2").header, CsvFormat("0;1;label").header
    (['a', 'b'], None, ['0', '1', 'label'])

    """

    has_comments = False
    spans_lines = True

    def __init__(self, first_line: str, delimiter: str | None = None, decimal: str = ".") -> None:
        # A delimiter that does not occur in the line may be meant for another source.
        if delimiter is None or delimiter not in first_line:
            delimiter = max(",\t;" if decimal == "." else "\t;|", key=first_line.count)
            delimiter = delimiter if delimiter in first_line else ","
        self.dialect = Dialect(delimiter, decimal)
        fields = [field.strip() for field in _split_fields(first_line, self.dialect)]
        names_label = any(field.lower() in LABEL_NAMES for field in fields)
        is_header = names_label or not any(map(looks_numeric, fields))
        self.header = fields if is_header else None
        self._n_fields = len(fields)

    @property
    def n_header_lines(self) -> int:
        """The number of lines before the first record."""
        return int(self.header is not None)

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records in blocks of lines."""
        return join_records(lines, self.dialect, self._n_fields)

    def scanner(self) -> CsvScanner:
        """Return a scanner for the records."""
        return CsvScanner([str(i) for i in range(self._n_fields)], self.dialect)

    def build_context(self, request: Request, where: str, first: bytes) -> Context:
        """Return the context of the records, given the first one.

        Without a header, the columns are those of the first source that had a header. If no source
        had one, the first column is the label by default, and the features are named as in the
        model, or else x0, x1 and so on.
        """
        names, options = self._resolve_columns(request, where)
        context = build_table_context(
            request, options, names, where, has_column_names=self.header is not None, is_text=True
        )
        cells = self.scanner().scan_records([first])
        columns = context.table_columns
        if context.schema.is_new and not (cells.errors or columns.encodings):
            record = Record(cells, 0, context)
            types = infer_types(context, record)
            has_only_labels = options.has_join and not columns.candidates
            if not (types.numbers or types.untyped or has_only_labels):
                fields = {name: record.text(name) for name in names}
                text_columns = dict.fromkeys(types.texts, "text")
                raise_no_features(text_columns, where, _suggest_conversion(fields))
        return context

    def _resolve_columns(self, request: Request, where: str) -> tuple[list[str], ReadOptions]:
        """Return the names of the columns, and the read options with these names."""
        options, schema = request.read_options, request.schema
        if self.header is None and schema.columns:
            try:
                names = list(schema.match_columns(self._n_fields) or ())
            except SampleError as error:
                raise SourceError(f"{where}: row 1: {error}") from None
            read_options = roles.resolve_columns(options, schema.columns, where, to_learn=False)
            label = schema.label if schema.label in names else None
            if options.is_label_required:
                label = find_column(str(options.label), names)
            missing = [name for name in read_options.passthrough if name not in names]
            if missing:
                raise SourceError(f"{where}: there is no column {missing[0]!r} to keep in its rows")
            return names, replace(read_options, label=label)
        names = self.header or roles.name_columns(options, schema, self._n_fields, where)
        names = roles.rename_ignored_duplicates(names, options, where)
        return names, roles.resolve_columns(options, names, where, request.to_learn)

    def describe(
        self, context: Context, cells: Cells, deciding_records: Sequence[tuple[int, Sample]]
    ) -> tuple[Notice, ...]:
        """Return notices about the used and ignored columns."""
        read_options, columns = context.read_options, context.table_columns
        names, d = context.columns or (), len(context.columns or ())
        index = {name: c for c, name in enumerate(names)}

        def read_fields(name: str, records: Sequence[int]) -> list[str]:
            return [cells.contents.get(i * d + index[name]) for i in records]

        deciding_ids = [i for i, _ in deciding_records]
        ignored = dict.fromkeys(read_options.ignore, "--ignore")
        unknown_columns = (name for name in names if name in context.unknown_columns)
        ignored |= {
            n: NOT_IN_MODEL
            for n in unknown_columns
            if is_number_or_bool(read_fields(n, deciding_ids[:1])[0])
        }
        texts = [name for name in columns.texts if name not in read_options.encoded]
        ignored |= dict.fromkeys(columns.untyped, "no value so far")
        first = [i for i in range(min(len(cells), _MAX_DESCRIBED)) if i not in cells.errors]
        fields = {name: read_fields(name, [*deciding_ids, *first]) for name in texts}
        deciding_fields = {name: read_fields(name, deciding_ids) for name in texts}
        description = ColumnSummary(
            columns.numbers, "", [1.0 if read_options.scale is None else read_options.scale],
            read_options.label, ignored, fields,
            hints=_build_hints(context, deciding_fields, fields),
        )  # fmt: skip
        return describe_columns(read_options, context.schema, description)


def _split_fields(line: str, dialect: Dialect) -> list[str]:
    """Split one of the first lines into fields; tolerate quoting errors."""
    return dialect.replace_decimal_commas(dialect.split(line.replace("\r", " ")))


def _build_hints(
    context: Context, texts: Mapping[str, Sequence[str]], first_fields: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return hints about options and commands.

    `texts` contains the fields of each text column in the deciding records; `first_fields` also
    contains the fields in the first records.
    """
    null_values, columns = context.read_options.null_values, context.columns or ()
    first: dict[str, str] = {}
    for name, fields in texts.items():
        stripped = (field.strip() for field in fields)
        first[name] = next((field for field in stripped if field not in null_values), "")
    hints = build_null_hints(first)
    for name, fields in first_fields.items():
        if DECIMAL_COMMA.fullmatch(first[name]):
            advice = suggest_options({"to read it": "--decimal ,"})
            hints.append(f"hint: {first[name]} in column {name!r} has a decimal comma; {advice}")
        elif hint := build_number_hint(name, [f for f in fields if f.strip() not in null_values]):
            hints.append(hint)
    is_label_first = columns[0] == LABEL_NAMES[0] == context.read_options.label
    if is_label_first and len(texts) == 1 and not hints:
        position = columns.index(next(iter(texts))) + 1
        option_value = -1 if position == len(columns) else position
        advice = suggest_options({"to use it as the label": f"--label {option_value}"})
        hints.append(f"hint: column {position} is the only text column; {advice}")
    return hints


def _suggest_conversion(cells: Mapping[str, str]) -> str:
    """Return advice on a row with only text cells, or an empty string if there is no advice."""
    if any(map(DECIMAL_COMMA.fullmatch, cells.values())):
        return f"; {suggest_options({'to read decimal commas': '--decimal ,'})}"
    for name, text in cells.items():
        if is_formatted_number(text):
            return (
                f"; {name!r} has values like {text!r}, which are not numbers: remove currency "
                "signs, separators and units"
            )
    if len(cells) == 1:
        for delimiter, option_value in (("|", "'|'"), (":", ":"), (" ", "space")):
            if delimiter in next(iter(cells.values())):
                options = {"to split it": f"--delimiter {option_value}"}
                return f"; {suggest_options(options)}"
    return ""
