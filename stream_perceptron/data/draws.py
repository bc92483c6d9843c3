"""Rows drawn at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import BATCH_ROWS, Batch
from stream_perceptron.data.columns import Columns
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.notices import Notice
from stream_perceptron.data.position import FileContent, FilePosition
from stream_perceptron.data.request import Request
from stream_perceptron.data.source import Batches, Opening, Source
from stream_perceptron.errors import SourceError
from stream_perceptron.model.rows import concatenate_rows


class RandomDraws(Source):
    """Rows drawn at random with replacement from all rows of several files, without end.

    The rows are read once and held in memory. Draw t is row floor(u_t n), where n is the number of
    rows and u_t is the t-th double of a PCG64 stream seeded with `seed`, so any draw can be
    reproduced. The position in this source is the number of the draw.
    """

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        super().__init__(sources[0].path)
        self.files = sources
        self.interrupt = sources[0].interrupt
        self.seed = seed
        self.positions: list[FilePosition] = []  # at the end of each file, once all are read
        self._rows: Batch | None = None

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

    def find_layout(self, request: Request) -> Layout:
        return self.files[0].find_layout(request)

    def describe(self, request: Request, columns: Columns) -> tuple[Notice, ...]:
        return ()  # the batches carry the notices of the files

    def read_batches(self, batches: Batches, request: Request) -> Iterator[Batch]:
        """Yield the draws from a position on."""
        rows, first = self.load_rows(request), request.position.rows
        while rows is not None:
            batch = _take_rows(rows, self._draw(first, rows.n_rows))
            batch.first_row = first % rows.n_rows + 1
            batch.notices = () if first else rows.notices
            yield batch
            first += len(batch)

    def load_rows(self, request: Request) -> Batch | None:
        """Return all rows to draw from, or None after an interrupt; no row counts as redelivered.

        Raises
        ------
        SourceError
            If there are no rows.

        """
        if self._rows is None:
            parts: list[Batch] = []
            # Unlabeled rows add features, too: labeled rows with these features may be drawn first.
            request = replace(request, keeps_zeros=True, keeps_unlabeled=True, redeliveries=None)
            for source in self.files:
                position = FileContent(source.path).begin()
                batches = source.batches(replace(request, position=position))
                for batch in batches:
                    if self.interrupt.is_set:
                        return None
                    if batch is not None and batch.n_rows:
                        position = batch.move(position)
                        parts.append(replace(batch, span=None, ends=None))
                if position.rows:
                    self.positions.append(replace(position, is_finished=True))
                request = request.after(batches.columns.schema)
                request = replace(request, names=batches.columns.names)
            if not parts:
                raise SourceError(f"{self.name}: there are no rows to draw from")
            self._rows = _concatenate_batches(parts, self.name)
        return self._rows

    def _draw(self, start: int, n_rows: int) -> NDArray[np.intp]:
        """Return the rows of the next draws, which do not cross the end of a pass."""
        bits = np.random.PCG64(self.seed)
        bits.advance(start)
        n = min(BATCH_ROWS, n_rows - start % n_rows)
        return (np.random.Generator(bits).random(n) * n_rows).astype(np.intp)


def _concatenate_batches(batches: Sequence[Batch], source: str) -> Batch:
    """Return the rows of all batches as one batch, as if all names had been known from the start.

    Missing values are not counted, because which of them count depends on the names known before
    each row.
    """
    starts = np.cumsum([0, *(batch.n_rows for batch in batches)]).tolist()
    return Batch(
        source=source,
        first_row=1,
        n_rows=starts[-1],
        rows=np.concatenate([b.rows + start for b, start in zip(batches, starts, strict=False)]),
        features=concatenate_rows([batch.features for batch in batches]),
        labels=[label for batch in batches for label in batch.labels],
        weights=np.concatenate([batch.weights for batch in batches]),
        schema=batches[-1].schema,
        rejected={
            start + i: reason
            for batch, start in zip(batches, starts, strict=False)
            for i, reason in batch.rejected.items()
        },
        notices=next((batch.notices for batch in batches if batch.notices), ()),
        seen=frozenset().union(*(batch.seen for batch in batches)),
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
        rejected={
            i: rows.rejected[row] for i, row in enumerate(draws.tolist()) if not is_usable[i]
        },
    )
