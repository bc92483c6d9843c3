"""The interpretation of single records that are like the one before.

Records of a live stream arrive one at a time and mostly have the same cells, so that only numbers
and the label differ. Those are read here, in a fraction of the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Batch, Inferred
from stream_perceptron.data.cells import Cells, Kind
from stream_perceptron.data.interpreter.context import Context
from stream_perceptron.data.interpreter.record import find_label_key
from stream_perceptron.data.schema import Selection
from stream_perceptron.data.values import require_utf8
from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.vocabulary import FirstNames

_NUMERIC = (Kind.NUMBER, Kind.BOOL)


def _fixed(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that batches share, which nothing may change."""
    array.flags.writeable = False
    return array


_FIRST_ROW: NDArray[np.intp] = _fixed(np.zeros(1, np.intp))
_WEIGHT: NDArray[np.float64] = _fixed(np.ones(1))


class _Layout(NamedTuple):
    """The cells of a record, and what they mean."""

    context: Context
    cell_names: FirstNames
    name_ids: bytes
    kinds: bytes
    label: int  # the cell of the label, -1 for none
    features: Any  # selects the cells of the features
    feature_names: tuple[Any, ...]
    starts: NDArray[np.intp]  # of the features
    inferred: Inferred


class AlikeRecords:
    """Interprets a single record that has the cells of an earlier one."""

    def __init__(self) -> None:
        self._layout: _Layout | None = None

    def remember(self, context: Context, cells: Cells, batch: Batch) -> None:
        """Remember the cells of a record that was interpreted as this batch, if they are plain."""
        if _is_plain(context, batch):
            self._layout = _find_layout(context, cells, batch) or self._layout

    def interpret(self, context: Context, cells: Cells, fields: Mapping[str, Any]) -> Batch | None:
        """Return a record as a batch with further fields; None if it may differ in other ways."""
        layout = self._layout
        if (
            layout is None
            or context is not layout.context
            or cells.kinds.tobytes() != layout.kinds
            or _name_bytes(cells) != layout.name_ids
            or not layout.cell_names.shares_list_with(cells.names)
        ):
            return None
        values: NDArray[np.float64] = cells.numbers[layout.features].astype(np.float64)
        if (scale := context.selection.factor) is not None:
            with np.errstate(over="ignore"):
                values = values * scale
        label = None
        if layout.label >= 0:
            label = _read_label(context, cells.contents.get(layout.label))
            if label is None:
                return None
        if not math.isfinite(sum(values.tolist())):
            return None
        return Batch(
            n_rows=1,
            rows=_FIRST_ROW,
            features=Rows(layout.feature_names, layout.starts, None, values),
            labels=[label],
            weights=_WEIGHT,
            inferred=layout.inferred,
            **fields,
        )


def _is_plain(context: Context, batch: Batch) -> bool:
    """Whether a record consists of numbers and a label, and changed nothing that was inferred."""
    return (
        not (context.are_pairs or context.types or _has_other_roles(context.selection))
        and len(batch.rows) == batch.n_rows == 1
        and batch.missing is None
        and batch.inferred.schema is context.schema
        and not (batch.inferred.names or batch.inferred.seen)
    )


def _has_other_roles(options: Selection) -> bool:
    """Whether cells may have roles that depend on their content."""
    return bool(
        options.weight or options.position or options.kept or options.encodings or options.joins
        or options.missing
    )  # fmt: skip


def _find_layout(context: Context, cells: Cells, batch: Batch) -> _Layout | None:
    """Return the layout of a record; None if a feature has no number in a cell of its own."""
    assert isinstance(cells.names, FirstNames)
    names = _names_of(context, cells)
    prefix = f"{context.schema.key}." if context.schema.key and context.columns is None else ""
    places = {name: place for place, name in enumerate(names)}
    features = [places.get(f"{prefix}{name}", -1) for name in batch.features.names]
    label_key = context.selection.label
    if context.columns is None:
        label_key = find_label_key(context, names)
    label = -1 if label_key is None else places.get(label_key, -1)
    kinds = cells.kinds.tolist()
    if not features or any(place < 0 or kinds[place] not in _NUMERIC for place in features):
        return None
    return _Layout(
        context,
        cells.names,
        _name_bytes(cells),
        cells.kinds.tobytes(),
        label,
        _as_slice(features),
        tuple(batch.features.names),
        _fixed(np.array([0, len(features)], np.intp)),
        batch.inferred,
    )


def _names_of(context: Context, cells: Cells) -> list[str]:
    """Return the names of the cells of a record."""
    if context.columns is not None:
        return list(context.columns)
    assert cells.name_ids is not None
    return [cells.names[i] for i in cells.name_ids.tolist()]


def _name_bytes(cells: Cells) -> bytes:
    return b"" if cells.name_ids is None else cells.name_ids.tobytes()


def _as_slice(places: list[int]) -> Any:
    """Return an index that selects these places."""
    first, end = places[0], places[0] + len(places)
    return slice(first, end) if places == list(range(first, end)) else np.array(places)


def _read_label(context: Context, content: Any) -> Any:
    """Return the label for the content of its cell; None if it has to be examined."""
    options = context.selection
    content = roles.present(options.with_point(content, context.is_text), options, context.is_text)
    if content is None or isinstance(content, list | dict):
        return None
    try:
        text = require_utf8(content) if context.is_text else content
        label, schema = context.schema.with_label(text, context.is_text)
    except SampleError:
        return None
    return label if schema is context.schema else None
