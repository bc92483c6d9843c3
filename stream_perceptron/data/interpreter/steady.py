"""The interpretation of many records at once, where all names are known and all kinds as expected.

It gives the same samples as `interpret_record`, which takes the records that it leaves out.
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
from stream_perceptron.data.cells import BARE_LIST, Cells, Kind, select_cells, take_records
from stream_perceptron.data.encodings import encode_content
from stream_perceptron.data.interpreter.context import Context
from stream_perceptron.data.interpreter.record import parse_offset
from stream_perceptron.data.naming import LABEL_NAMES, column_called, is_position
from stream_perceptron.data.schema import Encoding, Schema
from stream_perceptron.data.values import require_utf8
from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.vocabulary import FirstNames, Vocabulary

# The roles of names.
_IGNORED, _FEATURE, _UNTYPED, _TEXT, _LABEL, _WEIGHT, _ENCODED, _ODD, _UNKNOWN = range(9)

Mask = NDArray[np.bool_]
# How contents become features; the cells with them, and the row of each, ascending.
EncodedCells = tuple[Encoding, NDArray[np.intp], NDArray[np.intp]]


@dataclass(eq=False, repr=False)
class Block:
    """The interpretation of the records of some cells; that of odd ones is undefined."""

    is_odd: Mask  # which records are left out, shape (n,)
    features: Rows
    labels: list[Any]
    is_labeled: Mask
    weights: NDArray[np.float64]
    missing: MissingValues
    encoded: Rows  # the features that stand for texts and dates
    kept: Sequence[tuple[Any, ...]] = ()  # the passthrough columns of each record
    offsets: Sequence[Offset | None] = ()  # of each record, if the user has named its columns
    other_labels: frozenset[str] = frozenset()  # usual names of labels that are not the label
    unknown: frozenset[str] = frozenset()  # numbers that are ignored, as the model lacks them

    def __len__(self) -> int:
        return len(self.labels)


class NameRoles:
    """The roles of the names of a source, kept from one block to the next.

    Names only grow, so each costs time once, unless the schema changes.

    Attributes
    ----------
    features
        The names of features and of numbers that may become features: first the known ones, in the
        order of the model.
    feature_ids
        The feature of each name, -1 for none.
    roles
        The role of each name.
    inside
        Whether each name is that of a feature by its place in the record.
    plain_features
        The feature of each name without another role, -1 for none; the numbers of others are
        examined.

    """

    def __init__(self) -> None:
        self._schema: Schema | None = None
        self._vocabulary: Vocabulary | None = None
        self._names: Sequence[Hashable] = ()
        self._layout: tuple[Context, TableLayout] | None = None

    def update(self, context: Context, names: Sequence[Hashable]) -> None:
        """Set the roles of the names of a block."""
        schema, vocabulary = context.schema, context.vocabulary
        are_more = isinstance(names, FirstNames) and names.shares_list_with(self._names)
        if schema != self._schema or vocabulary is not self._vocabulary or not are_more:
            first = vocabulary.names if schema.features is None else schema.features
            self.features: list[Any] = [*map(str, first)]
            self._numbers = {name: i for i, name in enumerate(self.features)}
            self._is_known = np.ones(len(self.features), bool)
            self._roles_of_unknown, self.inside = np.empty(0, np.int8), np.empty(0, bool)
            self.feature_ids = np.empty(0, np.int32)
            self._ids: dict[Hashable, int] = {}
            self._last_ids, self._last_features = np.empty(0, np.int32), ()
            self._n_known = len(vocabulary)
            self._has_other_role: list[int] = []
        self._schema, self._vocabulary, self._names = schema, vocabulary, names
        n_before, n_known_before = len(self._roles_of_unknown), self._n_known
        if n_before < len(names):
            self._add(context, names[n_before:])
        if n_known_before < len(vocabulary):
            learned = vocabulary.names[n_known_before:]
            numbers = np.fromiter(map(self._numbers.get, learned, repeat(-1)), np.intp)
            self._is_known[numbers[numbers >= 0]] = True
            self._n_known = len(vocabulary)
        if n_before < len(names) or n_known_before < len(vocabulary) or not n_before:
            roles = self._roles_of_unknown
            is_feature = roles == _UNTYPED
            is_known = np.append(self._is_known, False).take(self.feature_ids)
            self.roles = np.where(is_feature & is_known, np.int8(_FEATURE), roles)
            is_plain = is_feature if schema.features is None else self.roles == _FEATURE
            is_plain[self._has_other_role] = False
            self.plain_features = np.where(is_plain, self.feature_ids, np.int32(-1))
            self.are_all_plain = bool(is_plain.all())

    def _add(self, context: Context, paths: Sequence[Any]) -> None:
        """Add names to those of the source."""
        options, schema, numbers = context.selection, context.schema, self._numbers
        n_before, n = len(self._roles_of_unknown), len(paths)
        special, whole = _special_names(context)
        prefix = f"{schema.key}." if schema.key else ""
        names, is_inside = paths, np.ones(n, bool)
        if prefix:
            names = [path[len(prefix) :] for path in paths]
            is_inside = np.fromiter(map(str.startswith, paths, repeat(prefix)), bool, n)
        takes_any = not (schema.is_list or context.is_vocabulary_fixed)
        takes_any &= schema.features is None
        roles_of_paths = np.full(n, _UNTYPED, np.int8)
        if not (takes_any and is_inside.all() and special.isdisjoint(names) and not whole):
            expected = None if schema.features is None else {*schema.features, *schema.undecided}
            for i, (path, name) in enumerate(zip(paths, names, strict=True)):
                if not (takes_any and is_inside[i]) or path in special or name in special:
                    role = _role_of(context, path, whole)
                    is_unknown = expected is not None and name not in expected
                    roles_of_paths[i] = _UNKNOWN if role == _UNTYPED and is_unknown else role
                elif whole and path.startswith(whole):
                    roles_of_paths[i] = _ODD
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
            are_known[:] = list(map(context.vocabulary.numbers.__contains__, new))
        self._is_known = np.concatenate([self._is_known, are_known])
        self._roles_of_unknown = np.concatenate([self._roles_of_unknown, roles_of_paths])
        self.inside = np.concatenate([self.inside, is_inside])
        self.feature_ids = np.concatenate([self.feature_ids, feature_ids])
        examined = {*LABEL_NAMES, *options.kept, *options.position}
        encoded = [f"{prefix}{name}" for name in options.encoded]
        for name in {*special, *examined, schema.key, *encoded}.intersection(paths):
            self._ids[name] = number = n_before + paths.index(name)
            # Names with another role than that of a feature are examined.
            if name in examined and not context.are_pairs:
                self._has_other_role.append(number)

    def layout_of(self, context: Context) -> TableLayout:
        """Return the layout of a table, as the same object while the context is the same."""
        if self._layout is None or self._layout[0] is not context:
            self._layout = context, TableLayout.of(context)
        return self._layout[1]

    def names_of(self, ids: NDArray[np.int32]) -> tuple[str, ...]:
        """Return the features of some names, as the same object as last time if these are equal."""
        if not np.array_equal(ids, self._last_ids):
            features = map(self.features.__getitem__, self.feature_ids[ids].tolist())
            self._last_ids, self._last_features = ids.copy(), tuple(features)
        return self._last_features

    def id_of(self, name: str) -> int:
        """Return the number of a name with a role, -1 if it does not occur."""
        return self._ids.get(name, -1)

    def find_new(self, features: Rows, is_learned: Mask) -> list[str]:
        """Return the features of learned rows that were not known before the block."""
        if self._is_known.all() or not is_learned.any():
            return []
        if features.name_ids is None:
            if features.names is self._last_features:
                ids = self.feature_ids[self._last_ids]
            else:
                ids = np.array([self._numbers[str(name)] for name in features.names], np.int32)
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


def interpret_block(context: Context, cells: Cells, names: NameRoles) -> Block | None:
    """Return the interpretation of records; None if none of them can be interpreted at once."""
    options = context.selection
    if context.columns is not None:
        return _Table(context, cells).block(names)
    if context.are_pairs:
        return _Pairs(context, cells).block(names)
    if options.label is not None and context.schema.label is None and is_position(options.label):
        return None
    if context.schema.key is None or options.is_label_sure:
        return None
    return _Members(context, cells).block(names)


class _Reader:
    """Reads what the formats have in common."""

    def __init__(self, context: Context, cells: Cells) -> None:
        self.context, self.cells = context, cells
        self.options, self.schema = context.selection, context.schema
        self.n = len(cells)
        self.is_odd = np.zeros(self.n, bool)
        if cells.errors:
            self.is_odd[list(cells.errors)] = True
        self.null_numbers = [
            number
            for text in self.options.missing
            if context.is_text and (number := _number(text)) is not None
        ]

    def convert(
        self, ids: NDArray[np.intp], rows: NDArray[np.intp], meaning: Callable[[Any], Any]
    ) -> tuple[list[Any], Mask]:
        """Return the meaning of the content of cells by record, and which records have one.

        A record is odd if `meaning` raises an error.
        """
        codes, contents = self.cells.contents.encode(ids)
        meanings: dict[tuple[type, Any], Any] = {}
        values: list[Any] = []
        for content in contents:
            value = _FAILED
            if not isinstance(content, list | dict):
                key = type(content), content
                if key not in meanings:
                    try:
                        meanings[key] = meaning(content)
                    except SampleError:
                        meanings[key] = _FAILED
                value = meanings[key]
            values.append(value)
        has_failed = np.array([value is _FAILED for value in values], bool)
        has_value = np.array([value is not None for value in values], bool)
        if has_failed.any():
            self.is_odd[rows[has_failed[codes]]] = True
            values = [None if value is _FAILED else value for value in values]
        by_code = np.empty(len(values), object)
        by_code[:] = values
        found = by_code[codes].tolist()
        if len(rows) == self.n:
            return found, has_value[codes]
        every: list[Any] = [None] * self.n
        for row, value in zip(rows.tolist(), found, strict=True):
            every[row] = value
        has_every = np.zeros(self.n, bool)
        has_every[rows] = has_value[codes]
        return every, has_every

    def label(self, content: Any) -> Any:
        """Return the label for the content of a cell."""
        is_text = self.context.is_text
        content = self.options.with_point(content, is_text)
        value = roles.present(content, self.options, is_text)
        if is_text and value is not None:
            value = require_utf8(value)
        label, schema = self.schema.with_label(value, is_text)
        if label is not None and schema is not self.schema:
            raise SampleError("the record decides the type of labels")
        return label

    def _encode(
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
            The row of each, ascending.

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
        self.is_odd[rows[has_failed[codes]]] = True
        found = Rows.from_dicts([features or {} for features in encoded])[codes]
        if len(rows) < self.n:
            found = found.spread(rows, self.n)
        is_missing = np.array([features is None for features in encoded], bool)
        return found, rows[is_missing[codes]]

    def encode_all(self, cells: Iterable[EncodedCells], missing: NDArray[np.intp]) -> Rows:
        """Return the features for the contents of cells, and count the missing ones."""
        encoded, counted = Rows.empty(self.n), set()
        for encoding, ids, rows in cells:
            found, rows_without = self._encode(encoding, ids, rows)
            encoded = encoded.extended(found)
            if int(ids[0]) not in counted:  # a column with two encodings counts once
                missing[rows_without] += 1
            counted.add(int(ids[0]))
        return encoded

    def are_null(self, ids: NDArray[np.intp]) -> Mask:
        """Return which cells are texts that mean a missing value."""
        nulls = self.options.blanks
        codes, contents = self.cells.contents.encode(ids)
        return np.array([isinstance(c, str) and c.strip() in nulls for c in contents], bool)[codes]

    def select(
        self, cells: Cells, names: NameRoles
    ) -> tuple[Rows, NDArray[np.intp], NDArray[np.intp]]:
        """Return the numbers of plain features as rows; also the other cells and their records."""
        assert cells.name_ids is not None
        starts, feature_ids, values, outer, rows = select_cells(cells, names.plain_features)
        return self.rows(FirstNames(names.features), starts, feature_ids, values), outer, rows

    def rows(
        self, names: Sequence[Any], starts: NDArray[np.intp], name_ids: Any, values: NDArray[Any]
    ) -> Rows:
        """Return rows of numbers, scaled; a record with an infinite one is odd."""
        scale = self.text_scale
        if values.dtype == np.uint8 and self.may_be_bytes(scale):
            return Rows(names, starts, name_ids, values, scale)
        values = self.scaled(values, scale)
        with np.errstate(over="ignore", invalid="ignore"):
            are_finite = math.isfinite(values.sum())
        if not are_finite:
            infinite = np.flatnonzero(~np.isfinite(values))
            self.is_odd[np.searchsorted(starts, infinite, side="right") - 1] = True
        return Rows(names, starts, name_ids, values)

    @property
    def text_scale(self) -> float:
        """The factor of numbers without a declared type."""
        return 1.0 if self.options.scale is None else self.options.scale

    def may_be_bytes(self, scale: float | NDArray[np.float64]) -> bool:
        """Whether numbers stay bytes if all are whole numbers from 0 to 255."""
        # Pending samples are saved, so their form may not depend on other rows in the block.
        is_free = not self.options.joins
        return is_free and isinstance(scale, float) and math.isfinite(255 * scale)

    def scaled(
        self, values: NDArray[Any], scale: float | NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return values times a factor for all columns, or one for each."""
        if isinstance(scale, float) and scale == 1.0:
            return values.astype(np.float64, copy=False)
        with np.errstate(over="ignore"):
            scaled: NDArray[np.float64] = np.multiply(values, scale, dtype=np.float64)
        return scaled

    def table(
        self,
        features: tuple[str, ...],
        values: NDArray[Any],
        present: Mask | None,
        scale: float | NDArray[np.float64],
    ) -> Rows:
        """Return rows of values (n, d), as bytes if all are; odd rows may have any."""
        if isinstance(scale, float):
            are_declared = self.context.byte_scale is not None
            if are_declared or self.may_be_bytes(scale):
                values = _pack_bytes(values, present, are_declared)
                if values.dtype == np.uint8:
                    return Rows.of_table(features, np.ascontiguousarray(values), present, scale)
        with np.errstate(over="ignore", invalid="ignore"):
            are_finite = math.isfinite(values.sum())
        if not are_finite:
            finite = np.isfinite(values)
            self.is_odd |= (~finite if present is None else ~finite & present).any(axis=1)
            values = np.where(finite, values, 0.0)
        scaled = self.scaled(values, scale)
        if np.abs(scale).max(initial=0.0) > 1:
            self.is_odd |= np.isinf(scaled).any(axis=1)
        return Rows.of_table(features, scaled, present)

    def lists(
        self, lists: NDArray[np.intp], rows: NDArray[np.intp], missing: NDArray[np.intp],
        scale: float,
    ) -> Rows:  # fmt: skip
        """Return the features in lists, and count the missing ones.

        Parameters
        ----------
        lists
            The number of each list of features among all lists.
        rows
            The row of each, ascending; other rows have no features.
        missing
            The number of missing features of each row, to be increased.
        scale
            The factor of the features.

        """
        members = self.cells.members
        features = tuple(map(str, self.schema.features or ()))
        d = len(features)
        if members is None or not d:
            self.is_odd[rows] = True
            return Rows.from_rows([], []).spread(np.empty(0, np.intp), self.n)
        has_length = np.diff(members.starts)[lists] == d
        self.is_odd[rows[~has_length]] = True
        if len(lists) < len(members) or not has_length.all():
            members = take_records([members], lists[has_length])
            rows = rows[has_length]
        values, kinds = members.numbers.reshape(-1, d), members.kinds.reshape(-1, d)
        present = None
        if not members.are_all_numbers:
            present = (kinds == Kind.NUMBER) | (kinds == Kind.BOOL)
            is_null = kinds == Kind.NULL
            self.is_odd[rows[(~present & ~is_null).any(axis=1)]] = True
            missing[rows] += np.count_nonzero(is_null, axis=1)
        if len(rows) == self.n:
            return self.table(features, values, present, scale)
        is_odd, self.is_odd = self.is_odd, np.zeros(len(rows), bool)
        found = self.table(features, values, present, scale)
        is_odd[rows[self.is_odd]] = True
        self.is_odd = is_odd
        return found.spread(rows, self.n)

    def offsets(self, columns: Sequence[list[Any]]) -> list[Offset | None]:
        """Return the offset of each record, given the contents of its columns."""
        offsets: list[Offset | None] = []
        if not columns:
            return offsets
        for i, values in enumerate(zip(*columns, strict=True)):
            offset = None
            with suppress(SampleError):
                offset = parse_offset(self.context, values)
            offsets.append(offset)
            self.is_odd[i] |= offset is None
        return offsets


