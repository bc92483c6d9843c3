"""The CSV format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from stream_perceptron.data import roles
from stream_perceptron.data.columns import CSV
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.naming import LABEL_NAMES, find_column, suggest_options
from stream_perceptron.data.notices import (
    NOT_IN_MODEL,
    ColumnSummary,
    Notice,
    advise_on_likely_null,
    build_number_hint,
    describe_columns,
)
from stream_perceptron.data.records import Dialect, split_record
from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.tables import find_table_layout, raise_no_features
from stream_perceptron.data.text_source import Probe
from stream_perceptron.data.values import (
    DECIMAL_COMMA,
    is_formatted_number,
    is_number_or_bool,
    looks_numeric,
)
from stream_perceptron.errors import SampleError, SourceError


class CsvFormat:
    """The dialect, header and number of fields, detected from the first line.

    Examples
    --------
    >>> CsvFormat("a; b").header, CsvFormat("1;2").header, CsvFormat("0;1;label").header
    (['a', 'b'], None, ['0', '1', 'label'])

    """

    has_comments = False

    def __init__(self, first_line: str, delimiter: str | None = None, decimal: str = ".") -> None:
        # A delimiter that does not occur in the line may be meant for another source.
        if delimiter is None or delimiter not in first_line:
            delimiter = max(",\t;" if decimal == "." else "\t;|", key=first_line.count)
            delimiter = delimiter if delimiter in first_line else ","
        self.dialect = Dialect(delimiter, decimal)
        fields = self.dialect.split(first_line.replace("\r", " "))  # quoting errors are tolerated
        fields = [field.strip() for field in self.dialect.replace_decimal_commas(fields)]
        names_label = any(field.lower() in LABEL_NAMES for field in fields)
        self.has_header = names_label or not any(map(looks_numeric, fields))
        self.header = fields if self.has_header else None
        self._n_fields = len(fields)

    def find_layout(self, request: Request, where: str, lines: Iterable[bytes]) -> Layout:
        """Return the layout of the records.

        Without a header, the columns are those of the first source that had a header. If no source
        had one, the first column is the label by default, and the features are named as in the
        model, or else x0, x1 and so on.
        """
        names, options = self._resolve_columns(request, where)
        return find_table_layout(
            request, options, names, where, form=CSV, has_column_names=self.has_header,
            dialect=self.dialect,
        )  # fmt: skip

    def require_features(self, probe: Probe, where: str) -> None:
        """Check that the first record for a new model has features."""
        layout, schema = probe.columns.layout, probe.columns.schema
        has_only_labels = layout.read_options.has_join and not layout.candidates
        if schema.features or schema.untyped or layout.encodings or has_only_labels:
            return
        fields = self._split(probe.records[0], layout)
        columns = dict.fromkeys(schema.texts or (), "text")
        raise_no_features(columns, where, _suggest_conversion(fields))

    def _split(self, record: bytes, layout: Layout) -> dict[str, str]:
        """Return the fields of a record by column."""
        text = record.decode(errors="surrogateescape").rstrip("\r\n")
        fields = self.dialect.replace_decimal_commas(split_record(text, self.dialect))
        return dict(zip(layout.columns, fields, strict=True))

    def _resolve_columns(self, request: Request, where: str) -> tuple[list[str], ReadOptions]:
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
        names = self.header or roles.name_columns(options, schema, self._n_fields, where)
        names = roles.rename_ignored_duplicates(names, options, where)
        return names, roles.resolve_columns(options, names, where, request.to_learn)

    def describe(self, probe: Probe) -> tuple[Notice, ...]:
        """Return notices about the used and ignored columns."""
        layout, schema = probe.columns.layout, probe.columns.schema
        options = layout.read_options
        rows = [self._split(record, layout) for record in probe.records]
        fields = {name: [row[name] for row in rows] for name in layout.columns}
        texts = [
            n for n in layout.candidates if n in (schema.texts or ()) and n not in options.encoded
        ]
        known = set(probe.columns.names if schema.features is None else schema.features)
        ignored = dict.fromkeys(options.ignore, "--ignore")
        ignored |= {
            name: NOT_IN_MODEL
            for name in layout.columns
            if name in layout.unknown_columns and is_number_or_bool(fields[name][0])
        }
        ignored |= dict.fromkeys(schema.untyped, "no value so far")
        text_fields = {name: fields[name] for name in texts}
        summary = ColumnSummary(
            [name for name in layout.candidates if name in known],
            "", [1.0 if options.scale is None else options.scale],
            options.label, ignored, text_fields, hints=_build_hints(layout, text_fields),
        )  # fmt: skip
        return describe_columns(options, schema, summary)


def _build_hints(layout: Layout, texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return hints about options, given the first fields of each column of strings."""
    null_values, columns = layout.read_options.null_values, layout.columns
    values = {
        name: [field for field in fields if field.strip() not in null_values]
        for name, fields in texts.items()
    }
    first = {name: next(iter(fields), "").strip() for name, fields in values.items()}
    hints = [
        f"hint: column {name!r} begins with {text!r}{advice}"
        for name, text in first.items()
        if (advice := advise_on_likely_null(text))
    ]
    for name, fields in values.items():
        if DECIMAL_COMMA.fullmatch(first[name]):
            advice = suggest_options({"to read it": "--decimal ,"})
            hints.append(f"hint: {first[name]} in column {name!r} has a decimal comma; {advice}")
        elif hint := build_number_hint(name, fields):
            hints.append(hint)
    is_label_first = columns[0] == LABEL_NAMES[0] == layout.label
    if is_label_first and len(texts) == 1 and not hints:
        position = columns.index(next(iter(texts))) + 1
        option_value = -1 if position == len(columns) else position
        advice = suggest_options({"to use it as the label": f"--label {option_value}"})
        hints.append(f"hint: column {position} is the only column of strings; {advice}")
    return hints


def _suggest_conversion(cells: Mapping[str, str]) -> str:
    """Return advice on a row that has only strings, or an empty string if there is no advice."""
    if any(map(DECIMAL_COMMA.fullmatch, cells.values())):
        return f"; {suggest_options({'to read decimal commas': '--decimal ,'})}"
    for name, text in cells.items():
        if is_formatted_number(text) and not looks_numeric(text):
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
