"""Columns of Arrow record batches as features, labels, weights and offsets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from stream_perceptron.data import roles
from stream_perceptron.data.arrow.features import (
    PlainColumns,
    VectorColumn,
    feature_columns,
    is_number,
    numbers,
    with_indicators,
)
from stream_perceptron.data.batch import (
    BATCH_ROWS,
    MOST_BATCH_ROWS,
    Batch,
    Held,
    Inferred,
    Offset,
    Redeliveries,
    offset_of,
)
from stream_perceptron.data.byte_stream import first_line
from stream_perceptron.data.describe import UNKNOWN, Described, Note, describe, no_label
from stream_perceptron.data.labels import typed_labels
from stream_perceptron.data.naming import vector_names
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.data.source import (
    METADATA_KEY,
    Fit,
    Interpreter,
    Knowledge,
    RawRows,
    Request,
)
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.rows import Names

_BATCH_BYTES = 2**22
_MAX_DESCRIBED = 200  # the number of first rows whose texts are examined for notes


class ColumnDecoder:
    """Turns record batches of a source into batches.

    Attributes
    ----------
    names
        The names of all columns by position.
    used
        The positions of the columns that are decoded, ascending.
    texts
        The columns of texts that are not used.

    """

    def __init__(self, columns: pa.Schema, where: str, request: Request) -> None:
        try:
            names = roles.distinct(columns.names, request.selection, where)
        except UnicodeDecodeError:
            raise SourceError(f"{where}: the name of a column is not UTF-8") from None
        self.names = names
        if names != columns.names:
            fields = [field.with_name(n) for field, n in zip(columns, names, strict=True)]
            columns = pa.schema(fields, columns.metadata)
        selection = roles.among(request.selection, names, where, request.to_learn)
        self._where = where
        self._most_features = request.most_features
        self._selection = selection
        self._label = selection.label
        schema = request.schema
        if self._label is None:
            if request.needs_label:
                raise SourceError(no_label(where, names, schema))
        # A column of nulls does not decide the label type.
        elif not types.is_null(kind := columns.field(self._label).type):
            schema = schema.with_label_type(_label_type(kind, self._label, where), where)
        _require_types(columns, selection, where)
        taken = {self._label, *selection.roles, *selection.one_hot}
        free = {column.name: column.type for column in columns if column.name not in taken}
        unknown: list[str] = []
        if not request.to_learn and schema.features and not schema.is_open:
            # To predict, use the columns that the model knows.
            is_known = set(schema.features).__contains__
            unknown = [n for n, kind in free.items() if is_number(kind) and not is_known(n)]
        left_out = set(unknown)
        free = {name: kind for name, kind in free.items() if name not in left_out}
        self._features = feature_columns(free, selection, where)
        used = {*self._features.columns, *taken}.difference(selection.ignore).union(selection.kept)
        self.used = [i for i, name in enumerate(names) if name in used]
        left = {name: kind for name, kind in free.items() if name not in self._features.columns}
        self.texts = [name for name, kind in left.items() if _is_text(kind)]
        self._ignored = dict.fromkeys(unknown, UNKNOWN)
        self._ignored |= {n: str(kind) for n, kind in left.items() if not _is_text(kind)}
        self._ignored |= dict.fromkeys(selection.ignore, "as asked")
        self._origins = _index_columns(columns)
        # A vector's names are known after the first usable row.
        self._feature_names: Names = ()
        if isinstance(self._features, PlainColumns):
            self._feature_names = self._features.columns
        elif schema.features is not None:
            self._feature_names = vector_names(self._features.name, len(schema.features))
        are_plain = isinstance(self._features, PlainColumns)
        if (self._feature_names or are_plain) and (free or not selection.joins):
            schema = _with_columns(schema, tuple(map(str, self._feature_names)), where)
            if are_plain and not schema.columns:
                schema = replace(schema, columns=tuple(names), label=self._label)
        self.fit = Fit(schema, self._label, selection.join)

    @property
    def is_sized(self) -> bool:
        """Whether the number of features is known before the first row."""
        return bool(self._feature_names) or isinstance(self._features, PlainColumns)

    def decode(
        self, rows: pa.RecordBatch, schema: Schema, redeliveries: Redeliveries | None = None
    ) -> Batch:
        """Return rows as a batch.

        Parameters
        ----------
        rows
            Rows of the source; a single one if the number of features is not known.
        schema
            The schema before these rows.
        redeliveries
            The highest offset of each partition; None if redelivered rows are not detected.

        """
        names, after = self._feature_names, self.fit.schema
        if isinstance(self._features, VectorColumn) and not names and schema.features:
            names = vector_names(self._features.name, len(schema.features))
        elif not self.is_sized:  # the first usable row decides
            names = self._features.names_in(rows, self._most_features)
        batch = self._batch(rows, names, after, redeliveries)
        is_learned = batch.labels.count(None) < len(batch.labels)
        if not is_learned and not (self._selection.joins and len(batch.rows)):
            after = schema
        elif names and not self.is_sized:
            after = after.with_features(tuple(map(str, names)), self._where)
        return replace(batch, inferred=Inferred(after))

    def _batch(
        self,
        rows: pa.RecordBatch,
        names: Names,
        schema: Schema,
        redeliveries: Redeliveries | None,
    ) -> Batch:
        rejected: dict[int, str] = {}  # by place: why a row cannot be used
        n, selection = rows.num_rows, self._selection
        features, places = self._features.read(rows, names, rejected)
        if selection.joins and len(places) < n:
            features, places = features.spread(places, n), np.arange(n)
        offsets = _offsets(rows, selection, rejected)
        one_hot, kept = (
            [_values(rows.column(name), name, rejected) for name in names]
            for names in (selection.one_hot, selection.kept)
        )
        weights = _weights(rows, selection, rejected)
        labels: list[Any] = [None] * n
        if self._label is not None and schema.label_type is not None:
            values = _label_values(rows, self._label, rejected)
            if selection.missing and schema.label_type == "str":
                values = [roles.present(value, selection, is_text=True) for value in values]
            labels = typed_labels(values, schema.label_type, rejected)
        redelivered = None
        if redeliveries is not None and offsets:
            is_redelivered = list(map(redeliveries.copy().update, offsets))
            if any(is_redelivered):
                redelivered = np.array(is_redelivered)
                rejected = {i: why for i, why in rejected.items() if not redelivered[i]}
        if len(places) < n or rejected or redelivered is not None:
            left_out = np.zeros(n, bool) if redelivered is None else redelivered.copy()
            left_out[list(rejected)] = True
            usable = np.flatnonzero(~left_out[places])
            features, places = features[usable], places[usable]
            labels, weights = [labels[i] for i in places.tolist()], weights[places]
        missing = len(features.names) - features.lengths
        features, indicators = with_indicators(features, places, one_hot, selection)
        batch = Batch(
            self._where, 1, n, places, features, labels, weights, Inferred(schema), rejected,
            offsets=tuple(offsets), redelivered=redelivered,
            missing=missing if missing.any() else None, indicators=indicators,
            kept=[tuple(values[i] for values in kept) for i in places.tolist()] if kept else [],
        )  # fmt: skip
        held: dict[int, Held] = {
            i: partial(_readable_row, rows.slice(i, 1)) for i in batch.rejected
        }
        return replace(batch, held=held) if held else batch

    def texts_in(self, rows: pa.RecordBatch | pa.Table) -> dict[str, list[str]]:
        """Return the texts in some rows of the columns of texts that are not used."""
        columns = zip(self.texts, rows.columns, strict=True)
        return {
            name: [text or "" for text in _values(column, name, {})] for name, column in columns
        }

    def describe(
        self, rows: pa.RecordBatch, schema: Schema, texts: dict[str, list[str]]
    ) -> tuple[Note, ...]:
        """Return notes on the used and ignored columns, given first texts of the latter."""
        names = self._feature_names
        if not self.is_sized:
            names = self._features.names_in(rows, self._most_features)
            schema = schema.with_features(tuple(map(str, names)), self._where)
        found = Described(
            tuple(map(str, names)),
            self._features.source,
            sorted(set(self._features.scales.tolist())),
            self._label,
            self._ignored,
            texts,
            self._origins,
        )
        return describe(self._selection, schema, found)


class ArrowRows(RawRows):
    """Rows of a record batch."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def _slice(self, start: int, end: int) -> ArrowRows:
        return ArrowRows(self.batch.slice(start, end - start))


