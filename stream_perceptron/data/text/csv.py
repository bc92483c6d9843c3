"""The CSV format."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from stream_perceptron.data.layout import Layout, compiled
from stream_perceptron.data.meaning.tables import (
    find_table_layout,
    name_columns,
    require_distinct_names,
    resolve_columns,
)
from stream_perceptron.data.naming import LABEL_NAMES, find_column
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.text.blocks import MAX_LINE_BYTES
from stream_perceptron.data.text.format import LineFormat
from stream_perceptron.data.values import DECIMAL_COMMA, is_number_or_bool, spells_number
from stream_perceptron.encoders import is_date
from stream_perceptron.errors import Reason, SampleError, SourceError

_MAX_RECORD_LINES = 64  # as in csv.h
DELIMITERS = ",\t;|"  # those that are detected

csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))  # a field may be a whole record


class Dialect(NamedTuple):
    """The delimiter and the decimal separator of CSV data."""

    delimiter: str = ","  # consecutive spaces count as one delimiter
    decimal: str = "."

    def split(self, line: str, strict: bool = False) -> list[str]:
        """Split a line, which may contain quotes, into fields; a blank line has none."""
        is_space = self.delimiter == " "
        lines = [line.strip(" ") if is_space else line]
        reader = csv.reader(
            lines, delimiter=self.delimiter, skipinitialspace=is_space, strict=strict
        )
        return next(reader, [])

    def replace_decimal_comma(self, field: str) -> str:
        """Return a field with a decimal comma replaced by a decimal point."""
        has_comma = self.decimal == "," and DECIMAL_COMMA.fullmatch(field)
        return field.replace(",", ".") if has_comma else field


class CsvFormat(LineFormat):
    """The dialect, header and number of fields, detected from the first record.

    The record begins with the first line, and may extend over the lines that follow it.

    Examples
    --------
    >>> CsvFormat("a; b").header, CsvFormat("1;2").header, CsvFormat("2019;2020;label").header
    (['a', 'b'], None, ['2019', '2020', 'label'])

    """

    scanner = compiled.CSV
    has_typed_cells = False

    def __init__(
        self,
        first_line: str,
        delimiter: str | None = None,
        decimal: str | None = None,
        following: Iterable[str] = (),
    ) -> None:
        usual = DELIMITERS.replace(",", "") if decimal == "," else DELIMITERS
        delimiters = usual + (delimiter or "")
        if delimiter is not None and delimiter in first_line:
            delimiters = delimiter
        record, n_lines = complete_record(first_line, following, delimiters)
        self.is_incomplete = n_lines == 0
        # A delimiter that does not occur in the record may be meant for another source.
        if delimiter is None or delimiter not in record:
            outside_quotes = re.sub(r'"(?:[^"]|"")*"', "", record)
            delimiter = max(usual, key=outside_quotes.count)
            delimiter = delimiter if delimiter in outside_quotes else ","
        record, n_lines = complete_record(first_line, record.split("\n")[1:], delimiter)
        self.is_incomplete &= n_lines == 0
        self._dialect = Dialect(delimiter, decimal or ("," if delimiter == ";" else "."))
        self.delimiter, self.decimal = map(str.encode, self._dialect)
        fields = self._dialect.split(record)  # quoting errors are tolerated
        fields = [self._dialect.replace_decimal_comma(field).strip() for field in fields]
        # A header that names a label may have dates, years or other whole numbers; but y may be a
        # label itself, unless the columns are those of pandas: 0, 1, 2 and so on.
        numbers = [field for field in fields if spells_number(field)]
        others = [f for f in fields if f and not is_number_or_bool(f) and not is_date(f)]
        labels = {*LABEL_NAMES}.intersection(field.lower() for field in others)
        counts = [[str(i) for i in range(start, start + len(numbers))] for start in (0, 1)]
        are_years = labels != {"y"} and len({*numbers}) == sum(map(str.isdecimal, numbers))
        has_only_names = len(others) == len([*filter(None, fields)])
        names_label = labels and (are_years or numbers in [[], *counts])
        self.has_header = has_only_names or bool(names_label)
        self.header = fields if self.has_header else None
        self.n_header_lines = max(1, n_lines) if self.has_header else 0
        self._n_fields = len(fields)
        self._label_position = fields.index(others[0]) + 1 if len(others) == 1 else 1

    def find_layout(self, request: ReadRequest, source_name: str) -> Layout:
        """Return the layout of the records.

        Without a header, the columns are those of the first source that had a header. If no source
        had one, the label is by default the only column that holds a string in the first record,
        apart from dates, or else the first column; the features are named as in the model, or else
        x0, x1 and so on.
        """
        names, options = self._resolve_columns(request, source_name)
        return find_table_layout(
            request,
            options,
            names,
            source_name,
            record_format=self,
            has_column_names=self.has_header,
        )

    def _resolve_columns(
        self, request: ReadRequest, source_name: str
    ) -> tuple[list[str], ReadOptions]:
        """Return the names of the columns, and the read options with these names."""
        options, schema = request.read_options, request.schema
        if self.header is None and schema.columns:
            try:
                names = list(schema.get_columns_of_unnamed_values(self._n_fields))
            except SampleError as error:
                raise SourceError(f"{source_name}: row 1: {error}") from None
            read_options = resolve_columns(request, schema.columns, source_name, to_learn=False)
            label = schema.label if schema.label in names else None
            if options.is_label_required:
                label = find_column(str(options.label), names)
            missing = [name for name in read_options.passthrough if name not in names]
            if missing:
                raise SourceError(
                    f"{source_name}: there is no column {missing[0]!r} to keep in its rows"
                )
            return names, replace(read_options, label=label)
        names = self.header or name_columns(
            request, self._n_fields, self._label_position, source_name
        )
        require_distinct_names(names, source_name)
        return names, resolve_columns(
            request, names, source_name, request.to_learn, has_names=self.has_header
        )

    def decode(self, cell_kind: int, content: bytes) -> object:
        text = content.decode()
        if text.startswith('"'):
            text = text[1:-1].replace('""', '"')
        if cell_kind == compiled.NUMBER:
            return float(self._dialect.replace_decimal_comma(text))
        if cell_kind == compiled.BOOL:
            return text.strip().lower() == "true"
        return None if cell_kind == compiled.NUL else text

    def decode_label(self, cell_kind: int, content: bytes) -> str:
        text = str(self.decode(compiled.TEXT, content))
        return self._dialect.replace_decimal_comma(text).strip()

    def explain_rejection(self, record: bytes) -> Reason:
        text = record.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
        n = len(split_record(text, self._dialect))
        if n == self._n_fields:
            return Reason("it has a quote or a carriage return in the wrong place")
        text = f"it has {n:,} field{'s' * (n != 1)}, not {self._n_fields:,}"
        return Reason(text, "field_count")


def split_record(record: str, dialect: Dialect) -> list[str]:
    """Split a record, given without its newline, into fields.

    Raises
    ------
    SampleError
        If quotes or carriage returns are in the wrong places.

    Examples
    --------
    >>> split_record('1,"a ""b"", c"', Dialect()), split_record("a  b c ", Dialect(" "))
    (['1', 'a "b", c'], ['a', 'b', 'c'])

    """
    try:
        return dialect.split(record, strict=True)
    except csv.Error:
        if record.count('"') % 2:
            raise SampleError("it has an open quote") from None
        if "\r" in record:
            raise SampleError("it has a carriage return before its end") from None
        raise SampleError("it has a quote in the wrong place") from None


def has_open_quote(record: str, delimiters: str = DELIMITERS) -> bool:
    """Whether a field begins with a quote that is not closed; the delimiter is any of `delimiters`.

    Examples
    --------
    >>> has_open_quote('1,"two'), has_open_quote('1,two"')
    (True, False)

    """
    any_of, quoted = re.escape(delimiters), r'"(?:[^"]|"")*'
    field = rf'(?:{quoted}"|(?!")[^{any_of}]*)'
    return bool(re.fullmatch(rf"(?:{field}[{any_of}])*{quoted}", record))


def complete_record(line: str, following: Iterable[str], delimiters: str) -> tuple[str, int]:
    """Return the CSV record that begins with a line, and the number of its lines.

    The delimiter is any of `delimiters`. If a quote stays open for 64 lines, the record is the line
    alone; if the lines end before, the record is incomplete, and the number is 0.

    Examples
    --------
    >>> complete_record('a;"two', ['lines";b', "c"], ",;"), complete_record('"a', ["b"], ",;")
    (('a;"two\\nlines";b', 2), ('"a', 0))

    """
    record, n = line, 1
    lines = islice(following, _MAX_RECORD_LINES - 1)
    while has_open_quote(record, delimiters):
        following_line = next(lines, None)
        if following_line is None:
            return line, int(n == _MAX_RECORD_LINES)
        record, n = f"{record}\n{following_line}", n + 1
    return record, n
