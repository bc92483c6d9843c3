"""The only loop around training: reads, cuts and learns batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.byte_stream import Idle
from stream_perceptron.data.prefetch import prefetch
from stream_perceptron.data.source import Request, Source
from stream_perceptron.live.cursor import Cursor
from stream_perceptron.live.step_result import StepResult

Step = Callable[[Batch], StepResult]

_FIRST_TOLD = 1000  # rows before the first progress report
_FLOOD = 2**16  # bytes ready in a pipe from which a thread reads ahead; most pipes hold as many


@dataclass(frozen=True)
class RunOptions:
    """The options of a run."""

    epochs: int | None = 1  # how often to read all sources; None: without end
    # The most rows to read of these sources, earlier runs included; of a stream, in this run.
    limit: int | None = None
    stop: bool = False  # whether the first sample with an error below epsilon ends the run
    skip_rejected: bool = False  # whether to leave out rows that cannot be used
    with_probabilities: bool = False  # whether to compute the probability of each prediction
    with_every: bool = False  # whether to compute the probability of each label
    every: int | None = None  # yield at multiples of this number of rows read
    one_by_one: int = 0  # the number of next rows to learn one by one
    holds_rejected: bool = False  # whether rejected rows are held with all of their columns


def drive(
    batches: Iterable[Batch], step: Step, skip_rejected: bool = False
) -> Generator[StepResult, None, None]:
    """Do a step with each batch, and yield its result.

    When an error is raised, the rows before it are done.

    Raises
    ------
    SampleError
        If a row cannot be used, unless such rows are skipped.
    DivergedError
        If a weight or an error would become infinite or NaN.
    FullError
        If the model would become too large.

    """
    for batch in batches:
        result = step(batch if skip_rejected else batch.before_rejected())
        yield result
        if result.refused is not None:
            raise result.refused
        if result.stopped:
            return
        if not skip_rejected:
            batch.require_usable()


def cut(
    batches: Iterable[Batch], cursor: Cursor, limit: int | None = None, every: int | None = None
) -> Iterator[Batch]:
    """Cut batches where a run ends or yields, and set the cursor to the source of each.

    A run yields at 1,000, 2,000, 4,000 and so on rows, where progress is reported, at multiples of
    `every`, and after each batch. The caller moves the cursor over the rows.

    Raises
    ------
    SourceError
        If a text file is not the same in a further pass.

    """
    if not cursor.row:
        cursor.redeliveries.begin_source()
    end = None if limit is None else limit + (cursor.read if cursor.is_of_stream else 0)
    for whole in batches:
        if (whole.epoch, whole.index) != (cursor.epoch, cursor.index):
            cursor.require_same_text()
            cursor.epoch, cursor.index, cursor.row = whole.epoch, whole.index, 0
            cursor.redeliveries.begin_source()
        done = 0
        while done < len(whole):
            doubled = _FIRST_TOLD << (cursor.read // _FIRST_TOLD).bit_length()
            most = min(len(whole) - done, doubled - cursor.read)
            if end is not None:
                most = min(most, end - cursor.read)
            if every is not None:
                most = min(most, every - cursor.read % every)
            if most <= 0:
                return
            yield whole[done : done + most]
            done += most
            if end is not None and cursor.read >= end:
                return  # without waiting for the next batch, which may never come from a pipe
    cursor.require_same_text()


def singly(batches: Iterable[Batch], n: int) -> Iterator[Batch]:
    """Yield the first n rows of all batches one by one, and the rest unchanged."""
    for batch in batches:
        single = min(n, len(batch))
        n -= single
        for i in range(single):
            yield batch[i : i + 1]
        if single < len(batch):
            yield batch[single:]


def read(
    sources: Sequence[Source],
    request: Request,
    cursor: Cursor,
    epochs: int | None,
) -> Iterator[Batch]:
    """Yield the batches from a cursor on; later changes of the cursor have no effect."""
    redeliveries = copy.deepcopy(cursor.redeliveries) if request.to_learn else None
    schema = request.schema
    epoch, begin, row = cursor.epoch, cursor.index, cursor.row
    while epochs is None or epoch < epochs:
        n_rows = begin + row
        for index in range(begin, len(sources)):
            source = sources[index]
            start, rows_before = (0, row) if source.is_stream else (row, None)
            known = cursor.sources[index] if cursor.sources and source.grows else None
            asked = replace(
                request, epoch=epoch, start=start, rows_before=rows_before, known=known,
                redeliveries=redeliveries,
            )  # fmt: skip
            if request.to_learn:
                asked = asked.after(schema)
            for batch in source.batches(asked):
                if batch.tells or request.selection.join:
                    schema = batch.schema
                n_rows += batch.n_rows
                yield replace(batch, epoch=epoch, index=index) if epoch or index else batch
            if redeliveries is not None:
                redeliveries.begin_source()
            row = 0
        if not n_rows:
            return  # a run of endless epochs over empty sources would never end
        epoch, begin, row = epoch + 1, 0, 0


def ahead(
    batches: Iterator[Batch],
    sources: Sequence[Source],
    idle: Idle | None,
    uses_thread: bool = True,
) -> Generator[Batch, None, None]:
    """Yield batches that a thread prefetches, unless not `uses_thread`.

    While all sources are pipes with little data ready, no thread is used: if the sender waits for
    an answer to each row, a thread would only delay it.
    """
    streams = [source.stream for source in sources]
    pipes = [stream for stream in streams if stream is not None]
    is_live = bool(pipes) and len(pipes) == len(streams)
    while not uses_thread or (is_live and not any(pipe.n_ready() >= _FLOOD for pipe in pipes)):
        for pipe in pipes:
            pipe.idle = idle
        batch = next(batches, None)
        if batch is None:
            return
        yield batch
    for pipe in pipes:
        pipe.idle = None
    yield from prefetch(batches, idle)