class ArrowInterpreter(Interpreter):
    """Interprets record batches.

    Parameters
    ----------
    decoder
        The decoder of the source's columns.
    request
        The request for the rows.
    columns
        The positions of the columns that the record batches have; None for all.
    first_texts
        The first texts of the columns that the record batches lack, for notes.

    """

    def __init__(
        self,
        decoder: ColumnDecoder,
        request: Request,
        columns: Sequence[int] | None = None,
        first_texts: dict[str, list[str]] | None = None,
    ) -> None:
        super().__init__(request)
        self._decoder, self._first_texts = decoder, first_texts
        self._names = decoder.names
        if columns is not None:
            self._names = [decoder.names[i] for i in columns]

    def max_rows(self, knowledge: Knowledge) -> int:
        is_sized = self._decoder.is_sized or knowledge.schema.features is not None
        return MOST_BATCH_ROWS if is_sized else 1

    def _interpret(
        self,
        rows: ArrowRows,
        knowledge: Knowledge,
        redeliveries: Redeliveries | None,
        fields: dict[str, Any],
    ) -> Batch:
        batch = self._decoder.decode(self._named(rows), knowledge.schema, redeliveries)
        return replace(batch, **fields)

    def _describe(self, rows: ArrowRows, knowledge: Knowledge) -> tuple[Note, ...]:
        batch, texts = self._named(rows), self._first_texts
        if texts is None:
            texts = self._decoder.texts_in(batch[:_MAX_DESCRIBED].select(self._decoder.texts))
        return self._decoder.describe(batch, self._decoder.fit.schema, texts)

    def _named(self, rows: ArrowRows) -> pa.RecordBatch:
        """Return rows with the names of their columns."""
        if rows.batch.schema.names == self._names:
            return rows.batch
        return rows.batch.rename_columns(self._names)


