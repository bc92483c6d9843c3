"""Code for reading blocks of records, shared by tables and records that name their cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data import roles
from stream_perceptron.data.batch import MissingValues, Offset
from stream_perceptron.data.cells import Cells, Kind, select_cells, take_records
from stream_perceptron.data.encodings import encode_content
from stream_perceptron.data.interpreter.context import Context
from stream_perceptron.data.interpreter.name_roles import NameRoles
from stream_perceptron.data.interpreter.record import parse_offset
from stream_perceptron.data.schema import Encoding
from stream_perceptron.data.values import require_utf8
from stream_perceptron.errors import SampleError
from stream_perceptron.model.arrays import Array, Mask
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.vocabulary import NamesPrefix


class EncodedCells(NamedTuple):
    """Cells whose contents become features."""

    encoding: Encoding
    ids: NDArray[np.intp]
    rows: NDArray[np.intp]  # the row of each cell, ascending


class EncodedColumn(NamedTuple):
    """The features that encode the contents of a column."""

    features: Rows
    missing_rows: NDArray[np.intp]  # the rows in which the column has no value


class ParsedValues(NamedTuple):
    """The parsed values of one column or name, by record."""

    values: list[Any]  # None for a record without a value
    has_value: Mask


class SelectedFeatures(NamedTuple):
    """The plain features in records, and the cells that remain."""

    features: Rows
    other_cells: NDArray[np.intp]
    other_rows: NDArray[np.intp]  # the row of each of the other cells


@dataclass(eq=False, repr=False)
class InterpretedBlock:
    """The interpretation of a block of records; it is undefined for deferred records."""

    is_deferred: Mask  # which records are left to `interpret_record`, shape (n,)
    features: Rows
    labels: list[object]
    is_labeled: Mask
    weights: NDArray[np.float64]
    missing: MissingValues
    encoded: Rows  # the features that encode texts and dates
    passthrough: Sequence[tuple[object, ...]] = ()  # the passthrough columns of each record
    offsets: Sequence[Offset | None] = ()  # one per record, if the user has named offset columns
    other_labels: frozenset[str] = frozenset()  # default label names that are not the label
    unknown_names: frozenset[str] = frozenset()  # names of ignored numbers that the model lacks

    def __len__(self) -> int:
        return len(self.labels)


_FAILED = object()


class BlockReader:
    """Reads the cells that all formats have in common.

    Its methods mark in `is_deferred` the records that they cannot read with certainty. Arrays
    called `missing` count the missing values in each record; they are changed in place.
    """

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
    ) -> ParsedValues:
        """Parse the contents of cells; defer a record if `parse` raises an error."""
        codes, contents = self.cells.contents.encode(ids)
        parsed: dict[tuple[type, object], object] = {}
        values: list[object] = []
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
            return ParsedValues(cell_values, has_value[codes])
        row_values: list[Any] = [None] * self.n
        for row, value in zip(rows.tolist(), cell_values, strict=True):
            row_values[row] = value
        row_has_value = np.zeros(self.n, bool)
        row_has_value[rows] = has_value[codes]
        return ParsedValues(row_values, row_has_value)

    def parse_label(self, content: object) -> object:
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

    def _encode_column(self, cells: EncodedCells) -> EncodedColumn:
        """Encode the contents of cells as features."""
        encoding, ids, rows = cells
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
        return EncodedColumn(encoded_rows, rows[is_missing[codes]])

    def encode_columns(self, columns: Iterable[EncodedCells], missing: NDArray[np.intp]) -> Rows:
        """Return the features that encode the contents of columns, and count the missing values."""
        encoded, counted = Rows.empty(self.n), set()
        for cells in columns:
            column = self._encode_column(cells)
            encoded = encoded.merge_features(column.features)
            if int(cells.ids[0]) not in counted:  # a column with two encodings counts once
                missing[column.missing_rows] += 1
            counted.add(int(cells.ids[0]))
        return encoded

    def find_null_texts(self, ids: NDArray[np.intp]) -> Mask:
        """Return which cells are texts that mean a missing value."""
        nulls = self.options.null_values
        codes, contents = self.cells.contents.encode(ids)
        return np.array([isinstance(c, str) and c.strip() in nulls for c in contents], bool)[codes]

    def select_features(self, cells: Cells, names: NameRoles) -> SelectedFeatures:
        """Separate the numbers of plain features from the other cells."""
        assert cells.name_ids is not None
        starts, feature_ids, values, other_cells, rows = select_cells(cells, names.plain_features)
        features = self.build_rows(NamesPrefix(names.features), starts, feature_ids, values)
        return SelectedFeatures(features, other_cells, rows)

    def build_rows(
        self, names: Sequence[object], starts: NDArray[np.intp], name_ids: Any, values: Array
    ) -> Rows:
        """Return rows of scaled numbers; a record with an infinite value is deferred."""
        scale = self.untyped_scale
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
    def untyped_scale(self) -> float:
        """The factor for numbers without a declared type."""
        return 1.0 if self.options.scale is None else self.options.scale

    def can_stay_bytes(self, scale: float | NDArray[np.float64]) -> bool:
        """Return whether numbers stay bytes if all are whole numbers from 0 to 255."""
        # Pending samples are saved, so their type must not depend on other rows in the block.
        if self.options.has_join:
            return False
        return isinstance(scale, float) and math.isfinite(255 * scale)

    def scale_values(
        self, values: Array, scale: float | NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return values multiplied by one factor for all columns, or by one per column."""
        if isinstance(scale, float) and scale == 1.0:
            return values.astype(np.float64, copy=False)
        with np.errstate(over="ignore"):
            scaled: NDArray[np.float64] = np.multiply(values, scale, dtype=np.float64)
        return scaled

    def build_table_rows(
        self,
        features: tuple[str, ...],
        values: Array,
        is_present: Mask | None,
        scale: float | NDArray[np.float64],
    ) -> Rows:
        """Return rows, shape (n, d), as bytes if possible; deferred rows have arbitrary values."""
        if isinstance(scale, float):
            is_declared = self.context.byte_scale is not None
            if is_declared or self.can_stay_bytes(scale):
                values = _pack_bytes(values, is_present, is_declared)
                if values.dtype == np.uint8:
                    return Rows.from_table(
                        features, np.ascontiguousarray(values), is_present, scale
                    )
        with np.errstate(over="ignore", invalid="ignore"):
            are_finite = math.isfinite(values.sum())
        if not are_finite:
            finite = np.isfinite(values)
            self.is_deferred |= (~finite if is_present is None else ~finite & is_present).any(
                axis=1
            )
            values = np.where(finite, values, 0.0)
        scaled = self.scale_values(values, scale)
        if np.abs(scale).max(initial=0.0) > 1:
            self.is_deferred |= np.isinf(scaled).any(axis=1)
        return Rows.from_table(features, scaled, is_present)

    def read_lists(
        self, lists: NDArray[np.intp], rows: NDArray[np.intp], missing: NDArray[np.intp],
        scale: float,
    ) -> Rows:  # fmt: skip
        """Return the features in lists, and count the missing values.

        Parameters
        ----------
        lists
            The index of each list of features among all lists.
        rows
            The row of each list, ascending; other rows have no features.
        missing
            The number of missing features in each row, increased in place.
        scale
            The factor for the features.

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
        is_present = None
        if not members.are_all_numbers:
            is_present = (kinds == Kind.NUMBER) | (kinds == Kind.BOOL)
            is_null = kinds == Kind.NULL
            self.is_deferred[rows[(~is_present & ~is_null).any(axis=1)]] = True
            missing[rows] += np.count_nonzero(is_null, axis=1)
        if len(rows) == self.n:
            return self.build_table_rows(features, values, is_present, scale)
        is_deferred, self.is_deferred = self.is_deferred, np.zeros(len(rows), bool)
        list_rows = self.build_table_rows(features, values, is_present, scale)
        is_deferred[rows[self.is_deferred]] = True
        self.is_deferred = is_deferred
        return list_rows.scatter(rows, self.n)

    def parse_offsets(self, columns: Sequence[list[object]]) -> list[Offset | None]:
        """Return the offset of each record, given the contents of the offset columns."""
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


def _pack_bytes(values: Array, is_present: Mask | None, is_declared: bool) -> Array:
    """Return values as bytes if they are declared as 8-bit or are whole numbers from 0 to 255."""
    if values.dtype == np.uint8:
        return values
    if is_declared:
        return (values if is_present is None else np.where(is_present, values, 0)).astype(np.uint8)
    # The numbers may be doubles only because of cells that are not features.
    if is_present is None and values.size:
        with np.errstate(invalid="ignore"):
            if (values[0].astype(np.uint8) == values[0]).all():
                pixels = values.astype(np.uint8)
                return pixels if (pixels == values).all() else values
    return values


def _parse_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
