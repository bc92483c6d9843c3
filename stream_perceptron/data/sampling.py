"""Rows drawn at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_perceptron.data.identity import Identity
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.source import BATCH_ROWS, RowLayout, Source, are_lines
from stream_perceptron.errors import SourceError

__all__ = ["RandomDraws"]


class RandomDraws(Source):
    """Rows drawn at random with replacement from all rows of several files.

    The files are held in memory in Arrow's form. Draw t is row floor(u_t n), where u_t is the t-th
    double of a PCG64 stream seeded with `seed`, so any draw can be found again.

    Parameters
    ----------
    sources
        The files; their columns must be alike.
    seed
        The seed of the draws.

    """

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        super().__init__("random draws")
        self._sources = sources
        tables = [pa.Table.from_batches(s.batches(), s.columns) for s in sources]
        for source in sources[1:]:
            if not source.columns.equals(self.columns, check_metadata=are_lines(self.columns)):
                raise SourceError(
                    f"{source.name}: its columns are not those of {sources[0].name}, so rows "
                    "cannot be drawn from both"
                )
        self._table = pa.concat_tables(tables).combine_chunks()
        self._seed = seed
        if not len(self._table):
            raise SourceError(f"{sources[0].name}: has no rows to draw from")

    @property
    def n_rows(self) -> int:
        """The number of rows to draw from."""
        return len(self._table)

    def draws(self, start: int, n: int) -> NDArray[np.int64]:
        """Return the rows of draws start to start + n - 1."""
        bits = np.random.PCG64(self._seed)
        bits.advance(start)
        u = np.random.Generator(bits).random(n)
        return (u * self.n_rows).astype(np.int64)

    @property
    def columns(self) -> pa.Schema:
        return self._sources[0].columns

    def layout(self, schema: Schema, to_learn: bool = True) -> RowLayout | None:
        return self._sources[0].layout(schema, to_learn)

    def identities(self, before: Sequence[Identity] = ()) -> list[Identity]:
        whole = [Identity("", 2**63 - 1, "")]
        return [identity for source in self._sources for identity in source.identities(whole)]

    def batches(self, turn: int = 0, start: int = 0) -> Iterator[pa.RecordBatch]:
        """Yield draws from `start` on, in all as many as there are rows; others in every turn."""
        end = (turn + 1) * self.n_rows
        for first in range(turn * self.n_rows + start, end, BATCH_ROWS):
            rows = self.draws(first, min(BATCH_ROWS, end - first))
            indices = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])
            yield from self._table.take(indices).combine_chunks().to_batches()