def arrow_rows(batches: Iterable[pa.RecordBatch], selection: Selection) -> Iterator[ArrowRows]:
    """Yield the rows of record batches, a few thousand at once at most."""
    # If each row has its own text, a batch has as many features as rows.
    max_rows = BATCH_ROWS if selection.one_hot else MOST_BATCH_ROWS
    for batch in batches:
        for start in range(0, batch.num_rows, max_rows):
            yield ArrowRows(batch.slice(start, max_rows))


def _require_types(columns: pa.Schema, selection: Selection, where: str) -> None:
    """Check that weights are numbers, and that columns of --one-hot are not nested."""
    for name in selection.one_hot:
        kind = columns.field(name).type
        if types.is_nested(kind):
            raise SourceError(
                f"{where}: text column {name!r} is of type {kind}: --one-hot is for texts, numbers "
                "and bools"
            )
    if selection.weight is not None and not is_number(columns.field(selection.weight).type):
        kind = columns.field(selection.weight).type
        raise SourceError(
            f"{where}: weight column {selection.weight!r} is of type {kind}, not a number"
        )


def _with_columns(schema: Schema, names: tuple[str, ...], where: str) -> Schema:
    """Return the schema with these features; some may have been undecided before."""
    decided = [name for name in names if name in schema.undecided]
    if not decided:
        return schema.with_features(names, where)
    schema.with_features(tuple(name for name in names if name not in decided), where)
    return schema.with_decided(names, ())


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if types.is_dictionary(kind) else kind
    return bool(
        types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)
    )


