"""The LIBSVM format."""

from __future__ import annotations

from collections.abc import Iterable

from stream_perceptron.data.columns import LIBSVM
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.naming import LABEL_NAMES
from stream_perceptron.data.notices import ColumnSummary, Notice, describe_columns
from stream_perceptron.data.request import Request
from stream_perceptron.data.text_source import Probe
from stream_perceptron.errors import SourceError


class LibsvmFormat:
    """LIBSVM: each line is a label followed by pairs of a feature and its value, such as 3:0.5.

    Features keep their names from the file, whether numbering starts at 0 or 1. A line that begins
    with a pair has no label.
    """

    has_comments = True
    has_header = False

    def find_layout(self, request: Request, where: str, lines: Iterable[bytes]) -> Layout:
        """Return the layout of the records."""
        options = request.read_options
        has_columns = options.position or options.weight or options.encodings
        if options.passthrough or (request.to_learn and has_columns):
            raise SourceError(
                f"{where}: LIBSVM lines have no columns for --position, --weight, --one-hot, "
                "--dates, --words, --join or --keep"
            )
        return Layout(LIBSVM, options)

    def require_features(self, probe: Probe, where: str) -> None:
        """Accept any record: each of its pairs is a feature."""

    def describe(self, probe: Probe) -> tuple[Notice, ...]:
        """Return notices about the features and the label."""
        options = probe.columns.layout.read_options
        summary = ColumnSummary(
            [*map(str, probe.first)],
            " from 'features'",
            [1.0 if options.scale is None else options.scale],
            options.label or LABEL_NAMES[0],
        )
        return describe_columns(options, probe.columns.schema, summary)
