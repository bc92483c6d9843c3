"""Rows of a source as cells, and their interpretation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch, Held, Redeliveries
from stream_perceptron.data.cells import Cells
from stream_perceptron.data.describe import Note, warn_of_unknown, warning
from stream_perceptron.data.interpreter import Context, Interpretation, NameRoles
from stream_perceptron.data.interpreter.alike import AlikeRecords
from stream_perceptron.data.interpreter.record import Sample
from stream_perceptron.data.naming import meant
from stream_perceptron.data.source import Interpreter, Knowledge, RawRows, Request


class CellRows(RawRows):
    """Rows that are interpreted as cells."""

    # The bytes of a text file up to the end of each row, which identify it; None for other sources.
    ends: NDArray[np.intp] | None = None

    @property
    def whole(self) -> CellRows:
        """All rows that have arrived together with these."""
        return self

    @abstractmethod
    def hold(self, i: int) -> Held | None:
        """Return a function that returns the content of a row; None if it is too long."""


class CellInterpreter(Interpreter):
    """Interprets cells."""

    def __init__(self, name: str, context: Context, request: Request) -> None:
        super().__init__(request)
        self._name, self._context = name, context
        self._names, self._alike = NameRoles(), AlikeRecords()
        self._other_labels: set[str] = set()  # usual names of labels that are not the label
        self._warned: set[str] = set()  # those among them that a warning has named
        self._unknown: list[str] = []  # ignored names that the model does not know
        self._warned_of_unknown = False
        self._told_of_label = request.start > 0
        self._seen: set[str] = set()  # names given in options that rows have
        self._n_examined = 0  # names of the cells that were compared with them

    def _interpret(
        self,
        rows: CellRows,
        knowledge: Knowledge,
        redeliveries: Redeliveries | None,
        fields: dict[str, Any],
    ) -> Batch:
        self._update_context(knowledge, redeliveries)
        cells, is_single = self.scan(rows), len(rows) == 1 and not knowledge.unseen
        fields = {"source": self._name, "ends": rows.ends, **fields}
        if is_single and (alike := self._alike.interpret(self._context, cells, fields)) is not None:
            return alike
        interpretation = Interpretation(self._context, cells, self._names)
        self._other_labels |= interpretation.other_labels
        self._unknown = self._unknown or [*interpretation.unknown]
        batch = interpretation.batch(**fields)
        if is_single:
            self._alike.remember(self._context, cells, batch)
        if knowledge.unseen and self._context.columns is None:
            key = batch.inferred.schema.key
            seen = self._find_names(knowledge.unseen, interpretation.cells, key)
            batch = replace(batch, inferred=batch.inferred._replace(seen=seen))
        held = {i: hold for i in batch.rejected if (hold := rows.hold(i)) is not None}
        return replace(batch, held=held) if held else batch

    def _update_context(
        self, knowledge: Knowledge, redeliveries: Redeliveries | None = None
    ) -> None:
        schema, vocabulary, before = knowledge.schema, knowledge.names, self._context
        redeliveries = redeliveries if before.selection.position else None
        # A context caches the columns of a table, some of which may be known by now.
        is_same = before.columns is None or not schema.is_open
        is_same &= schema is before.schema and vocabulary is before.vocabulary
        if not is_same or redeliveries is not before.redeliveries:
            self._context = replace(
                before, schema=schema, vocabulary=vocabulary, redeliveries=redeliveries
            )

    def _find_names(self, unseen: frozenset[str], cells: Cells, key: str | None) -> frozenset[str]:
        """Return which names given in options these or earlier rows have.

        `key` is that of the object with the features, if any.
        """
        if self._context.are_pairs and cells.members is not None:
            cells = cells.members
        if len(cells.names) < self._n_examined:  # names were forgotten
            self._n_examined = 0
        new = set(map(str, cells.names[self._n_examined :]))
        self._n_examined = len(cells.names)
        self._seen |= {name for name in unseen if {name, f"{key}.{name}"} & new}
        return frozenset(self._seen)

    @abstractmethod
    def scan(self, rows: Any) -> Cells:
        """Return the cells of rows."""

    @abstractmethod
    def describe(
        self, context: Context, rows: Any, deciding: Sequence[tuple[int, Sample]]
    ) -> tuple[Note, ...]:
        """Return notes on the columns, given the records that decided them among the first rows."""

    def _describe(self, rows: CellRows, knowledge: Knowledge) -> tuple[Note, ...]:
        # Notes describe all rows that arrived together, of which `rows` may be the first few.
        rows = rows.whole
        self._update_context(knowledge)
        interpretation = Interpretation(self._context, self.scan(rows), self._names)
        deciding = interpretation.find_deciding()
        if not deciding:
            return ()
        context = replace(interpretation.context, schema=deciding[-1][1].schema)
        return self.describe(context, rows, deciding)

    def _warn(self, batch: Batch) -> tuple[Note, ...]:
        new = sorted(self._other_labels - self._warned)
        self._warned |= self._other_labels
        label = batch.inferred.schema.label
        notes = [
            warning(
                f"{name!r} is not read as the label, which is {label!r}: rename it, or start over "
                f"with --label {name}"
            )
            for name in new
        ]
        if not self._told_of_label:
            self._told_of_label = True
            notes += self._note_missing_label()
        if self._unknown and not self._warned_of_unknown:
            self._warned_of_unknown = True
            notes.append(warn_of_unknown(self._unknown))
        return tuple(notes)

    def _note_missing_label(self) -> list[Note]:
        """Return a note if a table lacks the label column that samples are joined with."""
        label, context = self._request.selection.label, self._context
        is_missing = context.selection.joins and context.selection.label is None
        if label is None or not is_missing or not context.columns or not context.learns:
            return []
        text = f"there is no label column {label!r} here: labels come from other sources"
        hint = meant(label, context.columns)
        return [warning(text + hint) if hint else Note(text)]
