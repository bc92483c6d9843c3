"""The only loop around training: reads, slices, interprets and learns rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.byte_stream import Idle
from stream_perceptron.data.prefetch import prefetch
from stream_perceptron.data.source import (
    Interpreter,
    Knowledge,
    RawRows,
    Request,
    Source,
)
from stream_perceptron.live.cursor import Cursor
from stream_perceptron.live.step_result import StepResult

Step = Callable[[Batch], StepResult]

_FIRST_TOLD = 1000  # rows before the first progress report
_FLOOD = 2**16  # bytes ready in a pipe from which a thread reads ahead; most pipes hold as many


@dataclass(frozen=True)
class StepOptions:
    """The options of a step."""

    stop: bool = False  # whether the first sample with an error below epsilon ends the run
    skip_rejected: bool = False  # whether to leave out rows that cannot be used
    with_probabilities: bool = False  # whether to compute the probability of each prediction
    with_every: bool = False  # whether to compute the probability of each label


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


def read(
    sources: Sequence[Source],
    request: Request,
    cursor: Cursor,
    epochs: int | None,
    knowledge: Knowledge,
    idle: Idle | None = None,
) -> Generator[tuple[Interpreter, RawRows], None, None]:
    """Yield the rows from a cursor on with their interpreter; a thread prefetches them.

    After an interrupt, only rows already read from pipes follow. Later changes of the cursor have
    no effect. Those of `knowledge` concern the next source.

    Raises
    ------
    SourceError
        If a text file is not the same in a further pass.

    """
    epoch, begin, row = cursor.epoch, cursor.index, cursor.row
    while epochs is None or epoch < epochs:
        n_rows = begin + row
        for index in range(begin, len(sources)):
            source = sources[index]
            if source.ends_here:
                continue
            start, rows_before = (0, row) if source.is_stream else (row, None)
            offset = cursor.offset if row and source.grows else 0
            known = cursor.sources[index] if cursor.sources and source.grows else None
            source_request = replace(
                request, epoch=epoch, start=start, offset=offset, rows_before=rows_before,
                known=known, names=knowledge.names,
            )  # fmt: skip
            if request.to_learn:
                source_request = source_request.after(knowledge.schema)
            interpreter = source.interpreter(source_request)
            for rows in _read_ahead(source.rows(source_request), source, idle):
                rows.epoch, rows.index = epoch, index
                n_rows += len(rows)
                if source.ends_here:
                    break
                yield interpreter, rows
            if not source.interrupt.is_set:
                source.end_pass(source_request)
            row = 0
        if not n_rows:
            return  # a run of endless epochs over empty sources would never end
        epoch, begin, row = epoch + 1, 0, 0


def _read_ahead(
    rows: Iterator[RawRows], source: Source, idle: Idle | None
) -> Generator[RawRows, None, None]:
    """Yield the rows of a source that a thread prefetches.

    While the source is a pipe with little data ready, no thread is used: if the sender waits for an
    answer to each row, a thread would only delay it.
    """
    pipe = source.stream
    while pipe is not None and pipe.n_ready() < _FLOOD:
        pipe.idle = idle
        some = next(rows, None)
        if some is None:
            return
        yield some
    if pipe is not None:
        pipe.idle = None
    yield from prefetch(rows, idle, None if source.is_stream else source.interrupt)


def cut(
    rows: Iterable[tuple[Interpreter, RawRows]],
    sources: Sequence[Source],
    cursor: Cursor,
    limit: int | None = None,
    every: int | None = None,
    one_by_one: int = 0,
    name_rows: int | None = None,
) -> Iterator[tuple[Interpreter, RawRows]]:
    """Cut rows where a run ends or yields, and set the cursor to the source of each.

    A run yields at 1,000, 2,000, 4,000 and so on rows, where progress is reported, at multiples of
    `every`, after each of the first `one_by_one` rows, and at multiples of `name_rows` in a source.
    The caller moves the cursor over the rows.
    """
    if not cursor.row:
        cursor.redeliveries.begin_source()
    end = None if limit is None else limit + (cursor.read if cursor.is_of_stream else 0)
    for interpreter, whole in rows:
        if (whole.epoch, whole.index) != (cursor.epoch, cursor.index):
            cursor.epoch, cursor.index, cursor.row, cursor.offset = whole.epoch, whole.index, 0, 0
            cursor.redeliveries.begin_source()
        done = 0
        while done < len(whole):
            doubled = _FIRST_TOLD << (cursor.read // _FIRST_TOLD).bit_length()
            most = min(len(whole) - done, doubled - cursor.read)
            if end is not None:
                most = min(most, end - cursor.read)
            if every is not None:
                most = min(most, every - cursor.read % every)
            if name_rows is not None:
                most = min(most, name_rows - cursor.row % name_rows)
            if one_by_one:
                most, one_by_one = min(most, 1), one_by_one - 1
            if most <= 0 or sources[whole.index].ends_here:
                return
            yield interpreter, whole[done : done + most]
            done += most
            if end is not None and cursor.read >= end:
                return  # without waiting for the next rows, which may never come from a pipe
