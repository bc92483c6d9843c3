"""The rows of a run in their order, read from where it is."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from stream_perceptron.data.batch import Batch, Replays
from stream_perceptron.data.byte_stream import Idle
from stream_perceptron.data.prefetch import prefetch
from stream_perceptron.data.source import Request, Source
from stream_perceptron.live.cursor import Cursor

_FLOOD = 2**16  # bytes that wait in a pipe, as many as it mostly holds


def read(
    sources: Sequence[Source],
    request: Request,
    cursor: Cursor,
    epochs: int | None,
) -> Iterator[Batch]:
    """Yield the batches from a cursor on; what becomes of the cursor meanwhile does not matter."""
    replays = Replays(cursor.offsets if request.to_learn else None)
    schema = request.schema
    epoch, begin, row = cursor.epoch, cursor.index, cursor.row
    while epochs is None or epoch < epochs:
        n_rows = begin + row
        for index in range(begin, len(sources)):
            source = sources[index]
            start = 0 if source.is_stream else row
            is_told = cursor.sources and epoch == 0 and source.grows
            known = cursor.sources[index] if is_told else None
            asked = replace(request, epoch=epoch, start=start, known=known, replays=replays)
            if request.to_learn:
                asked = asked.after(schema)
            for batch in source.batches(asked):
                if batch.tells:
                    schema = batch.schema
                n_rows += batch.n_rows
                yield replace(batch, epoch=epoch, index=index) if epoch or index else batch
            source.require_unchanged()
            row = 0
        if not n_rows:
            return  # or a run without end over empty sources would have none
        epoch, begin, row = epoch + 1, 0, 0


def ahead(
    batches: Iterator[Batch], sources: Sequence[Source], idle: Idle | None
) -> Generator[Batch, None, None]:
    """Yield batches that a thread reads ahead.

    As long as little waits in the pipes that they come from, there is no thread: a row that is to
    be answered before the next one is sent would lose time between the two.
    """
    streams = [source.stream for source in sources]
    pipes = [stream for stream in streams if stream is not None]
    is_live = bool(pipes) and len(pipes) == len(streams)
    while is_live and not any(pipe.n_ready() >= _FLOOD for pipe in pipes):
        for pipe in pipes:
            pipe.idle = idle
        batch = next(batches, None)
        if batch is None:
            return
        yield batch
    for pipe in pipes:
        pipe.idle = None
    yield from prefetch(batches, idle)
