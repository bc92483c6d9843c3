"""Records as they are, without encoding them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.layout import compiled
from stream_perceptron.data.meaning.columns import Columns
from stream_perceptron.data.meaning.roles import CATEGORICAL


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
