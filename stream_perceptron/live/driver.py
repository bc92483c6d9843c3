"""The only loop around training: reads, slices, interprets and learns rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

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
from stream_perceptron.live.cursor import Cursor, Turn
from stream_perceptron.live.step_result import StepResult

Step = Callable[[Batch], StepResult]

_FIRST_TOLD = 1000  # rows before the first progress report
_FLOOD = 2**16  # bytes ready in a pipe from which a thread reads ahead; most pipes hold as many


class StepOptions(NamedTuple):
    """The options of a step."""

    stop: bool = False  # whether the first sample with an error below epsilon ends the run
    skip_rejected: bool = False  # whether to leave out rows that cannot be used
    with_probabilities: bool = False  # whether to compute the probability of each prediction
    with_every: bool = False  # whether to compute the probability of each label
    is_repeated: bool = False  # whether the rows were learned before; a cursor shows it, too


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


@dataclass(frozen=True)
class Turns:
    """Functions that are called when a run comes to a source of a pass and when it leaves it."""

    # Called with the cursor and the source that it has come to; may move the cursor in it.
    begin: Callable[[Cursor, Source], Turn] = lambda cursor, source: cursor.turn
    end: Callable[[Source], None] = lambda source: None


def read(
    sources: Sequence[Source],
    request: Request,
    cursor: Cursor,
    epochs: int | None,
    knowledge: Knowledge,
    idle: Idle | None = None,
    turns: Turns = Turns(),
    end: int | None = None,
) -> Generator[tuple[Interpreter, RawRows], None, None]:
    """Yield the rows from a cursor on with their interpreter; a thread prefetches them.

    The cursor is moved to each source at its turn, and by the caller over the rows. No source is
    begun once the cursor has read `end` rows. After an interrupt, only rows already read from pipes
    follow. Changes of `knowledge` concern the next source.

    Raises
    ------
    SourceError
        If a text file is not the same in a further pass.

    """
    place = cursor.epoch, cursor.index
    row, offset = cursor.row, cursor.offset
    epoch, first = cursor.epoch, 0 if cursor.begins_at_marks else cursor.index
    has_rows = bool(first or row)
    while epochs is None or epoch < epochs:
        for index in range(first, len(sources)):
            source = sources[index]
            if source.ends_here:
                continue
            if end is not None and cursor.read >= end:
                return
            goes_on = (epoch, index) == place and (source.is_stream or not cursor.begins_at_marks)
            cursor.begin_source(epoch, index, *((row, offset) if goes_on else (0, 0)))
            turn = turns.begin(cursor, source)
            if turn is not Turn.SKIP:
                source_request = _request_rows(request, cursor, source, knowledge)
                interpreter = source.interpreter(source_request)
                for rows in _read_ahead(source.rows(source_request), source, idle):
                    rows.epoch, rows.index = epoch, index
                    if source.ends_here:
                        break
                    if turn is Turn.BEGIN:
                        cursor.redeliveries.begin_source()
                        turn = Turn.RESUME
                    yield interpreter, rows
                if not source.interrupt.is_set:
                    source.end_pass(source_request)
            has_rows = has_rows or cursor.row > 0
            turns.end(source)
        if not has_rows:
            return  # a run of endless epochs over empty sources would never end
        epoch, first, has_rows = epoch + 1, 0, False


def _request_rows(
    request: Request, cursor: Cursor, source: Source, knowledge: Knowledge
) -> Request:
    """Return the request for the rows of the source that the cursor is in."""
    start, rows_before = (0, cursor.row) if source.is_stream else (cursor.row, None)
    offset = cursor.offset if cursor.row and source.grows else 0
    known = cursor.sources[cursor.index] if cursor.sources and source.grows else None
    request = replace(
        request, epoch=cursor.epoch, start=start, offset=offset, rows_before=rows_before,
        known=known, names=knowledge.names,
    )  # fmt: skip
    return request.after(knowledge.schema) if request.to_learn else request


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
    end: int | None = None,
    every: int | None = None,
    one_by_one: int = 0,
    name_rows: int | None = None,
) -> Iterator[tuple[Interpreter, RawRows]]:
    """Cut rows where a run ends or yields: it ends once the cursor has read `end` rows.

    A run yields at 1,000, 2,000, 4,000 and so on rows, where progress is reported, at multiples of
    `every`, after each of the first `one_by_one` rows, and at multiples of `name_rows` in a source.
    The caller moves the cursor over the rows.
    """
    for interpreter, whole in rows:
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
