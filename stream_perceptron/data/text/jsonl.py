"""The JSON Lines format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from stream_perceptron.data.cells import Cells, Kind
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.interpreter.record import Record, Sample, find_label_key
from stream_perceptron.data.naming import find_column, is_position
from stream_perceptron.data.notices import ColumnSummary, Notice, build_json_hints, describe_columns
from stream_perceptron.data.roles import require_one_role
from stream_perceptron.data.source import Request
from stream_perceptron.data.text.records import RawLines
from stream_perceptron.data.text.scanning import JsonScanner
from stream_perceptron.errors import SampleError

_MAX_DESCRIBED = 200  # how many of the first records to examine for notices


class JsonFormat:
    """JSON Lines: each line is an object or a list.

    The first learned row decides where the features are: in the object under "features", or else
    in the only list, which may be nested. Otherwise, all numbers and bools are features, and those
    inside objects are named by their paths, such as http.status. A line may also be a bare list.

    Named features may be absent from a row, and new ones may appear, unless the model was trained
    on a table. The first value of a key decides whether the key holds numbers or texts. A null is a
    missing feature. If the columns have names, a bare list, or a list under x, is rejected.
    """

    has_comments = False
    spans_lines = False
    n_header_lines = 0

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the lines, each of which is a record."""
        return lines

    def scanner(self) -> JsonScanner:
        """Return a scanner for the records."""
        return JsonScanner()

    def build_context(self, request: Request, where: str, first: bytes) -> Context:
        """Return the context of the records, given the first one."""
        options, schema = request.read_options, request.schema
        if options.join is not None and is_position(options.join):
            keys: list[str] = []
            with suppress(SampleError):
                cells = self.scanner().scan_record(first)
                keys = [cell.name for cell in cells if "." not in cell.name]
            options = replace(options, join=find_column(options.join, keys) or options.join)
        if request.to_learn:
            require_one_role(options, where)
        return Context(
            options, schema, request.to_learn, request.max_features, vocabulary=request.names
        )

    def describe(
        self, context: Context, cells: Cells, deciding_records: Sequence[tuple[int, Sample]]
    ) -> tuple[Notice, ...]:
        """Return notices about the used and ignored keys."""
        options, schema, key = context.read_options, context.schema, context.schema.key
        deciding_records = [
            (i, sample) for i, sample in deciding_records if sample.schema.key == key
        ]
        prefix = f"{key}." if key else ""
        first = Record(cells, deciding_records[0][0], context)
        used = {
            key,
            find_label_key(context, list(first.cell_ids)),
            *options.roles,
            *options.encoded,
        }
        outside = [
            name for name in first.cell_ids if name not in used and not name.startswith(prefix)
        ]
        texts: dict[str, list[str]] = {}
        known = set(schema.texts or ()).difference(options.encoded)
        first_rows = range(min(len(cells), _MAX_DESCRIBED)) if known and not schema.is_list else ()
        for i in (*(i for i, _ in deciding_records), *first_rows):
            with suppress(SampleError):
                record = Record(cells, i, context)
                for path in record.cell_ids:
                    name = path.removeprefix(prefix)
                    is_text = path.startswith(prefix) and record.kind(path) is Kind.TEXT
                    if is_text and name in known:
                        texts.setdefault(name, []).append(record.content(path))
        names = next((sample.names for _, sample in deciding_records if sample.names), ())
        description = ColumnSummary(
            schema.features or () if schema.is_list else tuple(map(str, names)),
            f" from {key!r}" if key else "",
            [1.0 if options.scale is None else options.scale],
            options.label or schema.label,
            {name: type(first.content(name)).__name__ for name in outside if key}
            | dict.fromkeys(options.ignore, "--ignore"),
            texts,
            hints=build_json_hints(texts),
        )
        return describe_columns(options, schema, description)
