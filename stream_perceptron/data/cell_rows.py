"""Rows of a source as cells, and their interpretation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch, ContentReader, Redeliveries
from stream_perceptron.data.cells import Cells
from stream_perceptron.data.interpreter import Context, Interpretation, NameRoles
from stream_perceptron.data.interpreter.layout_cache import MAX_RECORDS, LayoutCache
from stream_perceptron.data.interpreter.record import Sample
from stream_perceptron.data.naming import (
    format_option_value,
    suggest_options,
    suggest_similar_name,
)
from stream_perceptron.data.notices import Notice, build_unknown_columns_warning, build_warning
from stream_perceptron.data.source import Interpreter, Knowledge, RawRows, Request


class CellRows(RawRows):
    """Rows that are interpreted as cells."""

    # The byte offset of the end of each row in a text file; None for other sources.
    ends: NDArray[np.intp] | None = None

    @property
    def unsliced(self) -> CellRows:
        """All rows that arrived together; this object may hold a slice of them."""
        return self

    @abstractmethod
    def make_content_reader(self, i: int) -> ContentReader | None:
        """Return a function that returns the content of a row; None if the row is too long."""


class CellInterpreter(Interpreter):
    """Interprets cells."""

    def __init__(self, name: str, context: Context, request: Request) -> None:
        super().__init__(request)
        self._name, self._context = name, context
        self._names, self._layout_cache = NameRoles(), LayoutCache()
        # The names in rows that usually denote a label but are not the label.
        self._other_labels: set[str] = set()
        self._reported_labels: set[str] = set()  # those already reported
        self._unknown_names: list[str] = []  # names that are ignored because the model lacks them
        self._has_reported_unknown = False
        self._has_checked_label = request.start > 0
        self._seen_option_names: set[str] = set()  # names in options that occur in rows
        self._n_examined = 0  # the number of cell names compared with options so far

    def _interpret(
        self,
        rows: CellRows,
        knowledge: Knowledge,
        redeliveries: Redeliveries | None,
        fields: dict[str, object],
    ) -> Batch:
        self._update_context(knowledge, redeliveries)
        cells = self.scan(rows)
        uses_layout = 0 < len(rows) <= MAX_RECORDS and not knowledge.unseen
        fields = {"source": self._name, "ends": rows.ends, **fields}
        if uses_layout:
            cached = self._layout_cache.interpret(self._context, cells, self._names, fields)
            if cached is not None:
                return cached
        interpretation = Interpretation(self._context, cells, self._names)
        self._other_labels |= interpretation.other_labels
        self._unknown_names = self._unknown_names or [*interpretation.unknown_names]
        batch = interpretation.build_batch(**fields)
        if uses_layout:
            self._layout_cache.store(self._context, cells, batch)
        if knowledge.unseen and self._context.columns is None:
            key = batch.inferred.schema.key
            seen = self._find_option_names(knowledge.unseen, interpretation.cells, key)
            batch = replace(batch, inferred=batch.inferred._replace(seen=seen))
        readers = {
            i: reader for i in batch.rejected if (reader := rows.make_content_reader(i)) is not None
        }
        return replace(batch, content_readers=readers) if readers else batch

    def _update_context(
        self, knowledge: Knowledge, redeliveries: Redeliveries | None = None
    ) -> None:
        """Update the context for the next rows, unless nothing has changed."""
        schema, vocabulary, old_context = knowledge.schema, knowledge.names, self._context
        redeliveries = redeliveries if old_context.read_options.position else None
        # A context caches the columns of a table, whose types may have been inferred since.
        is_same = old_context.columns is None or not schema.is_open
        is_same &= schema is old_context.schema and vocabulary is old_context.vocabulary
        if not is_same or redeliveries is not old_context.redeliveries:
            self._context = replace(
                old_context, schema=schema, vocabulary=vocabulary, redeliveries=redeliveries
            )

    def _find_option_names(
        self, unseen: frozenset[str], cells: Cells, key: str | None
    ) -> frozenset[str]:
        """Return the names in options that occur in these or earlier rows.

        `key` is the JSON key of the object with the features, if any.
        """
        if self._context.has_pairs and cells.members is not None:
            cells = cells.members
        if len(cells.names) < self._n_examined:  # names were forgotten
            self._n_examined = 0
        new = set(map(str, cells.names[self._n_examined :]))
        self._n_examined = len(cells.names)
        self._seen_option_names |= {name for name in unseen if {name, f"{key}.{name}"} & new}
        return frozenset(self._seen_option_names)

    @abstractmethod
    def scan(self, rows: Any) -> Cells:
        """Return the cells of the rows."""

    @abstractmethod
    def describe(
        self, context: Context, rows: Any, deciding_records: Sequence[tuple[int, Sample]]
    ) -> tuple[Notice, ...]:
        """Return notices about the columns, given the records that determined the schema."""

    def _describe_source(self, rows: CellRows, knowledge: Knowledge) -> tuple[Notice, ...]:
        # Notices describe all rows that arrived together; `rows` may be only the first of them.
        rows = rows.unsliced
        self._update_context(knowledge)
        interpretation = Interpretation(self._context, self.scan(rows), self._names)
        deciding_records = interpretation.find_deciding_records()
        if not deciding_records:
            return ()
        context = replace(interpretation.context, schema=deciding_records[-1][1].schema)
        return self.describe(context, rows, deciding_records)

    def _build_warnings(self, batch: Batch) -> tuple[Notice, ...]:
        notices: list[Notice] = []
        if new := self._other_labels - self._reported_labels:
            self._reported_labels |= new
            label = batch.inferred.schema.label
            notices = [
                build_warning(
                    f"{name!r} is not read as the label, which is {label!r}: rename it, or start "
                    "over with another label; "
                    + suggest_options({"to use it": f"--label {format_option_value([name])}"})
                )
                for name in sorted(new)
            ]
        if not self._has_checked_label:
            self._has_checked_label = True
            notices += self._build_missing_label_notice()
        if self._unknown_names and not self._has_reported_unknown:
            self._has_reported_unknown = True
            notices.append(build_unknown_columns_warning(self._unknown_names))
        return tuple(notices)

    def _build_missing_label_notice(self) -> list[Notice]:
        """Return a notice if a table lacks the label column, which other sources must then have."""
        label, context = self._request.read_options.label, self._context
        is_missing = context.read_options.has_join and context.read_options.label is None
        if label is None or not is_missing or not context.columns or not context.learns:
            return []
        text = f"there is no label column {label!r} in this source: labels come from other sources"
        hint = suggest_similar_name(label, context.columns)
        return [build_warning(text + hint) if hint else Notice(text)]
