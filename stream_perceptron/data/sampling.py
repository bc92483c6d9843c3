"""Rows drawn at random."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import (
    BATCH_ROWS,
    Batch,
    InferredKnowledge,
    MissingValues,
    Redeliveries,
    concatenate_missing,
)
from stream_perceptron.data.fingerprint import Fingerprint
from stream_perceptron.data.notices import Notice
from stream_perceptron.data.source import (
    Interpreter,
    Knowledge,
    Opening,
    RawRows,
    Request,
    Source,
)
from stream_perceptron.errors import SourceError
from stream_perceptron.model.rows import Rows, concatenate_rows


class RandomDraws(Source):
    """Rows drawn at random with replacement from all rows of several files.

    The rows are read once and held in memory. Draw t is row floor(u_t n), where u_t is the t-th
    double of a PCG64 stream seeded with `seed`, so any draw can be reproduced.
    """

    is_random = True

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        super().__init__(sources[0].path)
        self.files = sources
        self.interrupt = sources[0].interrupt
        self.seed = seed
        self._rows: Batch | None = None
        self.counts: list[int] = []  # the number of rows in each file, once all files are read

    @property
    def n_rows(self) -> int | None:
        """The number of rows to draw from; None until it is known."""
        if self._rows is not None:
            return self._rows.n_rows
        counts = [source.n_rows for source in self.files]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def classes(self) -> list[object] | None:
        return self.files[0].classes

    def open(self, request: Request) -> Opening | None:
        first: Opening | None = None
        for source in self.files:
            opening = source.open(request)
            if opening is not None:
                first = first or opening
                request = request.after(opening.schema)
        return None if first is None else first._replace(schema=request.schema)

    def fingerprints(self) -> list[Fingerprint]:
        return [fingerprint for source in self.files for fingerprint in source.fingerprints()]

    def rows(self, request: Request) -> Iterator[DrawnRows]:
        """Yield the draws of an epoch from `start` on; an epoch has one draw for each row."""
        n_rows = self.load_rows(request).n_rows
        first_draw = request.epoch * n_rows
        for first in range(request.start, n_rows, BATCH_ROWS):
            n = min(BATCH_ROWS, n_rows - first)
            yield DrawnRows(self.draws(first_draw + first, n))

    def interpreter(self, request: Request) -> DrawInterpreter:
        return DrawInterpreter(self, request)

    def load_rows(self, request: Request) -> Batch:
        """Return all rows to draw from; none of them counts as redelivered.

        The rows are scanned once and interpreted with the schema inferred from all of them, as in
        a resumed run.

        Raises
        ------
        SourceError
            If there are no rows.

        """
        if self._rows is not None:
            return self._rows
        epoch_request = replace(request, epoch=0, start=0, offset=0, known_fingerprint=None)
        names_in_options = frozenset(request.read_options.named_columns)
        knowledge = Knowledge(request.schema, copy.copy(request.names), names_in_options)
        interpreted: list[tuple[Interpreter, RawRows, int]] = []
        batches: list[Batch] = []
        for source in self.files:
            epoch_request = replace(epoch_request.after(knowledge.schema), names=knowledge.names)
            interpreter, first_row = source.interpreter(epoch_request), 1
            for rows in source.rows(epoch_request):
                batch = interpreter.interpret(rows, knowledge, first_row)
                interpreted.append((interpreter, rows, first_row))
                batches.append(batch)
                knowledge.adopt(batch.inferred)
                first_row += len(rows)
            self.counts.append(first_row - 1)
        if not batches:
            raise SourceError(f"{self.name}: there are no rows to draw from")
        new_names = tuple(map(str, knowledge.names.names[len(request.names) :]))
        if knowledge.schema != request.schema or new_names:
            notices = next((batch.notices for batch in batches if batch.notices), ())
            batches = [
                interpreter.interpret(rows, knowledge, first_row)
                for interpreter, rows, first_row in interpreted
            ]
            batches[0] = replace(batches[0], notices=notices)
        seen = names_in_options - knowledge.unseen
        inferred = InferredKnowledge(knowledge.schema, new_names, seen)
        self._rows = _concatenate_batches(batches, self.name, inferred)
        return self._rows

    def draws(self, start: int, n: int) -> NDArray[np.intp]:
        """Return the rows of draws start to start + n - 1."""
        bits = np.random.PCG64(self.seed)
        bits.advance(start)
        u = np.random.Generator(bits).random(n)
        return (u * (self.n_rows or 0)).astype(np.intp)


class DrawnRows(RawRows):
    """Drawn rows, given by their indices among all rows to draw from."""

    def __init__(self, draws: NDArray[np.intp]) -> None:
        self.draws = draws

    def __len__(self) -> int:
        return len(self.draws)

    def _slice(self, start: int, end: int) -> DrawnRows:
        return DrawnRows(self.draws[start:end])


class DrawInterpreter(Interpreter):
    """Interprets drawn rows, which it takes from memory."""

    def __init__(self, source: RandomDraws, request: Request) -> None:
        super().__init__(request)
        self._source = source

    def _interpret(
        self,
        rows: DrawnRows,
        knowledge: Knowledge,
        redeliveries: Redeliveries | None,
        fields: dict[str, Any],
    ) -> Batch:
        batch = _take_rows(self._source.load_rows(self._request), rows.draws)
        schema, names, seen = batch.inferred
        if batch.labels.count(None) == len(batch.labels):
            schema, names = knowledge.schema, ()
        elif names and names[0] in knowledge.names.ids_by_name:
            names = ()
        return replace(batch, inferred=InferredKnowledge(schema, names, seen), **fields)

    def _describe_source(self, rows: DrawnRows, knowledge: Knowledge) -> tuple[Notice, ...]:
        return self._source.load_rows(self._request).notices


def _concatenate_batches(
    batches: Sequence[Batch], source: str, inferred: InferredKnowledge
) -> Batch:
    """Return the rows of all batches as one batch."""
    starts = np.cumsum([0, *(batch.n_rows for batch in batches)]).tolist()
    nonempty_features = [batch.features for batch in batches if len(batch.rows)]
    return Batch(
        source=source,
        first_row=1,
        n_rows=starts[-1],
        rows=np.concatenate([b.rows + start for b, start in zip(batches, starts, strict=False)]),
        features=concatenate_rows(nonempty_features)
        if nonempty_features
        else Rows.from_rows([], []),
        labels=[label for batch in batches for label in batch.labels],
        weights=np.concatenate([batch.weights for batch in batches]),
        inferred=inferred,
        rejected={
            start + i: reason
            for batch, start in zip(batches, starts, strict=False)
            for i, reason in batch.rejected.items()
        },
        notices=next((batch.notices for batch in batches if batch.notices), ()),
        missing=concatenate_missing(
            [b.missing or MissingValues(np.zeros(len(b.rows), np.intp)) for b in batches]
        ),
    )


def _take_rows(rows: Batch, draws: NDArray[np.intp]) -> Batch:
    """Return the drawn rows, which may be in any order and occur more than once."""
    usable_index = np.full(rows.n_rows, -1, np.intp)
    usable_index[rows.rows] = np.arange(len(rows.rows))
    is_usable = usable_index[draws] >= 0
    indices = usable_index[draws][is_usable]
    return replace(
        rows,
        n_rows=len(draws),
        rows=np.flatnonzero(is_usable),
        features=rows.features[indices],
        labels=[rows.labels[i] for i in indices.tolist()],
        weights=rows.weights[indices],
        missing=None if rows.missing is None else rows.missing[indices],
        rejected={
            i: rows.rejected[row] for i, row in enumerate(draws.tolist()) if not is_usable[i]
        },
        ends=None,
    )
