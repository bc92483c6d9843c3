"""Blocks of rows of a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import MissingValues
from stream_perceptron.data.cells import Kind
from stream_perceptron.data.interpreter.block_reader import (
    BlockReader,
    EncodedCells,
    InterpretedBlock,
    ParsedValues,
)
from stream_perceptron.data.interpreter.name_roles import NameRoles
from stream_perceptron.data.interpreter.table_layout import TableLayout
from stream_perceptron.data.values import require_utf8
from stream_perceptron.model.arrays import Array, Mask
from stream_perceptron.model.rows import Rows


class TableBlockReader(BlockReader):
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
        labels: list[object] = [None] * self.n
        is_labeled = np.zeros(self.n, bool)
        if options.label is not None:
            labels, is_labeled = self._parse_cells(options.label, self.parse_label)
        cells = [
            EncodedCells(encoding, self._find_cells(encoding.column), self.rows_of_block)
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

    def _read_column(self, column: str) -> list[object]:
        """Return the contents of a column."""
        return self.cells.contents.get_all(self._find_cells(column))

    def _parse_cells(self, column: str, parse: Callable[[Any], Any]) -> ParsedValues:
        """Parse the cells of a column."""
        return self.parse_contents(self._find_cells(column), self.rows_of_block, parse)

    def _read_passthrough(self) -> list[tuple[object, ...]]:
        """Return the contents of the passthrough columns."""
        if not self.options.passthrough:
            return []
        if self.context.is_text:
            columns = [
                self._parse_cells(name, require_utf8).values for name in self.options.passthrough
            ]
        else:
            columns = [self._read_column(name) for name in self.options.passthrough]
        return list(zip(*columns, strict=True))

    def _read_numbers(self, layout: TableLayout, missing: NDArray[np.intp]) -> Rows:
        """Return the features, one for each column, and count the missing values."""
        cells, columns = self.cells, self.context.table_columns
        d = len(self.context.columns or ())
        kinds, numbers = cells.kinds.reshape(self.n, d), cells.numbers.reshape(self.n, d)
        for name in columns.untyped:
            c = self.positions[name]
            non_nulls = np.flatnonzero(kinds[:, c] != Kind.NULL)
            if len(non_nulls):
                self.is_deferred[non_nulls[~self.find_null_texts(non_nulls * d + c)]] = True
        values = numbers[:, layout.select]
        is_present = self._find_present(values, kinds[:, layout.select], layout.features)
        if is_present is not None:
            missing += np.count_nonzero(~is_present, axis=1)
        return self.build_table_rows(columns.numbers, values, is_present, layout.scales)

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
        self, values: Array, kinds: NDArray[np.uint8], feature_positions: NDArray[np.intp]
    ) -> Mask | None:
        """Return which values are not null; None if there are no nulls.

        `feature_positions` contains the position of each column of `values`. Rows with a text that
        does not mean a missing value are deferred.
        """
        if not self.null_numbers and (kinds == Kind.NUMBER).all():
            return None
        is_present: Mask = (kinds == Kind.NUMBER) | (kinds == Kind.BOOL)
        suspects = kinds == Kind.TEXT
        if self.null_numbers:
            suspects |= is_present & np.isin(values, self.null_numbers)
        rows, columns = np.nonzero(suspects)
        if len(rows):
            d = len(self.context.columns or ())
            is_null = self.find_null_texts(rows * d + feature_positions[columns])
            is_present[rows[is_null], columns[is_null]] = False
            self.is_deferred[rows[~is_null & (kinds[rows, columns] == Kind.TEXT)]] = True
        return is_present

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
