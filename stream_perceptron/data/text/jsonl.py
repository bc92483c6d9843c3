"""The format JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from stream_perceptron.data.cells import Cells, Kind
from stream_perceptron.data.describe import Described, Note, describe, json_hints
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.interpreter.record import Record, Sample, find_label_key
from stream_perceptron.data.naming import column_called, is_position
from stream_perceptron.data.roles import require_one_role
from stream_perceptron.data.source import Request
from stream_perceptron.data.text.records import RawLines
from stream_perceptron.data.text.scanning import JsonScanner
from stream_perceptron.errors import SampleError
from stream_perceptron.model.vocabulary import natural_order

_MAX_DESCRIBED = 200  # the number of first records whose texts are examined for notes


class JsonFormat:
    """JSON Lines: an object or a list in each line.

    The features are the object under "features", else the only list, which may be nested, else all
    numbers and bools, those in objects by path, such as http.status. A line may also be just a
    list. The first learned row decides which.

    Features with names of their own may be absent from a row, and new ones may come, unless the
    model was made from columns. The first value of a key decides whether it has numbers or texts.
    A null is a missing feature. The values of a bare list, or of one under x, are those of the
    model's columns, if it has any.
    """

    has_comments = False
    spans_lines = False
    n_header_lines = 0
    form_line = "{}"

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records of lines: one each."""
        return lines

    def scanner(self) -> JsonScanner:
        """Return a scanner of the records."""
        return JsonScanner()

    def open(self, request: Request, where: str, first: bytes) -> Context:
        """Return the context of the records, given the first one."""
        options, schema = request.selection, request.schema
        if options.join is not None and is_position(options.join):
            keys: list[str] = []
            with suppress(SampleError):
                cells = self.scanner().scan_record(first)
                keys = [cell.name for cell in cells if "." not in cell.name]
            options = replace(options, join=column_called(options.join, keys) or options.join)
        if request.to_learn:
            require_one_role(options, where)
        return Context(
            options, schema, request.to_learn, request.most_features, vocabulary=request.names
        )

    def describe(
        self, context: Context, cells: Cells, deciding: Sequence[tuple[int, Sample]]
    ) -> tuple[Note, ...]:
        """Return notes on the used and ignored keys."""
        options, schema, key = context.selection, context.schema, context.schema.key
        deciding = [each for each in deciding if each[1].schema.key == key]
        prefix = f"{key}." if key else ""
        first = Record(cells, deciding[0][0], context)
        used = {key, find_label_key(context, list(first.index)), *options.roles, *options.encoded}
        outside = [name for name in first.index if name not in used and not name.startswith(prefix)]
        texts: dict[str, list[str]] = {}
        known = set(schema.texts or ()).difference(options.encoded)
        first_rows = range(min(len(cells), _MAX_DESCRIBED)) if known and not schema.is_list else ()
        for i in (*(i for i, _ in deciding), *first_rows):
            with suppress(SampleError):
                record = Record(cells, i, context)
                for path in record.index:
                    name = path.removeprefix(prefix)
                    is_text = path.startswith(prefix) and record.kind(path) is Kind.TEXT
                    if is_text and name in known:
                        texts.setdefault(name, []).append(record.content(path))
        names = next((sample.names for _, sample in deciding if sample.names), ())
        found = Described(
            schema.features or () if schema.is_list else tuple(map(str, natural_order(names))),
            f" from {key!r}" if key else "",
            [1.0 if options.scale is None else options.scale],
            options.label or schema.label,
            {name: type(first.content(name)).__name__ for name in outside if key}
            | dict.fromkeys(options.ignore, "as asked"),
            texts,
            hints=json_hints(key, texts),
        )
        return describe(options, schema, found)
