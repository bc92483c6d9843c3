"""The LIBSVM format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stream_perceptron.data.cells import Cells
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.interpreter.record import Sample
from stream_perceptron.data.naming import LABEL_NAMES
from stream_perceptron.data.notices import ColumnSummary, Notice, describe_columns
from stream_perceptron.data.source import Request
from stream_perceptron.data.text.records import RawLines
from stream_perceptron.data.text.scanning import LibsvmScanner
from stream_perceptron.errors import SourceError


class LibsvmFormat:
    """LIBSVM: each line is a label followed by pairs of a feature and its value, such as 3:0.5.

    Features keep their names from the file, whether numbering starts at 0 or 1. A line that begins
    with a pair has no label.
    """

    has_comments = True
    spans_lines = False
    n_header_lines = 0

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the lines, each of which is a record unless it is a comment."""
        return (replace(block, has_comments=True) for block in lines)

    def scanner(self) -> LibsvmScanner:
        """Return a scanner for the records."""
        return LibsvmScanner()

    def build_context(self, request: Request, where: str, first: bytes) -> Context:
        """Return the context of the records."""
        options = request.read_options
        has_columns = options.position or options.weight or options.encodings
        if options.passthrough or (request.to_learn and has_columns):
            raise SourceError(
                f"{where}: LIBSVM lines have no columns for --position, --weight, --one-hot, "
                "--dates, --words, --join or --keep"
            )
        return Context(options, request.schema, request.to_learn, is_text=True, has_pairs=True)

    def describe(
        self, context: Context, cells: Cells, deciding_records: Sequence[tuple[int, Sample]]
    ) -> tuple[Notice, ...]:
        """Return notices about the features and the label."""
        options = context.read_options
        scale = 1.0 if options.scale is None else options.scale
        names = tuple(map(str, deciding_records[0][1].names))
        description = ColumnSummary(
            names, " from 'features'", [scale], options.label or LABEL_NAMES[0]
        )
        return describe_columns(options, context.schema, description)
