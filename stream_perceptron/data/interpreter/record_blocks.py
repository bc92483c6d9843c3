"""Blocks of records that name their cells: JSON objects and lists, and LIBSVM pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import MissingValues
from stream_perceptron.data.cells import UNNAMED_LIST, Cells, Kind
from stream_perceptron.data.interpreter.block_reader import (
    BlockReader,
    EncodedCells,
    InterpretedBlock,
    ParsedValues,
)
from stream_perceptron.data.interpreter.name_roles import NameRole, NameRoles
from stream_perceptron.data.naming import LABEL_NAMES, find_column
from stream_perceptron.model.arrays import Mask
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.vocabulary import NamesPrefix


class PairBlockReader(BlockReader):
    """Reads records that consist of a label and pairs of names and numbers."""

    def interpret(self, name_roles: NameRoles) -> InterpretedBlock | None:
        """Return the interpretation of the records."""
        members = self.cells.members
        if self.schema.is_new or members is None or members.name_ids is None:
            return None
        name_roles.update(self.context, members.names)
        unknown_names: frozenset[str] = frozenset()
        if name_roles.are_all_plain:
            features = self.build_rows(
                members.names, members.starts, members.name_ids, members.numbers
            )
        else:
            features, other_cells, rows = self.select_features(members, name_roles)
            other_roles = name_roles.roles[members.name_ids[other_cells]]
            self.is_deferred[rows[other_roles == NameRole.UNTYPED]] = True
            is_unknown = other_roles == NameRole.UNKNOWN
            self.is_deferred[rows[is_unknown]] |= features.lengths[rows[is_unknown]] == 0
            unknown_names = _collect_names(members, other_cells[is_unknown], None)
        rows = np.flatnonzero(self.cells.kinds[::2] != Kind.NULL)
        labels = self.parse_contents(2 * rows, rows, self.parse_label)
        return InterpretedBlock(
            self.is_deferred, features, labels.values, labels.has_value, np.ones(self.n),
            MissingValues(np.zeros(self.n, np.intp)), Rows.empty(self.n),
            unknown_names=unknown_names,
        )  # fmt: skip


class RecordBlockReader(BlockReader):
    """Reads records that name their cells.

    Most cells are numeric features; the others (`other_cells`) are examined.
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
        # Defer a record if a cell with a role is an object or a list, except a list to encode.
        are_lists, are_objects = self.kinds == Kind.LIST, self.kinds == Kind.OBJECT
        self._defer(
            (are_lists | are_objects)
            & ((other_roles == NameRole.LABEL) | (other_roles == NameRole.WEIGHT))
            | (other_roles == NameRole.DEFERRED)
        )
        self._defer(are_objects & (other_roles == NameRole.ENCODED))
        if options.label is None and are_objects.any():
            # Unlike other objects, one with the name of a label is not replaced by its members.
            label_ids = [self._find_name_id(name) for name in LABEL_NAMES]
            self._defer(are_objects & np.isin(self.name_ids, label_ids))
        if schema.columns:  # the members of a bare list are the values of the columns
            self._defer(
                (self.name_ids == self._find_name_id(UNNAMED_LIST)) & (self.kinds == Kind.LIST)
            )
        labels = self._parse_by_record(other_roles == NameRole.LABEL, self.parse_label)
        is_labeled = labels.has_value
        weights = self._read_weights()
        encoded, untyped = self.encode_columns(self._encoded_cells(), missing), None
        if features is None:
            features = self._read_feature_lists(schema.key or "", missing)
        else:
            features, untyped = self._complete_features(
                features, missing, is_labeled | options.has_join
            )
        other_labels = self._find_other_labels(other_roles == NameRole.LABEL)
        if not (schema.columns or schema.is_list) or schema.label is None:
            # The first learned record determines the columns and the label.
            self.is_deferred |= is_labeled | options.has_join
        if not self.context.has_features:
            self.is_deferred |= is_labeled  # a record with only texts is rejected
        offsets = self.parse_offsets([self._read_column(name) for name in options.position])
        is_unknown_number = (other_roles == NameRole.UNKNOWN) & (self.kinds == Kind.NUMBER)
        return InterpretedBlock(
            self.is_deferred, features, labels.values, is_labeled, weights,
            MissingValues(missing, untyped), encoded, self._read_passthrough(), offsets,
            other_labels, _collect_names(cells, self.other_cells[is_unknown_number], schema.key),
        )  # fmt: skip

    def _encoded_cells(self) -> Iterator[EncodedCells]:
        """Yield the cells of the columns that are encoded."""
        options, schema = self.options, self.schema
        # A column may be inside the object with the features, or outside it if it has no other
        # role.
        prefixes = [f"{schema.key}.", ""] if schema.key and not schema.is_list else [""]
        for prefix in prefixes:
            for encoding in options.encodings:
                if not prefix and encoding.column in options.roles:
                    continue
                ids = np.flatnonzero(
                    self.name_ids == self._find_name_id(f"{prefix}{encoding.column}")
                )
                if len(ids):
                    yield EncodedCells(encoding, self.other_cells[ids], self.other_rows[ids])

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
            is_feature = (name_roles.roles[ids] == NameRole.FEATURE) | (
                name_roles.roles[ids] == NameRole.UNTYPED
            )
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
                return self.build_table_rows(names, values, None, self.untyped_scale)
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
        is_feature = ((other_roles == NameRole.FEATURE) | (other_roles == NameRole.UNTYPED)) & (
            kinds != Kind.OBJECT
        )
        self._defer((kinds == Kind.LIST) & is_feature)
        is_null = is_feature & (kinds == Kind.NULL)
        texts = np.flatnonzero(is_feature & (kinds == Kind.TEXT))
        if len(texts):
            null_texts = self.find_null_texts(self.other_cells[texts])
            is_null[texts[null_texts]] = True
            self._defer_unexpected_texts(texts, texts[~null_texts], is_learned)
        missing += self._count_by_record(is_null & (other_roles == NameRole.FEATURE))
        is_untyped = is_null & (other_roles == NameRole.UNTYPED)
        is_number = is_feature & ((kinds == Kind.NUMBER) | (kinds == Kind.BOOL))
        if schema.features is not None:  # a number decides the type of an untyped column
            self._defer(is_number & (other_roles == NameRole.UNTYPED))
        is_text = ((other_roles == NameRole.TEXT) | (other_roles == NameRole.ENCODED)) & is_inside
        if options.has_join:  # some records contain only a label
            is_other = (
                (other_roles != NameRole.LABEL)
                & (other_roles != NameRole.WEIGHT)
                & (kinds != Kind.NULL)
            )
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
        return features, self._build_null_indicators(is_untyped) if is_untyped.any() else None

    def _build_null_indicators(self, mask: Mask) -> Rows:
        """Return rows with the value 1 for the names of the other cells selected by a mask."""
        starts = np.concatenate([[0], np.cumsum(self._count_by_record(mask))])
        name_ids = self.names.feature_ids[self.name_ids[mask]]
        return Rows(
            NamesPrefix(self.names.features), starts, name_ids, np.ones(len(name_ids), np.uint8)
        )

    def _defer_unexpected_texts(
        self, texts: NDArray[np.intp], non_nulls: NDArray[np.intp], is_learned: Mask
    ) -> None:
        """Defer records with texts where numbers may be expected; `non_nulls` excludes nulls."""
        other_roles, rows = self.other_roles, self.other_rows
        is_known = other_roles[non_nulls] == NameRole.FEATURE
        if new_names := self.context.new_names:  # of earlier records
            features = self.names.feature_ids[self.name_ids[non_nulls]].tolist()
            is_known |= np.array([self.names.features[i] in new_names for i in features], bool)
        self.is_deferred[rows[non_nulls[is_known | is_learned[rows[non_nulls]]]]] = True
        # A later record of the block may turn a name with texts into one with numbers.
        cells = self.cells
        assert cells.name_ids is not None
        has_numbers = np.zeros(len(self.names.roles), bool)
        is_number = (cells.kinds == Kind.NUMBER) | (cells.kinds == Kind.BOOL)
        has_numbers[cells.name_ids[is_number]] = True
        is_either = (other_roles[texts] == NameRole.UNTYPED) & has_numbers[self.name_ids[texts]]
        self.is_deferred[rows[texts[is_either]]] = True

    def _count_by_record(self, mask: Mask) -> NDArray[np.intp]:
        """Return how many of the other cells selected by a mask each record contains."""
        return np.bincount(self.other_rows[mask], minlength=self.n)

    def _insert_numbers(self, features: Rows, mask: Mask) -> Rows:
        """Insert the numbers of the other cells selected by a mask into features."""
        rows = self.other_rows[mask]
        feature_ids = self.names.feature_ids[self.name_ids[mask]]
        values = self.scale_values(self.cells.numbers[self.other_cells[mask]], self.untyped_scale)
        self.is_deferred[rows[~np.isfinite(values)]] = True
        names, of_features = features.names, features.value_name_ids
        if features.name_ids is None:
            numbers = {name: i for i, name in enumerate(self.names.features)}
            of_features = np.array([numbers[name] for name in names], np.int32)[of_features]
        is_plain = np.ones(len(self.cells.kinds), bool)
        is_plain[self.other_cells] = False
        order = np.argsort(np.concatenate([np.flatnonzero(is_plain), self.other_cells[mask]]))
        counts = np.cumsum(np.bincount(rows, minlength=self.n))
        return Rows(
            NamesPrefix(self.names.features),
            features.starts + np.concatenate([[0], counts]),
            np.concatenate([of_features, feature_ids])[order],
            np.concatenate([features.numbers, values])[order],
        )

    def _read_feature_lists(self, key: str, missing: NDArray[np.intp]) -> Rows:
        """Return the features in lists, and count the missing values."""
        is_head = (self.name_ids == self._find_name_id(key)) & (self.kinds == Kind.LIST)
        # The index of each list of features among all lists.
        lists = np.flatnonzero(is_head[self.kinds == Kind.LIST])
        has_list = np.zeros(self.n, bool)
        has_list[self.other_rows[is_head]] = True
        self.is_deferred |= ~has_list
        return self.read_lists(lists, self.other_rows[is_head], missing, self.untyped_scale)

    def _read_weights(self) -> NDArray[np.float64]:
        """Return the sample weights."""
        weights = np.ones(self.n)
        ids = np.flatnonzero(self.other_roles == NameRole.WEIGHT)
        if len(ids):
            is_null, is_text = self.kinds[ids] == Kind.NULL, self.kinds[ids] == Kind.TEXT
            numbers = self.cells.numbers[self.other_cells[ids]]
            weights[self.other_rows[ids]] = np.where(is_null | is_text, 1.0, numbers)
            self.is_deferred[self.other_rows[ids[is_text]]] = True
            self.is_deferred |= ~((weights >= 0) & (weights < math.inf))
            weights = np.where(np.isfinite(weights), weights, 1.0)
        return weights

    def _read_passthrough(self) -> list[tuple[object, ...]]:
        """Return the contents of the passthrough columns."""
        if not self.options.passthrough:
            return []
        return list(zip(*map(self._read_column, self.options.passthrough), strict=True))

    def _read_column(self, name: str) -> list[object]:
        """Return each record's content under a name; defer records with nested content."""
        ids = np.flatnonzero(self.name_ids == self._find_name_id(name))
        is_head = (self.kinds[ids] == Kind.LIST) | (self.kinds[ids] == Kind.OBJECT)
        self.is_deferred[self.other_rows[ids[is_head]]] = True
        column: list[object] = [None] * self.n
        contents = self.cells.contents.get_all(self.other_cells[ids])
        for row, content in zip(self.other_rows[ids].tolist(), contents, strict=True):
            column[row] = content
        return column

    def _find_other_labels(self, is_label: Mask) -> frozenset[str]:
        """Return the default label names that occur but are not the label."""
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

    def _parse_by_record(self, mask: Mask, parse: Callable[[Any], Any]) -> ParsedValues:
        """Parse the other cells selected by a mask."""
        ids = np.flatnonzero(mask)
        return self.parse_contents(self.other_cells[ids], self.other_rows[ids], parse)

    def _find_name_id(self, path: str) -> int:
        """Return the ID of a name; -1 if it does not occur."""
        return self.names.find_id(path)

    def _defer(self, mask: Mask) -> None:
        """Defer the records of the other cells selected by a mask."""
        if mask.any():
            self.is_deferred[self.other_rows[mask]] = True


def _collect_names(cells: Cells, ids: NDArray[np.intp], key: str | None) -> frozenset[str]:
    """Return the distinct names of cells, without the key of the object that holds the features."""
    assert cells.name_ids is not None
    prefix, name_ids = f"{key}." if key else "", set(cells.name_ids[ids].tolist())
    return frozenset(cells.names[i].removeprefix(prefix) for i in name_ids)
