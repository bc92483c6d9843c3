"""Vectorized interpretation of records whose names are known and whose kinds are as expected.

It gives the same samples as `interpret_record`, to which all other records are deferred.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress, count, repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data import roles
from stream_perceptron.data.batch import MissingValues, Offset
from stream_perceptron.data.cells import UNNAMED_LIST, Cells, Kind, select_cells, take_records
from stream_perceptron.data.encodings import encode_content
from stream_perceptron.data.interpreter.context import Context
from stream_perceptron.data.interpreter.record import parse_offset
from stream_perceptron.data.naming import LABEL_NAMES, find_column, is_position
from stream_perceptron.data.schema import Encoding, Schema
from stream_perceptron.data.values import require_utf8
from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.vocabulary import NamesPrefix, Vocabulary

# The roles of names.
_IGNORED, _FEATURE, _UNTYPED, _TEXT, _LABEL, _WEIGHT, _ENCODED, _DEFERRED, _UNKNOWN = range(9)

Mask = NDArray[np.bool_]
# An encoding, the cells to encode, and the row of each cell, ascending.
EncodedCells = tuple[Encoding, NDArray[np.intp], NDArray[np.intp]]


@dataclass(eq=False, repr=False)
class InterpretedBlock:
    """The interpretation of a block of records; that of deferred records is undefined."""

    is_deferred: Mask  # which records are left to `interpret_record`, shape (n,)
    features: Rows
    labels: list[Any]
    is_labeled: Mask
    weights: NDArray[np.float64]
    missing: MissingValues
    encoded: Rows  # the features that encode texts and dates
    passthrough: Sequence[tuple[Any, ...]] = ()  # the passthrough columns of each record
    offsets: Sequence[Offset | None] = ()  # of each record, if the user has named its columns
    other_labels: frozenset[str] = frozenset()  # default names of labels that are not the label
    unknown_names: frozenset[str] = frozenset()  # ignored numbers that the model lacks

    def __len__(self) -> int:
        return len(self.labels)


class NameRoles:
    """The roles of the names of a source, kept from one block to the next.

    Names are only appended, so each is examined once, unless the schema changes.

    Attributes
    ----------
    features
        The names of features and of numbers that may become features: first the known ones, in the
        order of the model.
    feature_ids
        The feature of each name, -1 for none.
    roles
        The role of each name.
    is_inside
        Whether each name is inside the object with the features, if there is one.
    plain_features
        The feature of each name without another role, -1 for none. The cells of other names are
        examined.

    """

    def __init__(self) -> None:
        self._schema: Schema | None = None
        self._vocabulary: Vocabulary | None = None
        self._names: Sequence[Hashable] = ()
        self._layout: tuple[Context, TableLayout] | None = None

    def update(self, context: Context, names: Sequence[Hashable]) -> None:
        """Update the roles for the names of a block."""
        schema, vocabulary = context.schema, context.vocabulary
        are_more = isinstance(names, NamesPrefix) and names.has_same_list_as(self._names)
        if schema != self._schema or vocabulary is not self._vocabulary or not are_more:
            first = vocabulary.names if schema.features is None else schema.features
            self.features: list[Any] = [*map(str, first)]
            self._feature_ids_by_name = {name: i for i, name in enumerate(self.features)}
            self._is_known = np.ones(len(self.features), bool)
            self._initial_roles, self.is_inside = np.empty(0, np.int8), np.empty(0, bool)
            self.feature_ids = np.empty(0, np.int32)
            self._ids_by_name: dict[Hashable, int] = {}
            self._last_ids, self._last_features = np.empty(0, np.int32), ()
            self._n_known = len(vocabulary)
            self._examined_ids: list[int] = []
        self._schema, self._vocabulary, self._names = schema, vocabulary, names
        n_before, n_known_before = len(self._initial_roles), self._n_known
        if n_before < len(names):
            self._add(context, names[n_before:])
        if n_known_before < len(vocabulary):
            learned = vocabulary.names[n_known_before:]
            numbers = np.fromiter(map(self._feature_ids_by_name.get, learned, repeat(-1)), np.intp)
            self._is_known[numbers[numbers >= 0]] = True
            self._n_known = len(vocabulary)
        if n_before < len(names) or n_known_before < len(vocabulary) or not n_before:
            roles = self._initial_roles
            is_feature = roles == _UNTYPED
            is_known = np.append(self._is_known, False).take(self.feature_ids)
            self.roles = np.where(is_feature & is_known, np.int8(_FEATURE), roles)
            is_plain = is_feature if schema.features is None else self.roles == _FEATURE
            is_plain[self._examined_ids] = False
            self.plain_features = np.where(is_plain, self.feature_ids, np.int32(-1))
            self.are_all_plain = bool(is_plain.all())

    def _add(self, context: Context, paths: Sequence[Any]) -> None:
        """Add names to those of the source."""
        options, schema, numbers = context.read_options, context.schema, self._feature_ids_by_name
        n_before, n = len(self._initial_roles), len(paths)
        special_names, object_prefixes = _find_special_names(context)
        prefix = f"{schema.key}." if schema.key else ""
        names, is_inside = paths, np.ones(n, bool)
        if prefix:
            names = [path[len(prefix) :] for path in paths]
            is_inside = np.fromiter(map(str.startswith, paths, repeat(prefix)), bool, n)
        accepts_new_features = not (schema.is_list or context.is_vocabulary_fixed)
        accepts_new_features &= schema.features is None
        roles_of_paths = np.full(n, _UNTYPED, np.int8)
        if not (
            accepts_new_features
            and is_inside.all()
            and special_names.isdisjoint(names)
            and not object_prefixes
        ):
            expected = None if schema.features is None else {*schema.features, *schema.untyped}
            for i, (path, name) in enumerate(zip(paths, names, strict=True)):
                if (
                    not (accepts_new_features and is_inside[i])
                    or path in special_names
                    or name in special_names
                ):
                    role = _find_role(context, path, object_prefixes)
                    is_unknown = expected is not None and name not in expected
                    roles_of_paths[i] = _UNKNOWN if role == _UNTYPED and is_unknown else role
                elif object_prefixes and path.startswith(object_prefixes):
                    roles_of_paths[i] = _DEFERRED
        is_feature = roles_of_paths == _UNTYPED
        features = names if is_feature.all() else list(compress(names, is_feature.tolist()))
        n_features = len(self.features)
        new = [name for name in features if name not in numbers]
        numbers.update(zip(new, count(n_features), strict=False))
        self.features += new
        feature_ids = np.full(n, -1, np.int32)
        if len(new) == len(features):
            feature_ids[is_feature] = n_features + np.arange(len(new))
        else:
            feature_ids[is_feature] = list(map(numbers.__getitem__, features))
        are_known = np.zeros(len(new), bool)
        if schema.features is not None:
            # The model may have features beyond those of the schema.
            are_known[:] = list(map(context.vocabulary.ids_by_name.__contains__, new))
        self._is_known = np.concatenate([self._is_known, are_known])
        self._initial_roles = np.concatenate([self._initial_roles, roles_of_paths])
        self.is_inside = np.concatenate([self.is_inside, is_inside])
        self.feature_ids = np.concatenate([self.feature_ids, feature_ids])
        examined = {*LABEL_NAMES, *options.passthrough, *options.position}
        encoded = [f"{prefix}{name}" for name in options.encoded]
        for name in {*special_names, *examined, schema.key, *encoded}.intersection(paths):
            self._ids_by_name[name] = number = n_before + paths.index(name)
            # Names with another role than that of a feature are examined.
            if name in examined and not context.has_pairs:
                self._examined_ids.append(number)

    def find_layout(self, context: Context) -> TableLayout:
        """Return the layout of a table: the same object as long as the context is the same."""
        if self._layout is None or self._layout[0] is not context:
            self._layout = context, TableLayout.from_context(context)
        return self._layout[1]

    def find_feature_names(self, ids: NDArray[np.int32]) -> tuple[str, ...]:
        """Return the features of names: the same object as before if the IDs are equal."""
        if not np.array_equal(ids, self._last_ids):
            features = map(self.features.__getitem__, self.feature_ids[ids].tolist())
            self._last_ids, self._last_features = ids.copy(), tuple(features)
        return self._last_features

    def find_id(self, name: str) -> int:
        """Return the ID of a name with a role, -1 if it does not occur."""
        return self._ids_by_name.get(name, -1)

    def find_new_features(self, features: Rows, is_learned: Mask) -> list[str]:
        """Return the features of learned rows that were not known before the block."""
        if self._is_known.all() or not is_learned.any():
            return []
        if features.name_ids is None:
            if features.names is self._last_features:
                ids = self.feature_ids[self._last_ids]
            else:
                ids = np.array(
                    [self._feature_ids_by_name[str(name)] for name in features.names], np.int32
                )
            return [self.features[i] for i in ids[~self._is_known[ids]].tolist()]
        if features.names is self._names:
            numbers_of_names = self.feature_ids
        else:
            numbers_of_names = np.arange(len(self.features), dtype=np.int32)
        is_new = ~self._is_known[numbers_of_names]
        values = np.flatnonzero(is_new.take(features.name_ids))
        if not is_learned.all():
            rows = np.searchsorted(features.starts, values, side="right") - 1
            values = values[is_learned[rows]]
        occurs = np.zeros(len(self.features), bool)
        occurs[numbers_of_names[features.name_ids[values]]] = True
        return [self.features[i] for i in np.flatnonzero(occurs).tolist()]


def interpret_block(context: Context, cells: Cells, names: NameRoles) -> InterpretedBlock | None:
    """Interpret records at once; return None if none of them can be."""
    options = context.read_options
    if context.columns is not None:
        return _Table(context, cells).interpret(names)
    if context.has_pairs:
        return _Pairs(context, cells).interpret(names)
    if options.label is not None and context.schema.label is None and is_position(options.label):
        return None
    if context.schema.key is None or options.is_label_required:
        return None
    return _Members(context, cells).interpret(names)


class _Reader:
    """Reads the cells that all formats have in common."""

    def __init__(self, context: Context, cells: Cells) -> None:
        self.context, self.cells = context, cells
        self.options, self.schema = context.read_options, context.schema
        self.n = len(cells)
        self.is_deferred = np.zeros(self.n, bool)
        if cells.errors:
            self.is_deferred[list(cells.errors)] = True
        self.null_numbers = [
            number
            for text in self.options.missing
            if context.is_text and (number := _parse_float(text)) is not None
        ]

    def parse_contents(
        self, ids: NDArray[np.intp], rows: NDArray[np.intp], parse: Callable[[Any], Any]
    ) -> tuple[list[Any], Mask]:
        """Parse the contents of cells; return the values by record, and which records have one.

        A record is deferred if `parse` raises an error.
        """
        codes, contents = self.cells.contents.encode(ids)
        parsed: dict[tuple[type, Any], Any] = {}
        values: list[Any] = []
        for content in contents:
            value = _FAILED
            if not isinstance(content, list | dict):
                key = type(content), content
                if key not in parsed:
                    try:
                        parsed[key] = parse(content)
                    except SampleError:
                        parsed[key] = _FAILED
                value = parsed[key]
            values.append(value)
        has_failed = np.array([value is _FAILED for value in values], bool)
        has_value = np.array([value is not None for value in values], bool)
        if has_failed.any():
            self.is_deferred[rows[has_failed[codes]]] = True
            values = [None if value is _FAILED else value for value in values]
        by_code = np.empty(len(values), object)
        by_code[:] = values
        cell_values = by_code[codes].tolist()
        if len(rows) == self.n:
            return cell_values, has_value[codes]
        row_values: list[Any] = [None] * self.n
        for row, value in zip(rows.tolist(), cell_values, strict=True):
            row_values[row] = value
        row_has_value = np.zeros(self.n, bool)
        row_has_value[rows] = has_value[codes]
        return row_values, row_has_value

    def parse_label(self, content: Any) -> Any:
        """Return the label for the content of a cell."""
        is_text = self.context.is_text
        content = self.options.convert_decimal_comma(content, is_text)
        value = roles.convert_null(content, self.options, is_text)
        if is_text and value is not None:
            value = require_utf8(value)
        label, schema = self.schema.parse_label(value, is_text)
        if label is not None and schema is not self.schema:
            raise SampleError("the record decides the type of labels")
        return label

    def _encode_column(
        self, encoding: Encoding, ids: NDArray[np.intp], rows: NDArray[np.intp]
    ) -> tuple[Rows, NDArray[np.intp]]:
        """Return the features for the contents of cells, and the rows where these are missing.

        Parameters
        ----------
        encoding
            How contents become features.
        ids
            The cells.
        rows
            The row of each cell, ascending.

        """
        codes, contents = self.cells.contents.encode(ids)
        encoded: list[dict[str, float] | None] = []
        has_failed = np.zeros(len(contents), bool)
        for content in contents:
            try:
                features = encode_content(encoding, content, self.options, self.context.is_text)
            except SampleError:
                has_failed[len(encoded)], features = True, None
            encoded.append(features)
        self.is_deferred[rows[has_failed[codes]]] = True
        encoded_rows = Rows.from_dicts([features or {} for features in encoded])[codes]
        if len(rows) < self.n:
            encoded_rows = encoded_rows.scatter(rows, self.n)
        is_missing = np.array([features is None for features in encoded], bool)
        return encoded_rows, rows[is_missing[codes]]

    def encode_columns(self, cells: Iterable[EncodedCells], missing: NDArray[np.intp]) -> Rows:
        """Return the features for the contents of cells, and count the missing ones."""
        encoded, counted = Rows.empty(self.n), set()
        for encoding, ids, rows in cells:
            features, missing_rows = self._encode_column(encoding, ids, rows)
            encoded = encoded.merge_features(features)
            if int(ids[0]) not in counted:  # a column with two encodings counts once
                missing[missing_rows] += 1
            counted.add(int(ids[0]))
        return encoded

    def find_null_texts(self, ids: NDArray[np.intp]) -> Mask:
        """Return which cells are texts that mean a missing value."""
        nulls = self.options.null_values
        codes, contents = self.cells.contents.encode(ids)
        return np.array([isinstance(c, str) and c.strip() in nulls for c in contents], bool)[codes]

    def select_features(
        self, cells: Cells, names: NameRoles
    ) -> tuple[Rows, NDArray[np.intp], NDArray[np.intp]]:
        """Return the numbers of plain features as rows; also the other cells and their records."""
        assert cells.name_ids is not None
        starts, feature_ids, values, other_cells, rows = select_cells(cells, names.plain_features)
        features = self.build_rows(NamesPrefix(names.features), starts, feature_ids, values)
        return features, other_cells, rows

    def build_rows(
        self, names: Sequence[Any], starts: NDArray[np.intp], name_ids: Any, values: NDArray[Any]
    ) -> Rows:
        """Return rows of scaled numbers; a record with an infinite number is deferred."""
        scale = self.text_scale
        if values.dtype == np.uint8 and self.can_stay_bytes(scale):
            return Rows(names, starts, name_ids, values, scale)
        values = self.scale_values(values, scale)
        with np.errstate(over="ignore", invalid="ignore"):
            are_finite = math.isfinite(values.sum())
        if not are_finite:
            infinite = np.flatnonzero(~np.isfinite(values))
            self.is_deferred[np.searchsorted(starts, infinite, side="right") - 1] = True
        return Rows(names, starts, name_ids, values)

    @property
    def text_scale(self) -> float:
        """The factor of numbers without a declared type."""
        return 1.0 if self.options.scale is None else self.options.scale

    def can_stay_bytes(self, scale: float | NDArray[np.float64]) -> bool:
        """Return whether numbers stay bytes if all are whole numbers from 0 to 255."""
        # Pending samples are saved, so their type must not depend on other rows in the block.
        if self.options.has_join:
            return False
        return isinstance(scale, float) and math.isfinite(255 * scale)

    def scale_values(
        self, values: NDArray[Any], scale: float | NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return values times a factor for all columns, or one for each."""
        if isinstance(scale, float) and scale == 1.0:
            return values.astype(np.float64, copy=False)
        with np.errstate(over="ignore"):
            scaled: NDArray[np.float64] = np.multiply(values, scale, dtype=np.float64)
        return scaled

    def build_table_rows(
        self,
        features: tuple[str, ...],
        values: NDArray[Any],
        convert_null: Mask | None,
        scale: float | NDArray[np.float64],
    ) -> Rows:
        """Return rows of values, shape (n, d), as bytes if possible; deferred rows have any."""
        if isinstance(scale, float):
            are_declared = self.context.byte_scale is not None
            if are_declared or self.can_stay_bytes(scale):
                values = _pack_bytes(values, convert_null, are_declared)
                if values.dtype == np.uint8:
                    return Rows.from_table(
                        features, np.ascontiguousarray(values), convert_null, scale
                    )
        with np.errstate(over="ignore", invalid="ignore"):
            are_finite = math.isfinite(values.sum())
        if not are_finite:
            finite = np.isfinite(values)
            self.is_deferred |= (~finite if convert_null is None else ~finite & convert_null).any(
                axis=1
            )
            values = np.where(finite, values, 0.0)
        scaled = self.scale_values(values, scale)
        if np.abs(scale).max(initial=0.0) > 1:
            self.is_deferred |= np.isinf(scaled).any(axis=1)
        return Rows.from_table(features, scaled, convert_null)

    def read_lists(
        self, lists: NDArray[np.intp], rows: NDArray[np.intp], missing: NDArray[np.intp],
        scale: float,
    ) -> Rows:  # fmt: skip
        """Return the features in lists, and count the missing ones.

        Parameters
        ----------
        lists
            The index of each list of features among all lists.
        rows
            The row of each list, ascending; other rows have no features.
        missing
            The number of missing features of each row, to be increased.
        scale
            The factor of the features.

        """
        members = self.cells.members
        features = tuple(map(str, self.schema.features or ()))
        d = len(features)
        if members is None or not d:
            self.is_deferred[rows] = True
            return Rows.from_rows([], []).scatter(np.empty(0, np.intp), self.n)
        has_length = np.diff(members.starts)[lists] == d
        self.is_deferred[rows[~has_length]] = True
        if len(lists) < len(members) or not has_length.all():
            members = take_records([members], lists[has_length])
            rows = rows[has_length]
        values, kinds = members.numbers.reshape(-1, d), members.kinds.reshape(-1, d)
        convert_null = None
        if not members.are_all_numbers:
            convert_null = (kinds == Kind.NUMBER) | (kinds == Kind.BOOL)
            is_null = kinds == Kind.NULL
            self.is_deferred[rows[(~convert_null & ~is_null).any(axis=1)]] = True
            missing[rows] += np.count_nonzero(is_null, axis=1)
        if len(rows) == self.n:
            return self.build_table_rows(features, values, convert_null, scale)
        is_deferred, self.is_deferred = self.is_deferred, np.zeros(len(rows), bool)
        list_rows = self.build_table_rows(features, values, convert_null, scale)
        is_deferred[rows[self.is_deferred]] = True
        self.is_deferred = is_deferred
        return list_rows.scatter(rows, self.n)

    def parse_offsets(self, columns: Sequence[list[Any]]) -> list[Offset | None]:
        """Return the offset of each record, given the contents of the offset's columns."""
        offsets: list[Offset | None] = []
        if not columns:
            return offsets
        for i, values in enumerate(zip(*columns, strict=True)):
            offset = None
            with suppress(SampleError):
                offset = parse_offset(self.context, values)
            offsets.append(offset)
            self.is_deferred[i] |= offset is None
        return offsets


