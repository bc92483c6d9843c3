"""A fast path for a few records with the same layout as an earlier one.

Records of a live stream arrive one or a few at a time, and most have the same cells: only the
numbers and the label differ. This module interprets such records in a fraction of the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Batch, InferredKnowledge
from stream_perceptron.data.cells import Cells, Kind
from stream_perceptron.data.interpreter.context import Context
from stream_perceptron.data.interpreter.name_roles import NameRole, NameRoles
from stream_perceptron.data.interpreter.record import find_label_key
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.values import require_utf8
from stream_perceptron.errors import SampleError
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.vocabulary import NamesPrefix

MAX_RECORDS = 32  # interpreting more records as a block takes about the same time
_MAX_CACHED_LABELS = 1000
_MIN_VECTORIZED = 64  # the sum of fewer values is faster in Python
_NUMERIC = (Kind.NUMBER, Kind.BOOL)


def _freeze(array: Array) -> Array:
    """Make an array read-only, because batches share it, and return it."""
    array.flags.writeable = False
    return array


_FIRST_ROW: NDArray[np.intp] = _freeze(np.zeros(1, np.intp))
_UNIT_WEIGHT: NDArray[np.float64] = _freeze(np.ones(1))


class _Layout(NamedTuple):
    """The cells of a record, and their roles."""

    context: Context
    cell_names: NamesPrefix  # the names of the cells, or those in pairs
    kinds: bytes
    label: int  # the cell of the label, or -1 if there is none
    inferred: InferredKnowledge
    labels: dict[tuple[type, object], object]  # by the type and content of the label's cell
    # The rest is unused for pairs.
    name_ids: bytes = b""
    member_kinds: bytes | None = None  # of the members of the only list, if there is one
    features: Any = None  # selects the cells of the features; None if they are the list's members
    feature_names: tuple[object, ...] = ()
    starts: NDArray[np.intp] = _FIRST_ROW  # of the features


class LayoutCache:
    """Interprets a few records by using the layout of an earlier record with the same cells.

    The names in LIBSVM pairs may differ, as long as all of them are known.
    """

    def __init__(self) -> None:
        self._layout: _Layout | None = None

    def store(self, context: Context, cells: Cells, batch: Batch) -> None:
        """Store the layout of the first of the records interpreted as `batch`, if it is plain."""
        if context.types or _has_other_roles(context.read_options):
            return
        if len(batch) > 1:
            cells, batch = cells[:1], batch.slice_first(1)
        if _is_plain(context, batch):
            find_layout = _find_pair_layout if context.has_pairs else _find_layout
            self._layout = find_layout(context, cells, batch) or self._layout

    def interpret(
        self, context: Context, cells: Cells, name_roles: NameRoles, fields: Mapping[str, Any]
    ) -> Batch | None:
        """Return records as a batch with further fields; None if the layout does not apply."""
        layout, n = self._layout, len(cells)
        if (
            layout is None
            or context is not layout.context
            or cells.errors
            or cells.kinds.tobytes() != layout.kinds * n
        ):
            return None
        features = (
            _read_pairs(layout, cells, name_roles)
            if context.has_pairs
            else _read_features(layout, cells)
        )
        labels: list[object] = [None] * n
        if features is not None and layout.label >= 0:
            labels = [
                _find_label(context, cells.contents.get(i), layout.labels)
                for i in range(layout.label, len(cells.kinds), len(layout.kinds))
            ]
        if features is None or (layout.label >= 0 and None in labels):
            return None
        return Batch(
            n_rows=n,
            rows=_FIRST_ROW if n == 1 else np.arange(n),
            features=features,
            labels=labels,
            weights=_UNIT_WEIGHT if n == 1 else np.ones(n),
            inferred=layout.inferred,
            **fields,
        )


def _read_features(layout: _Layout, cells: Cells) -> Rows | None:
    """Return the features of records; None if the layout does not apply."""
    n, members = len(cells), cells.members
    # No name occurs twice in a record, so equal sequences of names mean that each record has the
    # names of the layout.
    have_same_names = _serialize_name_ids(cells) == layout.name_ids * n
    if not (have_same_names and layout.cell_names.has_same_list_as(cells.names)):
        return None
    if layout.member_kinds is not None and (
        members is None
        or members.kinds.tobytes() != layout.member_kinds * n
        or (n > 1 and len(set(np.diff(members.starts).tolist())) > 1)
    ):
        return None
    if layout.features is None:
        assert members is not None
        numbers = members.numbers
    elif n == 1:
        numbers = cells.numbers[layout.features]
    else:
        numbers = cells.numbers.reshape(n, -1)[:, layout.features].ravel()
    values = _scale(layout.context, numbers)
    if values is None:
        return None
    n_features = len(layout.feature_names)
    starts = layout.starts if n == 1 else np.arange(n + 1) * n_features
    return Rows(layout.feature_names, starts, None, values)


def _read_pairs(layout: _Layout, cells: Cells, name_roles: NameRoles) -> Rows | None:
    """Return the features in the pairs of records; None if the layout does not apply."""
    members = cells.members
    if (
        members is None
        or members.name_ids is None
        or not layout.cell_names.has_same_list_as(members.names)
    ):
        return None
    name_roles.update(layout.context, members.names)
    if not (name_roles.roles[members.name_ids] == NameRole.FEATURE).all():
        return None
    values = _scale(layout.context, members.numbers)
    if values is None:
        return None
    rows = Rows(members.names, members.starts, members.name_ids, values)
    return rows.without_unused_names()


def _scale(context: Context, numbers: Array) -> NDArray[np.float64] | None:
    """Return the values of features; None if one may be infinite."""
    values: NDArray[np.float64] = numbers.astype(np.float64)
    if (scale := context.read_options.factor) is not None:
        with np.errstate(over="ignore"):
            values = values * scale
    if len(values) < _MIN_VECTORIZED:
        return values if math.isfinite(sum(values.tolist())) else None
    return values if np.isfinite(values).all() else None


def _is_plain(context: Context, batch: Batch) -> bool:
    """Return whether a record contains only numbers and a label, and adds no knowledge."""
    return (
        len(batch.rows) == batch.n_rows == 1
        and batch.missing is None
        and batch.inferred.schema is context.schema
        and not (batch.inferred.names or batch.inferred.seen)
    )


def _has_other_roles(options: ReadOptions) -> bool:
    """Return whether options concern more than the features, the label and ignored cells."""
    return bool(
        options.weight or options.position or options.passthrough or options.encodings
        or options.has_join or options.missing
    )  # fmt: skip


def _find_layout(context: Context, cells: Cells, batch: Batch) -> _Layout | None:
    """Return the layout of a record; None if a feature is not a number in a cell of its own."""
    assert isinstance(cells.names, NamesPrefix)
    names, schema = _list_cell_names(context, cells), context.schema
    prefix = f"{schema.key}." if schema.key and context.columns is None else ""
    cell_ids = {name: cell_id for cell_id, name in enumerate(names)}
    member_kinds = _serialize_member_kinds(cells)
    if schema.is_list:
        assert schema.key is not None
        features = [cell_ids.get(schema.key, -1)]
        if member_kinds is None or len(member_kinds) != len(batch.features.names):
            return None
        are_numeric = cells.kinds[features[0]] == Kind.LIST and set(member_kinds) <= {*_NUMERIC}
    else:
        features = [cell_ids.get(f"{prefix}{name}", -1) for name in batch.features.names]
        are_numeric = bool(np.isin(cells.kinds[features], _NUMERIC).all())
    label_key = context.read_options.label
    if context.columns is None:
        label_key = find_label_key(context, names)
    label = -1 if label_key is None else cell_ids.get(label_key, -1)
    if not are_numeric or min(features, default=-1) < 0:
        return None
    return _Layout(
        context,
        cells.names,
        cells.kinds.tobytes(),
        label,
        batch.inferred,
        {},
        name_ids=_serialize_name_ids(cells),
        member_kinds=member_kinds,
        features=None if schema.is_list else _build_index(features),
        feature_names=tuple(batch.features.names),
        starts=_freeze(np.array([0, len(batch.features.names)], np.intp)),
    )


def _find_pair_layout(context: Context, cells: Cells, batch: Batch) -> _Layout | None:
    """Return the layout of a record of pairs, which may follow a label."""
    if cells.members is None or not isinstance(cells.members.names, NamesPrefix):
        return None
    label = 0 if cells.kinds[0] == Kind.TEXT else -1
    kinds = cells.kinds.tobytes()
    return _Layout(context, cells.members.names, kinds, label, batch.inferred, {})


def _list_cell_names(context: Context, cells: Cells) -> list[str]:
    """Return the names of the cells of a record."""
    if context.columns is not None:
        return list(context.columns)
    assert cells.name_ids is not None
    return [cells.names[i] for i in cells.name_ids.tolist()]


def _serialize_name_ids(cells: Cells) -> bytes:
    return b"" if cells.name_ids is None else cells.name_ids.tobytes()


def _serialize_member_kinds(cells: Cells) -> bytes | None:
    """Return the kinds of the members of a record's only list; None if it has no list or more."""
    members = cells.members
    return None if members is None or len(members) != 1 else members.kinds.tobytes()


def _build_index(cell_ids: list[int]) -> object:
    """Return an index that selects these cells: a slice if they are consecutive."""
    first, end = cell_ids[0], cell_ids[0] + len(cell_ids)
    return slice(first, end) if cell_ids == list(range(first, end)) else np.array(cell_ids)


def _find_label(
    context: Context, content: Any, labels: dict[tuple[type, object], object]
) -> object:
    """Return the label for a cell's content, as `_read_label` does; `labels` holds earlier ones."""
    if isinstance(content, list | dict):
        return None
    key = type(content), content
    if key not in labels:
        if len(labels) == _MAX_CACHED_LABELS:
            labels.clear()
        labels[key] = _read_label(context, content)
    return labels[key]


def _read_label(context: Context, content: Any) -> object:
    """Return the label, given its cell content; None if the record must be interpreted in full."""
    options = context.read_options
    content = roles.convert_null(
        options.convert_decimal_comma(content, context.is_text), options, context.is_text
    )
    if content is None:
        return None
    try:
        text = require_utf8(content) if context.is_text else content
        label, schema = context.schema.parse_label(text, context.is_text)
    except SampleError:
        return None
    return label if schema is context.schema else None
