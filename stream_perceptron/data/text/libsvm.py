"""The LIBSVM format."""

from __future__ import annotations

import re

from stream_perceptron.data.layout import Layout, compiled
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.text.format import LineFormat
from stream_perceptron.data.values import NUMBER
from stream_perceptron.errors import Reason, SourceError
from stream_perceptron.model.vocabulary import find_duplicates

_PAIR = re.compile(rf"([^\s:]+):({NUMBER})")
_MAX_SHOWN = 50  # characters of a pair


class LibsvmFormat(LineFormat):
    """LIBSVM: each line is a label followed by pairs of a feature and its value, such as 3:0.5.

    Features keep their names from the file, whether numbering starts at 0 or 1. A line that begins
    with a pair has no label.
    """

    scanner = compiled.LIBSVM
    has_typed_cells = False
    has_comments = True

    def find_layout(self, request: ReadRequest, source_name: str) -> Layout:
        options = request.read_options
        has_columns = options.position or options.weight or options.categorical
        if options.passthrough or (request.to_learn and has_columns):
            raise SourceError(
                f"{source_name}: LIBSVM lines have no columns for --position, --weight, "
                "--categorical, --join or --keep"
            )
        return Layout(self, options, is_encoded=True)

    def decode(self, cell_kind: int, content: bytes) -> str:
        return content.decode()

    def explain_rejection(self, record: bytes) -> Reason:
        tokens = record.decode().partition("#")[0].split()
        pairs = tokens[1:] if tokens and ":" not in tokens[0] else tokens
        for token in pairs:
            if not _PAIR.fullmatch(token):
                text = f"it is not LIBSVM: {token[:_MAX_SHOWN]!r} is not an index:value pair"
                return Reason(text, "invalid_pair")
        for duplicate in find_duplicates([pair.partition(":")[0] for pair in pairs])[:1]:
            return Reason(f"it has feature {str(duplicate)[:_MAX_SHOWN]!r} twice", "duplicate")
        return Reason("it is not LIBSVM")
