"""What the rows of a source have had so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.layout import compiled
from stream_perceptron.data.meaning.columns import Columns
from stream_perceptron.data.meaning.roles import CELL
from stream_perceptron.model.rows import REJECTED


def find_numeric_columns(columns: Columns) -> list[str]:
    """Return the columns that have had numbers; if rows are lists, their elements."""
    if columns.layout.is_list:
        return list(columns.layout.element_names)
    actions = columns.reader.list_columns().items()
    return [path for path, (action, id_) in actions if action == CELL and id_ >= 0]


def find_string_columns(columns: Columns) -> list[str]:
    """Return the columns of this source that have had strings."""
    had_strings = columns.features.string_columns
    return [path for path in columns.reader.list_columns() if path in had_strings]


def find_seen(columns: Columns, names: set[str]) -> set[str]:
    """Return the names in options that have occurred in a row."""
    occurred = {*filter(columns.reader.has_occurred, names)}
    seen = occurred | names.intersection(columns.layout.columns)
    # The label may be written in another letter case.
    return seen | {str(columns.layout.label)} if columns.roles.found_labels else seen


def list_column_paths(columns: Columns, batch: Batch) -> Sequence[str]:
    """Return the columns of a table, or the paths in the first usable record of a batch."""
    layout, usable = columns.layout, np.flatnonzero(batch.status < REJECTED)
    if layout.columns or layout.is_encoded or batch.lines is None or not len(usable):
        return layout.columns
    line = batch.lines.read(int(usable[0])).encode()
    record: Any = layout.format.decode(compiled.OBJECT, line)
    return [*iter_paths(record)]


def iter_paths(record: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the paths of the members of a record, and of those of objects in it.

    Examples
    --------
    >>> list(iter_paths({"a": {"b": 1}, " c ": [2]}))
    ['a', 'a.b', 'c']

    """
    for name, member in record.items():
        path = f"{prefix}{name.strip()}"
        yield path
        if isinstance(member, dict):
            yield from iter_paths(member, f"{path}.")