def _pack_bytes(values: NDArray[Any], present: Mask | None, are_declared: bool) -> NDArray[Any]:
    """Return values as bytes if they are declared as such, or are whole numbers from 0 to 255."""
    if values.dtype == np.uint8:
        return values
    if are_declared:
        return (values if present is None else np.where(present, values, 0)).astype(np.uint8)
    # Other cells than the features may be the reason that numbers are doubles.
    if present is None and values.size:
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
    def of(cls, context: Context) -> TableLayout:
        """Return the layout for a context."""
        columns = context.table_columns
        positions = {name: c for c, name in enumerate(context.columns or ())}
        at = np.array([positions[name] for name in columns.numbers], np.intp)
        is_slice = len(at) > 0 and bool((np.diff(at) == 1).all())
        has_columns = columns.vector is None
        changes_schema = has_columns and context.schema_of_known_columns != context.schema
        select = slice(int(at[0]), int(at[-1]) + 1) if is_slice else at
        scales = np.array([context.scale_of(name) for name in columns.numbers])
        is_uniform = len(set(scales.tolist())) == 1
        return cls(
            positions, at, select, float(scales[0]) if is_uniform else scales, changes_schema
        )


class _Table(_Reader):
    """Reads rows of a table."""

    def block(self, names: NameRoles) -> Block | None:
        """Return the interpretation of the rows."""
        context, options, columns = self.context, self.options, self.context.table_columns
        layout = names.layout_of(context)
        is_vector, changes_schema = columns.vector is not None, layout.changes_schema
        if self.schema.is_new or not (columns.numbers or columns.encodings or is_vector):
            return None
        self.positions, self.rows_of_block = layout.positions, np.arange(self.n)
        missing = np.zeros(self.n, np.intp)
        if columns.vector is not None:
            if self.schema.features is None:
                return None
            features = self._vectors(columns.vector, missing)
        else:
            features = self._numbers(layout, missing)
        weights = np.ones(self.n)
        if options.weight is not None:
            weights = self._weights(self._ids(options.weight))
        labels: list[Any] = [None] * self.n
        is_labeled = np.zeros(self.n, bool)
        if options.label is not None:
            labels, is_labeled = self._convert(options.label, self.label)
        cells = [(each, self._ids(each.column), self.rows_of_block) for each in columns.encodings]
        encoded = self.encode_all(cells, missing)
        untyped = None
        if names_untyped := tuple(n for n in columns.untyped if n not in options.encoded):
            ones = np.ones((self.n, len(names_untyped)), np.uint8)
            untyped = Rows.of_table(names_untyped, ones)
        if changes_schema:  # by the first learned row
            self.is_odd |= is_labeled | options.joins
        return Block(
            self.is_odd, features, labels, is_labeled, weights, MissingValues(missing, untyped),
            encoded, self._kept(),
            self.offsets([self._contents(name) for name in options.position]),
        )  # fmt: skip

    def _ids(self, column: str) -> NDArray[np.intp]:
        """Return the cells of a column."""
        return self.rows_of_block * len(self.context.columns or ()) + self.positions[column]

    def _contents(self, column: str) -> list[Any]:
        """Return the contents of a column."""
        return self.cells.contents.get_all(self._ids(column))

    def _convert(self, column: str, meaning: Callable[[Any], Any]) -> tuple[list[Any], Mask]:
        """Return the meaning of the cells of a column, and which rows have one."""
        return self.convert(self._ids(column), self.rows_of_block, meaning)

    def _kept(self) -> list[tuple[Any, ...]]:
        """Return the contents of the passthrough columns."""
        if not self.options.kept:
            return []
        if self.context.is_text:
            columns = [self._convert(name, require_utf8)[0] for name in self.options.kept]
        else:
            columns = [self._contents(name) for name in self.options.kept]
        return list(zip(*columns, strict=True))

    def _numbers(self, layout: TableLayout, missing: NDArray[np.intp]) -> Rows:
        """Return the features in columns of their own, and count the missing ones."""
        cells, columns = self.cells, self.context.table_columns
        d = len(self.context.columns or ())
        kinds, numbers = cells.kinds.reshape(self.n, d), cells.numbers.reshape(self.n, d)
        for name in columns.untyped:
            c = self.positions[name]
            filled = np.flatnonzero(kinds[:, c] != Kind.NULL)
            if len(filled):
                self.is_odd[filled[~self.are_null(filled * d + c)]] = True
        values = numbers[:, layout.select]
        present = self._find_present(values, kinds[:, layout.select], layout.features)
        if present is not None:
            missing += np.count_nonzero(~present, axis=1)
        return self.table(columns.numbers, values, present, layout.scales)

    def _vectors(self, column: str, missing: NDArray[np.intp]) -> Rows:
        """Return the features in a column of lists, and count the missing ones."""
        ids = self._ids(column)
        is_head = self.cells.kinds[ids] == Kind.LIST
        if not self.options.joins:  # a label comes in a row without features
            self.is_odd |= ~is_head
        lists = np.searchsorted(self.cells.list_ids, ids[is_head])
        scale = self.context.scale_of(column)
        return self.lists(lists, self.rows_of_block[is_head], missing, scale)

    def _find_present(
        self, values: NDArray[Any], kinds: NDArray[np.uint8], at: NDArray[np.intp]
    ) -> Mask | None:
        """Return which values of the columns `at` some positions are not null; None if all are.

        Rows with a text that is not null are odd.
        """
        if not self.null_numbers and (kinds == Kind.NUMBER).all():
            return None
        present: Mask = (kinds == Kind.NUMBER) | (kinds == Kind.BOOL)
        suspects = kinds == Kind.TEXT
        if self.null_numbers:
            suspects |= present & np.isin(values, self.null_numbers)
        rows, columns = np.nonzero(suspects)
        if len(rows):
            d = len(self.context.columns or ())
            is_null = self.are_null(rows * d + at[columns])
            present[rows[is_null], columns[is_null]] = False
            self.is_odd[rows[~is_null & (kinds[rows, columns] == Kind.TEXT)]] = True
        return present

    def _weights(self, ids: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the sample weights in some cells, one for each row."""
        kinds = self.cells.kinds[ids]
        is_number = (kinds == Kind.NUMBER) | (kinds == Kind.BOOL)
        weights = np.where(is_number, self.cells.numbers[ids], 1.0)
        self.is_odd |= ~((weights >= 0) & (weights < math.inf))
        rows = np.flatnonzero(kinds != Kind.NULL if self.null_numbers else kinds == Kind.TEXT)
        if len(rows):
            is_null = self.are_null(ids[rows])
            weights[rows[is_null]] = 1.0
            self.is_odd[rows[~is_null & (kinds[rows] == Kind.TEXT)]] = True
        return weights


class _Pairs(_Reader):
    """Reads records of a label and pairs of names and numbers."""

    def block(self, names: NameRoles) -> Block | None:
        """Return the interpretation of the records."""
        members = self.cells.members
        if self.schema.is_new or members is None or members.name_ids is None:
            return None
        names.update(self.context, members.names)
        unknown: frozenset[str] = frozenset()
        if names.are_all_plain:
            features = self.rows(members.names, members.starts, members.name_ids, members.numbers)
        else:
            features, outer, rows = self.select(members, names)
            roles_of_outer = names.roles[members.name_ids[outer]]
            self.is_odd[rows[roles_of_outer == _UNTYPED]] = True
            is_unknown = roles_of_outer == _UNKNOWN
            self.is_odd[rows[is_unknown]] |= features.lengths[rows[is_unknown]] == 0
            unknown = _names_among(members, outer[is_unknown])
        rows = np.flatnonzero(self.cells.kinds[::2] != Kind.NULL)
        labels, is_labeled = self.convert(2 * rows, rows, self.label)
        return Block(
            self.is_odd, features, labels, is_labeled, np.ones(self.n),
            MissingValues(np.zeros(self.n, np.intp)), Rows.empty(self.n), unknown=unknown,
        )  # fmt: skip


class _Members(_Reader):
    """Reads records that name their cells.

    Most cells are numbers of features; the other, `outer` ones are examined.
    """

    def block(self, table: NameRoles) -> Block | None:
        """Return the interpretation of the records."""
        cells, options, schema = self.cells, self.options, self.schema
        if schema.is_new:
            return None
        table.update(self.context, cells.names)
        self.names = table
        missing = np.zeros(self.n, np.intp)
        features = None if schema.is_list else self._select(table)
        if features is None:
            self._set_outer(np.arange(len(cells.kinds)), np.zeros(self.n, np.intp))
        self.name_ids = cells.name_ids[self.outer]  # type: ignore[index]
        self.kinds = cells.kinds[self.outer]
        self.of = of = table.roles[self.name_ids]
        # An object or a list with a role is odd, but a list may be encoded.
        are_lists, are_objects = self.kinds == Kind.LIST, self.kinds == Kind.OBJECT
        self._mark((are_lists | are_objects) & ((of == _LABEL) | (of == _WEIGHT)) | (of == _ODD))
        self._mark(are_objects & (of == _ENCODED))
        if schema.columns:  # the values of a list without a name are those of the columns
            self._mark((self.name_ids == self._id(BARE_LIST)) & (self.kinds == Kind.LIST))
        labels, is_labeled = self._convert(of == _LABEL, self.label)
        weights = self._weights()
        encoded, untyped = self.encode_all(self._encoded_cells(), missing), None
        if features is None:
            features = self._list(schema.key or "", missing)
        else:
            features, untyped = self._features(features, missing, is_labeled | options.joins)
        other_labels = self._find_other_labels(of == _LABEL)
        if not (schema.columns or schema.is_list) or schema.label is None:
            self.is_odd |= is_labeled | options.joins  # the first learned record has the columns
        if not self.context.has_features:
            self.is_odd |= is_labeled  # a record of texts alone is rejected
        return Block(
            self.is_odd, features, labels, is_labeled, weights, MissingValues(missing, untyped),
            encoded, self._kept(),
            self.offsets([self._contents(name) for name in options.position]), other_labels,
            _names_among(cells, self.outer[(of == _UNKNOWN) & (self.kinds == Kind.NUMBER)]),
        )  # fmt: skip

    def _encoded_cells(self) -> Iterator[EncodedCells]:
        """Yield the cells of the columns that are encoded."""
        options, schema = self.options, self.schema
        # A column may stand among the features, or outside their object without another role.
        prefixes = [f"{schema.key}.", ""] if schema.key and not schema.is_list else [""]
        for prefix in prefixes:
            for encoding in options.encodings:
                if not prefix and encoding.column in options.roles:
                    continue
                ids = np.flatnonzero(self.name_ids == self._id(f"{prefix}{encoding.column}"))
                if len(ids):
                    yield encoding, self.outer[ids], self.rows_of_outer[ids]

    def _select(self, table: NameRoles) -> Rows:
        """Set the outer cells, and return the other ones as features."""
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
            is_column = (table.plain_features[ids] >= 0) & (kinds == Kind.NUMBER).all(axis=0)
            is_feature = (table.roles[ids] == _FEATURE) | (table.roles[ids] == _UNTYPED)
            is_feature &= ~(kinds == Kind.OBJECT).all(axis=0)
            if (is_column == is_feature).all() and is_column.any():
                outer = np.flatnonzero(~is_column)
                every = (np.arange(n)[:, np.newaxis] * d + outer).ravel()
                self._set_outer(every, np.full(n, np.count_nonzero(is_column)))
                names = table.names_of(ids[is_column])
                select: Any = is_column
                columns = np.flatnonzero(is_column)
                if columns[-1] - columns[0] == len(columns) - 1:
                    select = slice(int(columns[0]), int(columns[-1]) + 1)
                values = cells.numbers.reshape(n, d)[:, select]
                return self.table(names, values, None, self.text_scale)
        features, self.outer, self.rows_of_outer = self.select(cells, table)
        self.n_plain = features.lengths
        return features

    def _set_outer(self, outer: NDArray[np.intp], n_plain: NDArray[np.intp]) -> None:
        """Set the outer cells and the number of others in each record."""
        self.outer, self.n_plain = outer, n_plain
        self.rows_of_outer = np.searchsorted(self.cells.starts, outer, side="right") - 1

    def _features(
        self, features: Rows, missing: NDArray[np.intp], is_learned: Mask
    ) -> tuple[Rows, Rows | None]:
        """Return the features and the nulls of names without a type, and count other nulls."""
        schema, options, of, kinds = self.schema, self.options, self.of, self.kinds
        inside, key = self.names.inside[self.name_ids], schema.key
        lacks_object = np.zeros(self.n, bool)
        if key:
            lacks_object[:] = True
            is_key = (self.name_ids == self._id(key)) & (kinds == Kind.OBJECT)
            lacks_object[self.rows_of_outer[is_key]] = False
            self._mark((kinds == Kind.OBJECT) & inside)
        is_feature = ((of == _FEATURE) | (of == _UNTYPED)) & (kinds != Kind.OBJECT)
        self._mark((kinds == Kind.LIST) & is_feature)
        is_null = is_feature & (kinds == Kind.NULL)
        texts = np.flatnonzero(is_feature & (kinds == Kind.TEXT))
        if len(texts):
            null_texts = self.are_null(self.outer[texts])
            is_null[texts[null_texts]] = True
            self._mark_unexpected_texts(texts, texts[~null_texts], is_learned)
        missing += self._count(is_null & (of == _FEATURE))
        is_untyped = is_null & (of == _UNTYPED)
        is_number = is_feature & ((kinds == Kind.NUMBER) | (kinds == Kind.BOOL))
        if schema.features is not None:  # a table: the record decides, or may not add it
            self._mark(is_number & (of == _UNTYPED))
        is_text = ((of == _TEXT) | (of == _ENCODED)) & inside
        if options.joins:  # a label comes in a record of its own
            is_other = (of != _LABEL) & (of != _WEIGHT) & (kinds != Kind.NULL)
            is_other &= ~np.isin(self.name_ids, [self._id(name) for name in options.roles])
            has_others = self.n_plain + self._count(is_other) > 0
            has_no_number = self.n_plain + self._count(is_number) == 0
            self.is_odd |= has_others & (has_no_number | lacks_object)
            missing[~has_others] = 0
            is_untyped &= has_others[self.rows_of_outer]
        else:
            has_none = self.n_plain + self._count(is_feature | is_text) == 0
            self.is_odd |= has_none | lacks_object
        # The first learned value of an encoded column makes it a column of texts.
        prefix = f"{key}." if key else ""
        new = [n for n in options.encoded if n not in (schema.texts or ())]
        if new:
            is_new = np.isin(self.name_ids, [self._id(prefix + name) for name in new])
            self._mark(is_text & is_new & is_learned[self.rows_of_outer])
        if is_number.any():
            features = self._with_outer(features, is_number)
        return features, self._rows_of_ones(is_untyped) if is_untyped.any() else None

    def _rows_of_ones(self, some: Mask) -> Rows:
        """Return rows with the value 1 for the names of some of the outer cells."""
        starts = np.concatenate([[0], np.cumsum(self._count(some))])
        name_ids = self.names.feature_ids[self.name_ids[some]]
        return Rows(
            FirstNames(self.names.features), starts, name_ids, np.ones(len(name_ids), np.uint8)
        )

    def _mark_unexpected_texts(
        self, texts: NDArray[np.intp], filled: NDArray[np.intp], is_learned: Mask
    ) -> None:
        """Mark records with texts that are, may be or may become numbers; `filled` are not null."""
        of, rows = self.of, self.rows_of_outer
        is_known = of[filled] == _FEATURE
        if new_names := self.context.new_names:  # of earlier records
            features = self.names.feature_ids[self.name_ids[filled]].tolist()
            is_known |= np.array([self.names.features[i] in new_names for i in features], bool)
        self.is_odd[rows[filled[is_known | is_learned[rows[filled]]]]] = True
        # A later record may decide that a name with texts has numbers.
        cells = self.cells
        assert cells.name_ids is not None
        has_numbers = np.zeros(len(self.names.roles), bool)
        is_number = (cells.kinds == Kind.NUMBER) | (cells.kinds == Kind.BOOL)
        has_numbers[cells.name_ids[is_number]] = True
        is_either = (of[texts] == _UNTYPED) & has_numbers[self.name_ids[texts]]
        self.is_odd[rows[texts[is_either]]] = True

    def _count(self, some: Mask) -> NDArray[np.intp]:
        """Return the number of some of the outer cells in each record."""
        return np.bincount(self.rows_of_outer[some], minlength=self.n)

    def _with_outer(self, features: Rows, some: Mask) -> Rows:
        """Return features with those in some of the outer cells."""
        rows = self.rows_of_outer[some]
        feature_ids = self.names.feature_ids[self.name_ids[some]]
        values = self.scaled(self.cells.numbers[self.outer[some]], self.text_scale)
        self.is_odd[rows[~np.isfinite(values)]] = True
        ends = features.starts[rows + 1]
        names, of_features = features.names, features.value_name_ids
        if features.name_ids is None:
            numbers = {name: i for i, name in enumerate(self.names.features)}
            of_features = np.array([numbers[name] for name in names], np.int32)[of_features]
        counts = np.cumsum(np.bincount(rows, minlength=self.n))
        return Rows(
            FirstNames(self.names.features),
            features.starts + np.concatenate([[0], counts]),
            np.insert(of_features, ends, feature_ids),
            np.insert(features.numbers, ends, values),
        )

    def _list(self, key: str, missing: NDArray[np.intp]) -> Rows:
        """Return the features in lists, and count the missing ones."""
        is_head = (self.name_ids == self._id(key)) & (self.kinds == Kind.LIST)
        # The number among all lists of each list of features.
        lists = np.flatnonzero(is_head[self.kinds == Kind.LIST])
        has_list = np.zeros(self.n, bool)
        has_list[self.rows_of_outer[is_head]] = True
        self.is_odd |= ~has_list
        return self.lists(lists, self.rows_of_outer[is_head], missing, self.text_scale)

    def _weights(self) -> NDArray[np.float64]:
        """Return the sample weights."""
        weights = np.ones(self.n)
        ids = np.flatnonzero(self.of == _WEIGHT)
        if len(ids):
            is_null, is_text = self.kinds[ids] == Kind.NULL, self.kinds[ids] == Kind.TEXT
            numbers = self.cells.numbers[self.outer[ids]]
            weights[self.rows_of_outer[ids]] = np.where(is_null | is_text, 1.0, numbers)
            self.is_odd[self.rows_of_outer[ids[is_text]]] = True
            self.is_odd |= ~((weights >= 0) & (weights < math.inf))
            weights = np.where(np.isfinite(weights), weights, 1.0)
        return weights

    def _kept(self) -> list[tuple[Any, ...]]:
        """Return the contents of the passthrough columns."""
        if not self.options.kept:
            return []
        return list(zip(*map(self._contents, self.options.kept), strict=True))

    def _contents(self, name: str) -> list[Any]:
        """Return the content of the cell of a name in each record; a list or object is odd."""
        ids = np.flatnonzero(self.name_ids == self._id(name))
        is_head = (self.kinds[ids] == Kind.LIST) | (self.kinds[ids] == Kind.OBJECT)
        self.is_odd[self.rows_of_outer[ids[is_head]]] = True
        column: list[Any] = [None] * self.n
        contents = self.cells.contents.get_all(self.outer[ids])
        for row, content in zip(self.rows_of_outer[ids].tolist(), contents, strict=True):
            column[row] = content
        return column

    def _find_other_labels(self, is_label: Mask) -> frozenset[str]:
        """Return the usual names of labels that are not the label."""
        schema, context = self.schema, self.context
        others: set[str] = set()
        if schema.label is not None:
            for name in LABEL_NAMES:
                rows = self.rows_of_outer[self.name_ids == self._id(name)]
                is_encoded = name in self.options.encoded
                if name == schema.label or is_encoded or not len(rows):
                    continue
                if context.learns:
                    others.add(name)
                else:
                    has_label = np.zeros(self.n, bool)
                    has_label[self.rows_of_outer[is_label]] = True
                    self.is_odd[rows[~has_label[rows]]] = True
        elif not self.options.joins:
            label = self.options.label
            for number, name in enumerate(self.cells.names):
                is_called = label is not None and column_called(label, [name])
                may_be_label = name.strip().lower() in LABEL_NAMES
                if is_called or (may_be_label and name not in self.options.encoded):
                    self._mark(self.name_ids == number)
        return frozenset(others)

    def _convert(self, some: Mask, meaning: Callable[[Any], Any]) -> tuple[list[Any], Mask]:
        """Return the meaning of some of the outer cells by record, and which have one."""
        ids = np.flatnonzero(some)
        return self.convert(self.outer[ids], self.rows_of_outer[ids], meaning)

    def _id(self, path: str) -> int:
        """Return the number of a name; -1 if it does not occur."""
        return self.names.id_of(path)

    def _mark(self, some: Mask) -> None:
        """Mark the records of some of the outer cells as odd."""
        if some.any():
            self.is_odd[self.rows_of_outer[some]] = True


def _names_among(cells: Cells, ids: NDArray[np.intp]) -> frozenset[str]:
    """Return the names of some cells."""
    assert cells.name_ids is not None
    return frozenset(cells.names[i] for i in set(cells.name_ids[ids].tolist()))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _special_names(context: Context) -> tuple[set[Any], tuple[str, ...]]:
    """Return the names with a role of their own, and the beginnings of names in whole objects."""
    options, schema = context.selection, context.schema
    if context.are_pairs:
        return set(options.ignore), ()
    labels = LABEL_NAMES if options.label is None else (options.label,)
    special = {BARE_LIST, schema.label, options.weight, *options.roles, *options.encoded}
    special.update(schema.texts or ())
    prefix = f"{schema.key}." if schema.key else ""
    whole = {f"{name}." for name in (*options.roles, *labels, schema.label) if name}
    return special, tuple(w for w in whole if w.startswith(prefix) or prefix.startswith(w))


def _role_of(context: Context, path: str, whole: tuple[str, ...]) -> int:
    """Return the role of a name, given the beginnings of names in objects with a role."""
    options, schema = context.selection, context.schema
    if context.are_pairs:
        return _IGNORED if path in options.ignore else _UNTYPED
    if path == schema.label:
        return _LABEL
    if path == options.weight:
        return _WEIGHT
    if path.startswith(whole):
        return _ODD
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
    if context.is_vocabulary_fixed and name not in context.vocabulary.numbers:
        return _TEXT
    return _UNTYPED
