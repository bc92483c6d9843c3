"""The CSV format."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from stream_perceptron.data.layout import CSV, Layout
from stream_perceptron.data.meaning import roles
from stream_perceptron.data.meaning.tables import find_table_layout
from stream_perceptron.data.naming import LABEL_NAMES, find_column
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.text.records import DELIMITERS, Dialect, complete_record
from stream_perceptron.data.values import is_number, is_number_or_bool
from stream_perceptron.encoders import is_date
from stream_perceptron.errors import SampleError, SourceError


class CsvFormat:
    """The dialect, header and number of fields, detected from the first record.

    The record begins with the first line, and may extend over the lines that follow it.

    Examples
    --------
    >>> CsvFormat("a; b").header, CsvFormat("1;2").header, CsvFormat("0;1;label").header
    (['a', 'b'], None, ['0', '1', 'label'])

    """

    has_comments = False

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
        self.dialect = Dialect(delimiter, decimal or ("," if delimiter == ";" else "."))
        fields = self.dialect.split(record)  # quoting errors are tolerated
        fields = [self.dialect.replace_decimal_comma(field).strip() for field in fields]
        # A header may have numbers or dates if it names a label: pandas names columns 0, 1, 2, ...
        numbers = [field for field in fields if is_number(field)]
        others = [f for f in fields if f and not is_number_or_bool(f) and not is_date(f)]
        names_label = any(field.lower() in LABEL_NAMES for field in others)
        counts = [[str(i) for i in range(start, start + len(numbers))] for start in (0, 1)]
        has_only_names = len(others) == len([*filter(None, fields)])
        self.has_header = has_only_names or (names_label and numbers in [[], *counts])
        self.header = fields if self.has_header else None
        self.n_header_lines = max(1, n_lines) if self.has_header else 0
        self._n_fields = len(fields)
        self._label_position = fields.index(others[0]) + 1 if len(others) == 1 else 1

    def find_layout(self, request: ReadRequest, where: str, lines: Iterable[bytes]) -> Layout:
        """Return the layout of the records.

        Without a header, the columns are those of the first source that had a header. If no source
        had one, the label is by default the only column that holds a string in the first record,
        apart from dates, or else the first column; the features are named as in the model, or else
        x0, x1 and so on.
        """
        names, options = self._resolve_columns(request, where)
        return find_table_layout(
            request, options, names, where, record_format=CSV, has_column_names=self.has_header,
            dialect=self.dialect,
        )  # fmt: skip

    def _resolve_columns(self, request: ReadRequest, where: str) -> tuple[list[str], ReadOptions]:
        """Return the names of the columns, and the read options with these names."""
        options, schema = request.read_options, request.schema
        if self.header is None and schema.columns:
            try:
                names = list(schema.match_columns(self._n_fields))
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
        names = self.header or roles.name_columns(
            options, schema, self._n_fields, self._label_position, where
        )
        roles.require_distinct_names(names, where)
        return names, roles.resolve_columns(
            options, names, where, request.to_learn, has_names=self.has_header
        )