def _pack_bytes(
    values: NDArray[Any], convert_null: Mask | None, are_declared: bool
) -> NDArray[Any]:
    """Return values as bytes if they are declared as such, or are whole numbers from 0 to 255."""
    if values.dtype == np.uint8:
        return values
    if are_declared:
        return (values if convert_null is None else np.where(convert_null, values, 0)).astype(
            np.uint8
        )
    # Numbers may be doubles only because of cells that are not features.
    if convert_null is None and values.size:
        with np.errstate(invalid="ignore"):
            if (values[0].astype(np.uint8) == values[0]).all():
                pixels = values.astype(np.uint8)
                return pixels if (pixels == values).all() else values
    return values


_FAILED = object()


class TableLayout(NamedTuple):
    """The columns of a table by position.

    Attributes
    ----------
    positions
        The position of each column.
    features
        The positions of the features, in the order of their names.
    select
        Selects the features: a slice if they are consecutive.
    scales
        The factors of the features: one for all, or an array.
    changes_schema
        Whether a learned row changes the schema.

    """

    positions: dict[str, int]
    features: NDArray[np.intp]
    select: Any
    scales: float | NDArray[np.float64]
    changes_schema: bool

    @classmethod
    def from_context(cls, context: Context) -> TableLayout:
        """Return the layout for a context."""
        columns = context.table_columns
        positions = {name: c for c, name in enumerate(context.columns or ())}
        feature_positions = np.array([positions[name] for name in columns.numbers], np.intp)
        is_slice = len(feature_positions) > 0 and bool((np.diff(feature_positions) == 1).all())
        has_columns = columns.vector_column is None
        changes_schema = has_columns and context.schema_of_known_columns != context.schema
        select = (
            slice(int(feature_positions[0]), int(feature_positions[-1]) + 1)
            if is_slice
            else feature_positions
        )
        scales = np.array([context.find_scale(name) for name in columns.numbers])
        is_uniform = len(set(scales.tolist())) == 1
        return cls(
            positions,
            feature_positions,
            select,
            float(scales[0]) if is_uniform else scales,
            changes_schema,
        )


