"""Describe what the compiled reader has noted about columns."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Any

from stream_perceptron.data.layout import Layout, compiled
from stream_perceptron.data.meaning.reader import MAX_STRING_FEATURES
from stream_perceptron.data.notices import (
    describe_first_string,
    describe_full_column,
    describe_ignored_list,
)
from stream_perceptron.encoders import encode_string


def describe_reader_notes(
    notes: Sequence[Sequence[Any]],
    layout: Layout,
    string_columns: Collection[str],
    already_described: set[Hashable],
) -> Iterator[tuple[int, str]]:
    """Yield the row and the text of each note that is worth a notice and has not been described.

    Parameters
    ----------
    notes
        Notes of the reader; see `Records.notes`.
    layout
        The layout of the records.
    string_columns
        The columns that had strings before.
    already_described
        What has been described: the code and the column of notes. New ones are added.

    """
    for row, code, column, is_category, had_number, content in notes:
        if (code, column) in already_described:
            continue
        if code == compiled.IGNORED_LIST:
            text = describe_ignored_list(column)
        elif code == compiled.FULL_COLUMN:
            text = describe_full_column(column, MAX_STRING_FEATURES)
        elif is_category or column in string_columns:
            continue
        else:
            string = str(layout.format.decode(compiled.TEXT, content)).strip()
            text = ""
            if [*encode_string(column, string)] == [f"{column}={string}"]:
                has_types = layout.format.has_typed_cells
                text = describe_first_string(column, string, had_number, has_types)
        if text:
            already_described.add((code, column))
            yield row, text
