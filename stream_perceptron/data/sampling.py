"""Rows drawn at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import BATCH_ROWS, Batch
from stream_perceptron.data.columns import Columns
from stream_perceptron.data.fingerprint import Fingerprint
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.notices import Notice
from stream_perceptron.data.request import Request
from stream_perceptron.data.source import Batches, Opening, Source
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

    def find_layout(self, request: Request) -> Layout:
        return self.files[0].find_layout(request)

    def describe(self, request: Request, columns: Columns) -> tuple[Notice, ...]:
        return ()  # the rows have the notices of the files

    def read_batches(self, batches: Batches, request: Request) -> Iterator[Batch]:
        """Yield the draws of an epoch from `start` on; an epoch has one draw for each row."""
        rows = self.load_rows(request)
        first_draw = request.epoch * rows.n_rows
        for first in range(request.start, rows.n_rows, BATCH_ROWS):
            n = min(BATCH_ROWS, rows.n_rows - first)
            batch = _take_rows(rows, self.draws(first_draw + first, n))
            batch.first_row, batch.epoch, batch.index = first + 1, request.epoch, request.index
            if first > request.start or request.start:
                batch.notices = ()
            yield batch

    def load_rows(self, request: Request) -> Batch:
        """Return all rows to draw from; none of them counts as redelivered.

        The rows are read again if they add to the schema or to the names, so that all of them are
        read with the same knowledge, as in a resumed run.

        Raises
        ------
        SourceError
            If there are no rows.

        """
        if self._rows is None:
            first_pass = replace(
                request, epoch=0, start=0, offset=0, known_fingerprint=None, keeps_zeros=True
            )
            batches, known = self._read_files(first_pass)
            notices = next((batch.notices for batch in batches if batch.notices), ())
            if known.schema != first_pass.schema or len(known.names) > len(first_pass.names):
                batches, known = self._read_files(known)
            if not batches:
                raise SourceError(f"{self.name}: there are no rows to draw from")
            self._rows = replace(_concatenate_batches(batches, self.name), notices=notices)
        return self._rows

    def _read_files(self, request: Request) -> tuple[list[Batch], Request]:
        """Return the rows of all files, and a request with the schema and names after them."""
        batches: list[Batch] = []
        self.counts = []
        for source in self.files:
            rows = source.batches(request)
            batches += rows
            self.counts.append(rows.next_row - 1)
            request = replace(request.after(rows.columns.schema), names=rows.columns.names)
        return batches, request

    def draws(self, start: int, n: int) -> NDArray[np.intp]:
        """Return the rows of draws start to start + n - 1."""
        bits = np.random.PCG64(self.seed)
        bits.advance(start)
        u = np.random.Generator(bits).random(n)
        return (u * (self.n_rows or 0)).astype(np.intp)


def _concatenate_batches(batches: Sequence[Batch], source: str) -> Batch:
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
        schema=batches[-1].schema,
        rejected={
            start + i: reason
            for batch, start in zip(batches, starts, strict=False)
            for i, reason in batch.rejected.items()
        },
        missing=np.concatenate(
            [np.zeros(len(b.rows), np.int32) if b.missing is None else b.missing for b in batches]
        ),
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
        missing=rows.missing[indices] if rows.missing is not None else None,
        rejected={
            i: rows.rejected[row] for i, row in enumerate(draws.tolist()) if not is_usable[i]
        },
        ends=None,
    )
