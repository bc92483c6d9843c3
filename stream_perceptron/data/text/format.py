"""What a text format implements."""

from __future__ import annotations

from abc import abstractmethod

from stream_perceptron.data.layout import Format, Layout
from stream_perceptron.data.request import ReadRequest


class LineFormat(Format):
    """A text format, detected from the first line."""

    has_comments = False  # whether lines that begin with # are skipped
    n_header_lines = 0  # the lines of the header, from the first that is not blank
    is_incomplete = False  # whether the data end within the first record

    @abstractmethod
    def find_layout(self, request: ReadRequest, source_name: str) -> Layout:
        """Return the layout of the records.

        Raises
        ------
        SourceError
            If the source does not fit the model or lacks a required column.

        """
