"""The answers to the questions of the compiled reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stream_perceptron.data.layout import Layout, compiled
from stream_perceptron.data.meaning.cells import add_column_to_errors, reject_cell
from stream_perceptron.data.meaning.features import Features
from stream_perceptron.data.meaning.kept_cells import KeptCells
from stream_perceptron.data.meaning.labels import Labels
from stream_perceptron.data.meaning.lists import Lists
from stream_perceptron.data.meaning.notes import describe_reader_notes
from stream_perceptron.data.meaning.reader import NO_LIMIT, build_reader
from stream_perceptron.data.meaning.roles import LABEL, Roles
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import Schema


class Columns:
    """The columns of a table, or the names in records, and what they mean.

    The compiled reader calls `ask_name`, `ask_label`, `reject`, `set_list` and `truncate`; see
    record.h.

    Attributes
    ----------
    roles, features, labels, kept
        What names mean, the features and the labels so far, and cells that are kept as they are.
    lists
        Whether rows are lists.
    list_cells
        The lists of a record batch, if rows are lists.
    notices
        What to report about cells of the last block: the row and the text.

    """

    def __init__(self, layout: Layout, request: ReadRequest, source_name: str) -> None:
        self.learns, self._request = request.to_learn, request
        self.is_raw = request.is_raw and not (layout.is_list or layout.is_encoded)
        has_limit = self.learns and not request.has_own_ids
        options, format_ = layout.read_options, layout.format
        self.roles = Roles(layout, request, source_name, self.is_raw)
        self.features = Features(request.names, request.string_columns)
        self.labels = Labels(
            request.labels,
            request.schema.label_type or layout.label_type,
            options.null_values,
            is_text=not format_.has_typed_cells,
            max_weights=request.max_weights if has_limit else None,
        )
        self.kept = KeptCells(layout, request, self.is_raw)
        self.lists = Lists(layout, request, source_name, self.is_raw)
        self.list_cells: Any = None
        self.notices: list[tuple[int, str]] = []
        self.reader = build_reader(self, request)
        self._limit_features()

    @property
    def layout(self) -> Layout:
        """The layout of the source."""
        return self.lists.layout

    def read_block(self, reader_method: Callable[..., Any], *arguments: Any) -> Any:
        """Read a block by a method of `reader`; return its records."""
        self.kept.clear()
        records = reader_method(*arguments)
        strings = self.features.string_columns
        self.notices = [
            *describe_reader_notes(records.notes, self.layout, strings, self._request.described)
        ]
        first = [
            (row, column, 0)
            for row, code, column, *_ in records.notes
            if code == compiled.FIRST_STRING and column not in strings
        ]
        self.features.add_block(records.names, [*first, *records.string_features])
        return records

    @property
    def schema(self) -> Schema:
        """The schema after the last row."""
        schema = self._request.schema
        if not self.learns:
            return schema
        has_label = bool(self.layout.columns or self.labels.names)
        label = schema.label or (self.roles.label if has_label else None)
        schema = replace(
            self.layout.extend_schema(schema),
            label=label,
            label_type=schema.label_type or self.labels.label_type,
        )
        is_decided = self.lists.is_undecided and not self.reader.seeks_list
        return replace(schema, is_list=False) if is_decided else schema

    def set_elements(self, n: int) -> None:
        """Name the n elements of the list that holds the features, unless they have names."""
        if names := self.lists.name_elements(n):
            self.reader.set_elements(names)

    # --- Questions of the reader

    def ask_name(self, path: str, is_candidate: bool) -> int:
        """Return what to do with the cells of a key."""
        if is_candidate:
            self.roles.set_label(path)
            return LABEL
        return self.roles.find_cell_action(path, self.reader.has_feature(path))

    def ask_label(self, cell_kind: int, content: bytes) -> int:
        """Return the number of a label, which is new if it is the number of labels so far."""
        with add_column_to_errors(self.layout, self.roles.label):
            value = self.layout.format.decode_label(cell_kind, content)
        label_id = self.labels.find_id(value, self.reader.max_features_before)
        self._limit_features()
        return label_id

    def set_list(self, key: str, n: int) -> None:
        """Note that rows are lists of n numbers under a key."""
        self.lists.decide_rows_are_lists(key, n)

    def reject(self, code: int, name: str, number: float, content: bytes) -> None:
        """Raise the error of a cell that cannot be used."""
        values: Any = ()
        if code == compiled.INVALID_LIST:
            decode = self.layout.format.decode
            values = (
                decode(compiled.LIST, content)
                if self.list_cells is None
                else self.list_cells[int(number)]
            )
        reject_cell(self.layout, code, name, number, content, values)

    def truncate(self, n_labels: int, n_label_keys: int) -> None:
        """Remove what the current record has added: labels, and the label's key."""
        self.labels.truncate(n_labels)
        self.roles.truncate(n_label_keys)
        self._limit_features()

    def _limit_features(self) -> None:
        n = self.labels.compute_max_features()
        self.reader.limit_features(NO_LIMIT if n is None else min(n, NO_LIMIT))
