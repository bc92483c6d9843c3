"""The LIBSVM format."""

from __future__ import annotations

from collections.abc import Iterable

from stream_perceptron.data.layout import LIBSVM, Layout
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.errors import SourceError


class LibsvmFormat:
    """LIBSVM: each line is a label followed by pairs of a feature and its value, such as 3:0.5.

    Features keep their names from the file, whether numbering starts at 0 or 1. A line that begins
    with a pair has no label.
    """

    has_comments = True
    n_header_lines = 0
    is_incomplete = False

    def find_layout(self, request: ReadRequest, where: str, lines: Iterable[bytes]) -> Layout:
        """Return the layout of the records."""
        options = request.read_options
        has_columns = options.position or options.weight or options.categorical
        if options.passthrough or (request.to_learn and has_columns):
            raise SourceError(
                f"{where}: LIBSVM lines have no columns for --position, --weight, --categorical, "
                "--join or --keep"
            )
        return Layout(LIBSVM, options)
