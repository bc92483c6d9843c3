"""Records as they are, without encoding them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.layout import compiled
from stream_perceptron.data.meaning.columns import Columns
from stream_perceptron.data.meaning.roles import CATEGORICAL
from stream_perceptron.model.rows import REJECTED


def iter_records(columns: Columns, batch: Batch) -> Iterator[Mapping[Any, object]]:
    """Yield the raw records of a batch without rejected rows, or their features by name."""
    layout = columns.layout
    if not columns.is_raw:
        yield from batch.dicts()
    elif layout.columns:
        names = columns.kept.passthrough_names
        for values in batch.passthrough or [()] * len(batch):
            yield dict(zip(names, values, strict=True))
    else:
        actions = columns.roles.actions.items()
        used = {path for path, action in actions if action != CATEGORICAL} | {columns.roles.label}
        assert batch.lines is not None
        for i in range(len(batch)):
            record: Any = layout.format.decode(compiled.OBJECT, batch.lines.read(i).encode())
            yield _remove_paths(record, used)


def list_paths(columns: Columns, batch: Batch) -> Sequence[str]:
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


def _remove_paths(
    record: dict[str, Any], paths: Collection[str | None], prefix: str = ""
) -> dict[str, Any]:
    """Return a record without the members that paths identify, and without spaces around names."""
    members = ((name.strip(), value) for name, value in record.items())
    return {
        name: _remove_paths(value, paths, f"{prefix}{name}.") if isinstance(value, dict) else value
        for name, value in members
        if f"{prefix}{name}" not in paths
    }
