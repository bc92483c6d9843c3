"""The rows of a run in their order, read from where it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from stream_perceptron.data.batch import Rows
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.source import RowLayout, Source
from stream_perceptron.live.cursor import Position

__all__ = ["Part", "cut", "decode", "singly"]

_FIRST_TOLD = 1000  # rows


@dataclass
class Part:
    """Rows of a batch, and where they come from."""

    turn: int
    index: int
    source: Source
    layout: RowLayout
    batch: pa.RecordBatch
    rows: Rows
    first: int  # number of the first row in its source

    @property
    def n_rows(self) -> int:
        return int(self.batch.num_rows)

    def cut(self, start: int, end: int) -> Part:
        """Return the rows from start to before end."""
        if start == 0 and end >= self.n_rows:
            return self
        batch, rows = self.batch[start:end], self.rows.cut(start, end)
        return replace(self, batch=batch, rows=rows, first=self.first + start)


def decode(
    sources: Sequence[Source],
    schema: Schema,
    position: Position,
    passes: int | None,
    until_bad: bool,
    dtype: str,
    to_learn: bool = True,
) -> Iterator[Part]:
    """Yield the batches from a position on; what becomes of it meanwhile does not matter.

    Parameters
    ----------
    sources
        What to read, in order.
    schema
        What to take from it.
    position
        Where to begin.
    passes
        How often to read all of it; None for without end.
    until_bad
        Whether rows of a batch behind its first bad one are of no interest.
    dtype
        The type that features must fit.
    to_learn
        Whether all columns that were named must be there.

    """
    turn, begin, row = position.turn, position.index, position.row
    while passes is None or turn < passes:
        n_rows = begin + row
        for index in range(begin, len(sources)):
            source = sources[index]
            layout = source.layout(schema, to_learn)
            if layout is not None:
                start = 0 if source.is_stream else row
                first = start + 1
                for batch in source.batches(turn, start):
                    rows = layout.rows(batch, until_bad).cast(dtype, batch.num_rows)
                    yield Part(turn, index, source, layout, batch, rows, first)
                    first += batch.num_rows
                    n_rows += batch.num_rows
            row = 0
        if not n_rows:
            return  # or a run without end over empty sources would have none
        turn, begin, row = turn + 1, 0, 0


def cut(
    decoded: Iterator[Part], position: Position, limit: int | None, every: int | None
) -> Iterator[Part]:
    """Cut batches where a run ends or is to yield, and move a position to the start of each part.

    A run yields at 1,000 rows, 2,000, 4,000 and so on, where its progress is told, at multiples of
    `every`, and whenever a batch is done. The caller moves the position over the rows.
    """
    is_stream = any(source.is_stream for source in position.sources)
    end = None if limit is None else limit + (position.read if is_stream else 0)
    for whole in decoded:
        if (whole.turn, whole.index) != (position.turn, position.index):
            position.turn, position.index, position.row = whole.turn, whole.index, 0
        done = 0
        while done < whole.n_rows:
            doubled = _FIRST_TOLD << (position.read // _FIRST_TOLD).bit_length()
            most = min(whole.n_rows - done, doubled - position.read)
            if end is not None:
                most = min(most, end - position.read)
            if every is not None:
                most = min(most, every - position.read % every)
            if most <= 0:
                return
            yield whole.cut(done, done + most)
            done += most


def singly(parts: Iterable[Part], n: int) -> Iterator[Part]:
    """Yield the first n rows of all parts one by one, and the rest as it comes."""
    for part in parts:
        single = min(n, part.n_rows)
        n -= single
        for i in range(single):
            yield part.cut(i, i + 1)
        if single < part.n_rows:
            yield part.cut(single, part.n_rows)
