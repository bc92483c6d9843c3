"""Columns of Arrow record batches as features, labels, weights and offsets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from stream_perceptron.data.batch import Batch, Offset, offset_of
from stream_perceptron.data.feature_columns import (
    PlainColumns,
    VectorColumn,
    feature_columns,
    is_number,
    numbers,
)
from stream_perceptron.data.labels import typed_labels
from stream_perceptron.data.schema import Schema, Selection, describe, vector_names
from stream_perceptron.data.source import Fit, Request
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.features import Dense, Names

__all__ = ["ColumnDecoder"]

Rejections = dict[int, str]


class ColumnDecoder:
    """How the columns of a source become batches.

    Parameters
    ----------
    columns
        The source's Arrow schema.
    where
        What the source is called in messages.
    request
        What is to be read.

    Raises
    ------
    SourceError
        If a named column is absent, the label is not clear, there are no features, or the source
        does not fit those read before.

    """

    def __init__(self, columns: pa.Schema, where: str, request: Request) -> None:
        selection = request.selection
        names = columns.names
        if request.to_learn:
            selection.require_columns(names, where)
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise SourceError(f"{where}: two columns are called {twice[0]!r}")
        self._where = where
        self._request = request
        self._label = selection.label_among(names, where)
        schema = request.schema
        if self._label is not None:
            label_type = _label_type(columns.field(self._label).type, self._label, where)
            schema = schema.with_label_type(label_type, where)
        if selection.weight in names and not is_number(columns.field(selection.weight).type):
            kind = columns.field(selection.weight).type
            raise SourceError(
                f"{where}: weight column {selection.weight!r} is of type {kind}, not a number"
            )
        roles = {self._label, *selection.roles}
        free = {column.name: column.type for column in columns if column.name not in roles}
        self._features = feature_columns(free, selection, where)
        used = self._features.columns
        self._ignored = {name: str(kind) for name, kind in free.items() if name not in used}
        self._ignored |= dict.fromkeys(selection.ignore, "as asked")
        # The features by name; those of a vector are known once there was a usable row.
        self._names: Names | None = None
        if isinstance(self._features, PlainColumns):
            self._names = self._features.columns
        elif schema.features is not None:
            self._names = vector_names(self._features.name, len(schema.features))
        if self._names is not None:
            schema = schema.with_features(tuple(map(str, self._names)), where)
        self._schema = schema

    @property
    def fit(self) -> Fit:
        """How the columns fit the request."""
        return Fit(self._schema, self._label)

    def batches(self, arrow: Iterable[pa.RecordBatch], first_row: int) -> Iterator[Batch]:
        """Yield record batches, of which the first begins with row `first_row`, as batches.

        Raises
        ------
        SourceError
            If the features are not those read before.

        """
        schema, names, is_described = self._schema, self._names, False
        for record_batch in arrow:
            part = self._part(record_batch, schema)
            if names is None and isinstance(self._features, VectorColumn):
                start, names = self._first_usable(part, self._features)
                if start:
                    yield self._unusable(part[:start], schema, first_row)
                    first_row += start
                    part = part[start:]
                if names is not None:
                    schema = schema.with_features(tuple(map(str, names)), self._where)
            if names is not None:
                batch = self._batch(part, schema, names, first_row, is_described)
                is_described = is_described or bool(batch.notes)
                first_row += len(part)
                yield batch

    def _first_usable(self, part: _Part, column: VectorColumn) -> tuple[int, Names | None]:
        """Return the place of the first usable row and its features; all before are rejected."""
        for i in range(len(part)):
            if i in part.rejected or (part.replayed is not None and part.replayed[i]):
                continue
            row, rejected = part.batch[i : i + 1], Rejections()
            names = column.names_in(row)
            column.read(row, names, rejected)
            if not rejected:
                return i, names
            part.rejected[i] = rejected[0]
        return len(part), None

    def _part(self, batch: pa.RecordBatch, schema: Schema) -> _Part:
        """Return rows with what is known of each before its features are read."""
        request, rejected = self._request, Rejections()
        offsets = _offsets(batch, request.selection, rejected)
        had = [offset is not None and request.replays.had(offset) for offset in offsets]
        part = _Part(
            batch,
            labels=[None] * batch.num_rows,
            weights=_weights(batch, request.selection, rejected),
            offsets=offsets,
            replayed=np.array(had) if any(had) else None,
            rejected=rejected,
        )
        if self._label is not None:
            assert schema.label_type is not None
            values = _as_list(batch.column(self._label))
            part.labels = typed_labels(values, schema.label_type, rejected)
        return part

    def _unusable(self, part: _Part, schema: Schema, first_row: int) -> Batch:
        """Return rows of which none is usable."""
        return Batch(
            self._where, first_row, len(part), np.zeros(0, np.intp), Dense((), np.zeros((0, 0))),
            [], np.zeros(0), schema, part.final_rejections, tuple(part.offsets), part.replayed,
        )  # fmt: skip

    def _batch(
        self, part: _Part, schema: Schema, names: Names, first_row: int, is_described: bool
    ) -> Batch:
        features, rows = self._features.read(part.batch, names, part.rejected)
        rejected = part.final_rejections
        labels, weights = part.labels, part.weights
        if len(rows) < len(part) or rejected or part.replayed is not None:
            left_out = np.zeros(len(part), bool)
            left_out[list(rejected)] = True
            if part.replayed is not None:
                left_out |= part.replayed
            kept = np.flatnonzero(~left_out[rows])
            features, rows = features[kept], rows[kept]
            labels, weights = [labels[i] for i in rows.tolist()], weights[rows]
        return Batch(
            source=self._where,
            first_row=first_row,
            n_rows=len(part),
            rows=rows,
            features=features,
            labels=labels,
            weights=weights,
            schema=schema,
            rejected=rejected,
            offsets=tuple(part.offsets),
            replayed=part.replayed,
            notes=()
            if is_described or len(rejected) == len(part)
            else self._describe(schema, names),
        )

    def _describe(self, schema: Schema, names: Names) -> tuple[str, ...]:
        """Say in a few lines what is used and what is not."""
        scales = sorted(set(self._features.scales.tolist()))
        return describe(
            self._request.selection, schema, tuple(map(str, names)), self._features.source, scales,
            self._label, self._ignored,
        )  # fmt: skip


@dataclass
class _Part:
    """Rows of a record batch, and what is known of each before its features are read."""

    batch: pa.RecordBatch
    labels: list[Any]
    weights: NDArray[np.float64]
    offsets: list[Offset | None]
    replayed: NDArray[np.bool_] | None
    rejected: Rejections = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def __getitem__(self, rows: slice) -> _Part:
        """Return the rows from one place to before another."""
        start, end, _ = rows.indices(len(self))
        return _Part(
            self.batch[start:end],
            self.labels[start:end],
            self.weights[start:end],
            self.offsets[start:end],
            None if self.replayed is None else self.replayed[start:end],
            {i - start: why for i, why in self.rejected.items() if start <= i < end},
        )

    @property
    def final_rejections(self) -> Rejections:
        """The rejected rows without those that came before."""
        if self.replayed is None:
            return self.rejected
        return {i: why for i, why in self.rejected.items() if not self.replayed[i]}


def _label_type(kind: pa.DataType, label: str, where: str) -> str:
    value = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_integer(value) or types.is_floating(value) or types.is_null(value):
        return "int"
    if types.is_boolean(value):
        return "bool"
    if types.is_string(value) or types.is_large_string(value) or types.is_string_view(value):
        return "str"
    raise SourceError(
        f"{where}: label column {label!r} is of type {kind}: labels are whole numbers, strings or "
        "bools"
    )


def _offsets(
    batch: pa.RecordBatch, selection: Selection, rejected: Rejections
) -> list[Offset | None]:
    names = selection.position
    if not names or not set(names) <= set(batch.schema.names):
        return []
    columns = [batch.column(name).to_pylist() for name in names]
    offsets: list[Offset | None] = []
    for i, values in enumerate(zip(*columns, strict=True)):
        try:
            offsets.append(offset_of(selection, values))
        except SampleError as error:
            offsets.append(None)
            rejected[i] = str(error)
    return offsets


def _weights(
    batch: pa.RecordBatch, selection: Selection, rejected: Rejections
) -> NDArray[np.float64]:
    name = selection.weight
    if name is None or name not in batch.schema.names:
        return np.ones(batch.num_rows)
    column = batch.column(name)
    weights = numbers(column)
    for i in np.flatnonzero(~((weights >= 0) & (weights < np.inf))).tolist():
        shown = column[i].as_py() if column[i].is_valid else "null"
        rejected.setdefault(i, f"weight {shown} is not a finite number of at least 0")
    return weights.astype(np.float64)


def _as_list(column: pa.Array) -> list[Any]:
    kind = column.type
    if column.null_count or not (types.is_integer(kind) or types.is_floating(kind)):
        return list(column.to_pylist())
    return list(numbers(column).tolist())  # many times faster