class _Table(_Reader):
    """Reads rows of a table."""

    def interpret(self, names: NameRoles) -> InterpretedBlock | None:
        """Return the interpretation of the rows."""
        context, options, columns = self.context, self.options, self.context.table_columns
        layout = names.find_layout(context)
        is_vector, changes_schema = columns.vector_column is not None, layout.changes_schema
        if self.schema.is_new or not (columns.numbers or columns.encodings or is_vector):
            return None
        self.positions, self.rows_of_block = layout.positions, np.arange(self.n)
        missing = np.zeros(self.n, np.intp)
        if columns.vector_column is not None:
            if self.schema.features is None:
                return None
            features = self._read_vectors(columns.vector_column, missing)
        else:
            features = self._read_numbers(layout, missing)
        weights = np.ones(self.n)
        if options.weight is not None:
            weights = self._read_weights(self._find_cells(options.weight))
        labels: list[Any] = [None] * self.n
        is_labeled = np.zeros(self.n, bool)
        if options.label is not None:
            labels, is_labeled = self._parse_cells(options.label, self.parse_label)
        cells = [
            (encoding, self._find_cells(encoding.column), self.rows_of_block)
            for encoding in columns.encodings
        ]
        encoded = self.encode_columns(cells, missing)
        untyped = None
        if names_untyped := tuple(n for n in columns.untyped if n not in options.encoded):
            ones = np.ones((self.n, len(names_untyped)), np.uint8)
            untyped = Rows.from_table(names_untyped, ones)
        if changes_schema:  # the first learned row changes it
            self.is_deferred |= is_labeled | options.has_join
        offsets = self.parse_offsets([self._read_column(name) for name in options.position])
        return InterpretedBlock(
            self.is_deferred, features, labels, is_labeled, weights,
            MissingValues(missing, untyped), encoded, self._read_passthrough(), offsets,
        )  # fmt: skip

    def _find_cells(self, column: str) -> NDArray[np.intp]:
        """Return the cells of a column."""
        return self.rows_of_block * len(self.context.columns or ()) + self.positions[column]

    def _read_column(self, column: str) -> list[Any]:
        """Return the contents of a column."""
        return self.cells.contents.get_all(self._find_cells(column))

    def _parse_cells(self, column: str, parse: Callable[[Any], Any]) -> tuple[list[Any], Mask]:
        """Parse the cells of a column; return the values, and which rows have one."""
        return self.parse_contents(self._find_cells(column), self.rows_of_block, parse)

    def _read_passthrough(self) -> list[tuple[Any, ...]]:
        """Return the contents of the passthrough columns."""
        if not self.options.passthrough:
            return []
        if self.context.is_text:
            columns = [
                self._parse_cells(name, require_utf8)[0] for name in self.options.passthrough
            ]
        else:
            columns = [self._read_column(name) for name in self.options.passthrough]
        return list(zip(*columns, strict=True))

    def _read_numbers(self, layout: TableLayout, missing: NDArray[np.intp]) -> Rows:
        """Return the features, each in a column of its own, and count the missing values."""
        cells, columns = self.cells, self.context.table_columns
        d = len(self.context.columns or ())
        kinds, numbers = cells.kinds.reshape(self.n, d), cells.numbers.reshape(self.n, d)
        for name in columns.untyped:
            c = self.positions[name]
            non_nulls = np.flatnonzero(kinds[:, c] != Kind.NULL)
            if len(non_nulls):
                self.is_deferred[non_nulls[~self.find_null_texts(non_nulls * d + c)]] = True
        values = numbers[:, layout.select]
        convert_null = self._find_present(values, kinds[:, layout.select], layout.features)
        if convert_null is not None:
            missing += np.count_nonzero(~convert_null, axis=1)
        return self.build_table_rows(columns.numbers, values, convert_null, layout.scales)

    def _read_vectors(self, column: str, missing: NDArray[np.intp]) -> Rows:
        """Return the features in a column of lists, and count the missing values."""
        ids = self._find_cells(column)
        is_head = self.cells.kinds[ids] == Kind.LIST
        if not self.options.has_join:  # rows with only a label have no features
            self.is_deferred |= ~is_head
        lists = np.searchsorted(self.cells.list_ids, ids[is_head])
        scale = self.context.find_scale(column)
        return self.read_lists(lists, self.rows_of_block[is_head], missing, scale)

    def _find_present(
        self, values: NDArray[Any], kinds: NDArray[np.uint8], feature_positions: NDArray[np.intp]
    ) -> Mask | None:
        """Return which values are not null; None if none is null.

        `feature_positions` has the positions of the columns of values. Rows with a text that is not
        null are deferred.
        """
        if not self.null_numbers and (kinds == Kind.NUMBER).all():
            return None
        convert_null: Mask = (kinds == Kind.NUMBER) | (kinds == Kind.BOOL)
        suspects = kinds == Kind.TEXT
        if self.null_numbers:
            suspects |= convert_null & np.isin(values, self.null_numbers)
        rows, columns = np.nonzero(suspects)
        if len(rows):
            d = len(self.context.columns or ())
            is_null = self.find_null_texts(rows * d + feature_positions[columns])
            convert_null[rows[is_null], columns[is_null]] = False
            self.is_deferred[rows[~is_null & (kinds[rows, columns] == Kind.TEXT)]] = True
        return convert_null

    def _read_weights(self, ids: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the sample weights in cells, one for each row."""
        kinds = self.cells.kinds[ids]
        is_number = (kinds == Kind.NUMBER) | (kinds == Kind.BOOL)
        weights = np.where(is_number, self.cells.numbers[ids], 1.0)
        self.is_deferred |= ~((weights >= 0) & (weights < math.inf))
        rows = np.flatnonzero(kinds != Kind.NULL if self.null_numbers else kinds == Kind.TEXT)
        if len(rows):
            is_null = self.find_null_texts(ids[rows])
            weights[rows[is_null]] = 1.0
            self.is_deferred[rows[~is_null & (kinds[rows] == Kind.TEXT)]] = True
        return weights


class _Pairs(_Reader):
    """Reads records of a label and pairs of names and numbers."""

    def interpret(self, names: NameRoles) -> InterpretedBlock | None:
        """Return the interpretation of the records."""
        members = self.cells.members
        if self.schema.is_new or members is None or members.name_ids is None:
            return None
        names.update(self.context, members.names)
        unknown_names: frozenset[str] = frozenset()
        if names.are_all_plain:
            features = self.build_rows(
                members.names, members.starts, members.name_ids, members.numbers
            )
        else:
            features, other_cells, rows = self.select_features(members, names)
            other_roles = names.roles[members.name_ids[other_cells]]
            self.is_deferred[rows[other_roles == _UNTYPED]] = True
            is_unknown = other_roles == _UNKNOWN
            self.is_deferred[rows[is_unknown]] |= features.lengths[rows[is_unknown]] == 0
            unknown_names = _collect_names(members, other_cells[is_unknown])
        rows = np.flatnonzero(self.cells.kinds[::2] != Kind.NULL)
        labels, is_labeled = self.parse_contents(2 * rows, rows, self.parse_label)
        return InterpretedBlock(
            self.is_deferred, features, labels, is_labeled, np.ones(self.n),
            MissingValues(np.zeros(self.n, np.intp)), Rows.empty(self.n),
            unknown_names=unknown_names,
        )  # fmt: skip


class _Members(_Reader):
    """Reads records that name their cells.

    Most cells are numbers of features; the others (`other_cells`) are examined.
    """

    def interpret(self, name_roles: NameRoles) -> InterpretedBlock | None:
        """Return the interpretation of the records."""
        cells, options, schema = self.cells, self.options, self.schema
        if schema.is_new:
            return None
        name_roles.update(self.context, cells.names)
        self.names = name_roles
        missing = np.zeros(self.n, np.intp)
        features = None if schema.is_list else self._select_plain_features(name_roles)
        if features is None:
            self._set_other_cells(np.arange(len(cells.kinds)), np.zeros(self.n, np.intp))
        self.name_ids = cells.name_ids[self.other_cells]  # type: ignore[index]
        self.kinds = cells.kinds[self.other_cells]
        self.other_roles = other_roles = name_roles.roles[self.name_ids]
        # A record is deferred if a role has an object or a list, except a list to encode.
        are_lists, are_objects = self.kinds == Kind.LIST, self.kinds == Kind.OBJECT
        self._defer(
            (are_lists | are_objects) & ((other_roles == _LABEL) | (other_roles == _WEIGHT))
            | (other_roles == _DEFERRED)
        )
        self._defer(are_objects & (other_roles == _ENCODED))
        if schema.columns:  # the members of a bare list are the values of the columns
            self._defer(
                (self.name_ids == self._find_name_id(UNNAMED_LIST)) & (self.kinds == Kind.LIST)
            )
        labels, is_labeled = self._parse_cells(other_roles == _LABEL, self.parse_label)
        weights = self._read_weights()
        encoded, untyped = self.encode_columns(self._encoded_cells(), missing), None
        if features is None:
            features = self._read_feature_lists(schema.key or "", missing)
        else:
            features, untyped = self._complete_features(
                features, missing, is_labeled | options.has_join
            )
        other_labels = self._find_other_labels(other_roles == _LABEL)
        if not (schema.columns or schema.is_list) or schema.label is None:
            self.is_deferred |= is_labeled | options.has_join  # the first learned record sets them
        if not self.context.has_features:
            self.is_deferred |= is_labeled  # a record of texts alone is rejected
        offsets = self.parse_offsets([self._read_column(name) for name in options.position])
        is_unknown_number = (other_roles == _UNKNOWN) & (self.kinds == Kind.NUMBER)
        return InterpretedBlock(
            self.is_deferred, features, labels, is_labeled, weights,
            MissingValues(missing, untyped), encoded, self._read_passthrough(), offsets,
            other_labels, _collect_names(cells, self.other_cells[is_unknown_number]),
        )  # fmt: skip

    def _encoded_cells(self) -> Iterator[EncodedCells]:
        """Yield the cells of the columns that are encoded."""
        options, schema = self.options, self.schema
        # A column may be inside the object with the features, or outside without another role.
        prefixes = [f"{schema.key}.", ""] if schema.key and not schema.is_list else [""]
        for prefix in prefixes:
            for encoding in options.encodings:
                if not prefix and encoding.column in options.roles:
                    continue
                ids = np.flatnonzero(
                    self.name_ids == self._find_name_id(f"{prefix}{encoding.column}")
                )
                if len(ids):
                    yield encoding, self.other_cells[ids], self.other_rows[ids]

    def _select_plain_features(self, name_roles: NameRoles) -> Rows:
        """Return the numbers of plain features, and set the other cells."""
        cells, n = self.cells, self.n
        name_ids = cells.name_ids
        assert name_ids is not None
        d = int(cells.starts[1])
        are_alike = len(name_ids) == n * d and (np.diff(cells.starts) == d).all()
        if are_alike and (name_ids.reshape(n, d) == name_ids[:d]).all():
            ids = name_ids[:d]
            kinds = cells.kinds.reshape(n, d)
            if (kinds == kinds[0]).all():
                kinds = kinds[:1]
            is_column = (name_roles.plain_features[ids] >= 0) & (kinds == Kind.NUMBER).all(axis=0)
            is_feature = (name_roles.roles[ids] == _FEATURE) | (name_roles.roles[ids] == _UNTYPED)
            is_feature &= ~(kinds == Kind.OBJECT).all(axis=0)
            if (is_column == is_feature).all() and is_column.any():
                other_positions = np.flatnonzero(~is_column)
                other_ids = (np.arange(n)[:, np.newaxis] * d + other_positions).ravel()
                self._set_other_cells(other_ids, np.full(n, np.count_nonzero(is_column)))
                names = name_roles.find_feature_names(ids[is_column])
                select: Any = is_column
                columns = np.flatnonzero(is_column)
                if columns[-1] - columns[0] == len(columns) - 1:
                    select = slice(int(columns[0]), int(columns[-1]) + 1)
                values = cells.numbers.reshape(n, d)[:, select]
                return self.build_table_rows(names, values, None, self.text_scale)
        features, self.other_cells, self.other_rows = self.select_features(cells, name_roles)
        self.n_plain = features.lengths
        return features

    def _set_other_cells(self, other_cells: NDArray[np.intp], n_plain: NDArray[np.intp]) -> None:
        """Set the other cells, and the number of plain features in each record."""
        self.other_cells, self.n_plain = other_cells, n_plain
        self.other_rows = np.searchsorted(self.cells.starts, other_cells, side="right") - 1

    def _complete_features(
        self, features: Rows, missing: NDArray[np.intp], is_learned: Mask
    ) -> tuple[Rows, Rows | None]:
        """Return the features and the nulls of untyped names, and count the other nulls."""
        schema, options = self.schema, self.options
        other_roles, kinds = self.other_roles, self.kinds
        is_inside, key = self.names.is_inside[self.name_ids], schema.key
        lacks_object = np.zeros(self.n, bool)
        if key:
            lacks_object[:] = True
            is_key = (self.name_ids == self._find_name_id(key)) & (kinds == Kind.OBJECT)
            lacks_object[self.other_rows[is_key]] = False
            self._defer((kinds == Kind.OBJECT) & is_inside)
        is_feature = ((other_roles == _FEATURE) | (other_roles == _UNTYPED)) & (
            kinds != Kind.OBJECT
        )
        self._defer((kinds == Kind.LIST) & is_feature)
        is_null = is_feature & (kinds == Kind.NULL)
        texts = np.flatnonzero(is_feature & (kinds == Kind.TEXT))
        if len(texts):
            null_texts = self.find_null_texts(self.other_cells[texts])
            is_null[texts[null_texts]] = True
            self._defer_unexpected_texts(texts, texts[~null_texts], is_learned)
        missing += self._count_by_record(is_null & (other_roles == _FEATURE))
        is_untyped = is_null & (other_roles == _UNTYPED)
        is_number = is_feature & ((kinds == Kind.NUMBER) | (kinds == Kind.BOOL))
        if schema.features is not None:  # a number decides the type of an untyped column
            self._defer(is_number & (other_roles == _UNTYPED))
        is_text = ((other_roles == _TEXT) | (other_roles == _ENCODED)) & is_inside
        if options.has_join:  # some records have only a label
            is_other = (other_roles != _LABEL) & (other_roles != _WEIGHT) & (kinds != Kind.NULL)
            is_other &= ~np.isin(
                self.name_ids, [self._find_name_id(name) for name in options.roles]
            )
            has_others = self.n_plain + self._count_by_record(is_other) > 0
            has_no_number = self.n_plain + self._count_by_record(is_number) == 0
            self.is_deferred |= has_others & (has_no_number | lacks_object)
            missing[~has_others] = 0
            is_untyped &= has_others[self.other_rows]
        else:
            has_none = self.n_plain + self._count_by_record(is_feature | is_text) == 0
            self.is_deferred |= has_none | lacks_object
        # The first learned value of an encoded column makes it a column of texts.
        prefix = f"{key}." if key else ""
        new = [n for n in options.encoded if n not in (schema.texts or ())]
        if new:
            is_new = np.isin(self.name_ids, [self._find_name_id(prefix + name) for name in new])
            self._defer(is_text & is_new & is_learned[self.other_rows])
        if is_number.any():
            features = self._insert_numbers(features, is_number)
        return features, self._build_unit_rows(is_untyped) if is_untyped.any() else None

    def _build_unit_rows(self, mask: Mask) -> Rows:
        """Return rows with the value 1 for the names of the other cells in a mask."""
        starts = np.concatenate([[0], np.cumsum(self._count_by_record(mask))])
        name_ids = self.names.feature_ids[self.name_ids[mask]]
        return Rows(
            NamesPrefix(self.names.features), starts, name_ids, np.ones(len(name_ids), np.uint8)
        )

    def _defer_unexpected_texts(
        self, texts: NDArray[np.intp], non_nulls: NDArray[np.intp], is_learned: Mask
    ) -> None:
        """Defer records with texts where numbers may be expected; `non_nulls` are not null."""
        other_roles, rows = self.other_roles, self.other_rows
        is_known = other_roles[non_nulls] == _FEATURE
        if new_names := self.context.new_names:  # of earlier records
            features = self.names.feature_ids[self.name_ids[non_nulls]].tolist()
            is_known |= np.array([self.names.features[i] in new_names for i in features], bool)
        self.is_deferred[rows[non_nulls[is_known | is_learned[rows[non_nulls]]]]] = True
        # A later record of the block may make a name with texts one of numbers.
        cells = self.cells
        assert cells.name_ids is not None
        has_numbers = np.zeros(len(self.names.roles), bool)
        is_number = (cells.kinds == Kind.NUMBER) | (cells.kinds == Kind.BOOL)
        has_numbers[cells.name_ids[is_number]] = True
        is_either = (other_roles[texts] == _UNTYPED) & has_numbers[self.name_ids[texts]]
        self.is_deferred[rows[texts[is_either]]] = True

    def _count_by_record(self, mask: Mask) -> NDArray[np.intp]:
        """Return the number of the other cells in a mask, by record."""
        return np.bincount(self.other_rows[mask], minlength=self.n)

    def _insert_numbers(self, features: Rows, mask: Mask) -> Rows:
        """Return features with the numbers of the other cells in a mask inserted."""
        rows = self.other_rows[mask]
        feature_ids = self.names.feature_ids[self.name_ids[mask]]
        values = self.scale_values(self.cells.numbers[self.other_cells[mask]], self.text_scale)
        self.is_deferred[rows[~np.isfinite(values)]] = True
        ends = features.starts[rows + 1]
        names, of_features = features.names, features.value_name_ids
        if features.name_ids is None:
            numbers = {name: i for i, name in enumerate(self.names.features)}
            of_features = np.array([numbers[name] for name in names], np.int32)[of_features]
        counts = np.cumsum(np.bincount(rows, minlength=self.n))
        return Rows(
            NamesPrefix(self.names.features),
            features.starts + np.concatenate([[0], counts]),
            np.insert(of_features, ends, feature_ids),
            np.insert(features.numbers, ends, values),
        )

    def _read_feature_lists(self, key: str, missing: NDArray[np.intp]) -> Rows:
        """Return the features in lists, and count the missing values."""
        is_head = (self.name_ids == self._find_name_id(key)) & (self.kinds == Kind.LIST)
        # The index of each list of features among all lists.
        lists = np.flatnonzero(is_head[self.kinds == Kind.LIST])
        has_list = np.zeros(self.n, bool)
        has_list[self.other_rows[is_head]] = True
        self.is_deferred |= ~has_list
        return self.read_lists(lists, self.other_rows[is_head], missing, self.text_scale)

    def _read_weights(self) -> NDArray[np.float64]:
        """Return the sample weights."""
        weights = np.ones(self.n)
        ids = np.flatnonzero(self.other_roles == _WEIGHT)
        if len(ids):
            is_null, is_text = self.kinds[ids] == Kind.NULL, self.kinds[ids] == Kind.TEXT
            numbers = self.cells.numbers[self.other_cells[ids]]
            weights[self.other_rows[ids]] = np.where(is_null | is_text, 1.0, numbers)
            self.is_deferred[self.other_rows[ids[is_text]]] = True
            self.is_deferred |= ~((weights >= 0) & (weights < math.inf))
            weights = np.where(np.isfinite(weights), weights, 1.0)
        return weights

    def _read_passthrough(self) -> list[tuple[Any, ...]]:
        """Return the contents of the passthrough columns."""
        if not self.options.passthrough:
            return []
        return list(zip(*map(self._read_column, self.options.passthrough), strict=True))

    def _read_column(self, name: str) -> list[Any]:
        """Return the content of a name in each record; defer records in which it is nested."""
        ids = np.flatnonzero(self.name_ids == self._find_name_id(name))
        is_head = (self.kinds[ids] == Kind.LIST) | (self.kinds[ids] == Kind.OBJECT)
        self.is_deferred[self.other_rows[ids[is_head]]] = True
        column: list[Any] = [None] * self.n
        contents = self.cells.contents.get_all(self.other_cells[ids])
        for row, content in zip(self.other_rows[ids].tolist(), contents, strict=True):
            column[row] = content
        return column

    def _find_other_labels(self, is_label: Mask) -> frozenset[str]:
        """Return the default names of labels that are not the label."""
        schema, context = self.schema, self.context
        other_names: set[str] = set()
        if schema.label is not None:
            for name in LABEL_NAMES:
                rows = self.other_rows[self.name_ids == self._find_name_id(name)]
                is_encoded = name in self.options.encoded
                if name == schema.label or is_encoded or not len(rows):
                    continue
                if context.learns:
                    other_names.add(name)
                else:
                    has_label = np.zeros(self.n, bool)
                    has_label[self.other_rows[is_label]] = True
                    self.is_deferred[rows[~has_label[rows]]] = True
        elif not self.options.has_join:
            label = self.options.label
            for number, name in enumerate(self.cells.names):
                is_given = label is not None and find_column(label, [name])
                is_default = name.strip().lower() in LABEL_NAMES
                if is_given or (is_default and name not in self.options.encoded):
                    self._defer(self.name_ids == number)
        return frozenset(other_names)

    def _parse_cells(self, mask: Mask, parse: Callable[[Any], Any]) -> tuple[list[Any], Mask]:
        """Parse the other cells in a mask; return the values by record, and which have one."""
        ids = np.flatnonzero(mask)
        return self.parse_contents(self.other_cells[ids], self.other_rows[ids], parse)

    def _find_name_id(self, path: str) -> int:
        """Return the ID of a name; -1 if it does not occur."""
        return self.names.find_id(path)

    def _defer(self, mask: Mask) -> None:
        """Defer the records of the other cells in a mask."""
        if mask.any():
            self.is_deferred[self.other_rows[mask]] = True


def _collect_names(cells: Cells, ids: NDArray[np.intp]) -> frozenset[str]:
    """Return the distinct names of cells."""
    assert cells.name_ids is not None
    return frozenset(cells.names[i] for i in set(cells.name_ids[ids].tolist()))


def _parse_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _find_special_names(context: Context) -> tuple[set[Any], tuple[str, ...]]:
    """Return the names with a role of their own, and the path prefixes of objects with a role."""
    options, schema = context.read_options, context.schema
    if context.has_pairs:
        return set(options.ignore), ()
    labels = LABEL_NAMES if options.label is None else (options.label,)
    special_names = {UNNAMED_LIST, schema.label, options.weight, *options.roles, *options.encoded}
    special_names.update(schema.texts or ())
    prefix = f"{schema.key}." if schema.key else ""
    object_prefixes = {f"{name}." for name in (*options.roles, *labels, schema.label) if name}
    prefixes = (p for p in object_prefixes if p.startswith(prefix) or prefix.startswith(p))
    return special_names, tuple(prefixes)


def _find_role(context: Context, path: str, object_prefixes: tuple[str, ...]) -> int:
    """Return the role of a name, given the path prefixes of objects with a role."""
    options, schema = context.read_options, context.schema
    if context.has_pairs:
        return _IGNORED if path in options.ignore else _UNTYPED
    if path == schema.label:
        return _LABEL
    if path == options.weight:
        return _WEIGHT
    if path.startswith(object_prefixes):
        return _DEFERRED
    if path in options.roles:
        return _IGNORED
    if path in options.encoded and (schema.is_list or schema.key):
        return _ENCODED
    if schema.is_list or (schema.key and not path.startswith(f"{schema.key}.")):
        return _IGNORED
    name = path.removeprefix(f"{schema.key}.") if schema.key else path
    if name in (schema.texts or ()):
        return _TEXT
    if name in options.encoded:
        return _ENCODED
    if context.is_vocabulary_fixed and name not in context.vocabulary.ids_by_name:
        return _TEXT
    return _UNTYPED