def _index_columns(columns: pa.Schema) -> list[str]:
    """Return the columns that were the index of a pandas frame."""
    try:
        told = json.loads((columns.metadata or {}).get(b"pandas", b"{}"))["index_columns"]
    except (ValueError, KeyError, TypeError):
        return []
    return [name for name in told if isinstance(name, str)]


def _label_type(kind: pa.DataType, label: str, where: str) -> str:
    value = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_integer(value) or types.is_floating(value):
        return "int"
    if types.is_boolean(value):
        return "bool"
    if _is_text(kind):
        return "str"
    raise SourceError(
        f"{where}: label column {label!r} is of type {kind}: labels are whole numbers, strings or "
        "bools"
    )


def _offsets(
    batch: pa.RecordBatch, selection: Selection, rejected: dict[int, str]
) -> list[Offset | None]:
    names = selection.position
    if not names:
        return []
    columns = [_values(batch.column(name), name, rejected) for name in names]
    offsets: list[Offset | None] = []
    for i, values in enumerate(zip(*columns, strict=True)):
        try:
            offsets.append(offset_of(selection, values))
        except SampleError as error:
            offsets.append(None)
            rejected.setdefault(i, str(error))
    return offsets


def _weights(
    batch: pa.RecordBatch, selection: Selection, rejected: dict[int, str]
) -> NDArray[np.float64]:
    name = selection.weight
    if name is None:
        return np.ones(batch.num_rows)
    column = batch.column(name)
    if column.null_count:
        kind = column.type
        column = column.fill_null(True if types.is_boolean(kind) else pa.scalar(1, kind))
    weights = numbers(column)
    for i in np.flatnonzero(~((weights >= 0) & (weights < np.inf))).tolist():
        shown = column[i].as_py()
        rejected.setdefault(i, f"weight {shown} is not a finite number of at least 0")
    return weights.astype(np.float64)


def _label_values(rows: pa.RecordBatch, name: str, rejected: dict[int, str]) -> list[Any]:
    """Return the values of a label column, as `_values`."""
    column = rows.column(name)
    kind = column.type
    if column.null_count or not (types.is_integer(kind) or types.is_floating(kind)):
        return _values(column, name, rejected)
    return list(numbers(column).tolist())  # many times faster than to_pylist


def _values(column: pa.Array | pa.ChunkedArray, name: str, rejected: dict[int, str]) -> list[Any]:
    """Return the values of a column; add rows with a value that Python cannot hold to `rejected`.

    These are texts that are not UTF-8, and times outside of Python's range.
    """
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        pass
    values = []
    for i, scalar in enumerate(column):
        try:
            values.append(scalar.as_py())
        except (ValueError, OverflowError) as error:
            values.append(None)
            is_text = isinstance(error, UnicodeDecodeError)
            problem = "is not UTF-8" if is_text else f"cannot be read: {first_line(error)}"
            rejected.setdefault(i, f"column {name!r} {problem}")
    return values


def _readable_row(row: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return the values of one row by name; invalid UTF-8 becomes lone surrogates."""
    return [{name: _readable(row.column(i)[0]) for i, name in enumerate(row.schema.names)}]


def _readable(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        value = scalar.value if isinstance(scalar, pa.DictionaryScalar) else scalar
        if not _is_text(value.type):
            return str(scalar)
        return value.as_buffer().to_pybytes().decode(errors="surrogateescape")


def declared_classes(columns: pa.Schema) -> list[Any] | None:
    """Return the classes declared in one of our own files."""
    metadata = (columns.metadata or {}).get(METADATA_KEY)
    return None if metadata is None else json.loads(metadata)["classes"]


def rows_at_once(size: int, n_rows: int) -> int:
    """Return the rows of a batch, given the size in bytes of n_rows rows."""
    return min(MOST_BATCH_ROWS, max(BATCH_ROWS, _BATCH_BYTES * n_rows // max(size, 1)))
