"""The only training loop, which reads, slices, interprets and learns rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.byte_stream import IdleCallback
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

_FIRST_REPORT = 1000  # rows before the first progress report
_PREFETCH_BYTES = 2**16  # a pipe with this many bytes ready is prefetched; most pipes hold no more


class StepOptions(NamedTuple):
    """The options of a step."""

    stop: bool = False  # whether the first sample with an error below epsilon ends the run
    skip_rejected: bool = False  # whether to leave out rows that cannot be used
    with_scores: bool = False  # whether to compute the score of each prediction
    with_all_scores: bool = False  # whether to compute the score of each label
    is_repeated: bool = False  # whether the rows were learned before, in steps without a cursor


def drive(
    batches: Iterable[Batch], step: Step, skip_rejected: bool = False
) -> Generator[StepResult, None, None]:
    """Run a step on each batch, and yield its result.

    When an error is raised, all rows before the failing one have been processed.

    Raises
    ------
    SampleError
        If a row cannot be used, unless such rows are skipped.
    DivergedError
        If a weight or an error would become infinite or NaN.
    ModelSizeError
        If the model would become too large.

    """
    for batch in batches:
        result = step(batch if skip_rejected else batch.truncate_at_rejected())
        yield result
        if result.failure is not None:
            raise result.failure
        if result.stopped:
            return
        if not skip_rejected:
            batch.require_usable()


@dataclass(frozen=True)
class SourceHooks:
    """Functions that a run calls at the beginning and at the end of each source."""

    # Called with the cursor and its new source; may move the cursor within this source. Returns
    # whether the source has further rows.
    begin: Callable[[Cursor, Source], bool] = lambda cursor, source: True
    end: Callable[[Source], None] = lambda source: None


def read_rows(
    sources: Sequence[Source],
    request: Request,
    cursor: Cursor,
    epochs: int | None,
    knowledge: Knowledge,
    idle: IdleCallback | None = None,
    hooks: SourceHooks = SourceHooks(),
    end: int | None = None,
) -> Generator[tuple[Interpreter, RawRows], None, None]:
    """Yield rows with their interpreter, starting at a cursor; a thread prefetches them.

    This function moves the cursor to each source in turn, and the caller moves it past the rows. No
    source is started once `cursor.read` reaches `end`. After an interrupt, only rows already
    read from pipes are yielded. Changes to `knowledge` take effect at the next source.

    Raises
    ------
    SourceError
        If a text file has changed between two passes.

    """
    first_source = cursor.epoch, cursor.index
    row, offset = cursor.row, cursor.offset
    epoch, first_index = cursor.epoch, 0 if cursor.begins_at_marks else cursor.index
    has_rows = bool(first_index or row)
    while epochs is None or epoch < epochs:
        for index in range(first_index, len(sources)):
            source = sources[index]
            if source.should_stop:
                continue
            if end is not None and cursor.read >= end:
                return
            is_resumed = (epoch, index) == first_source and (
                source.is_stream or not cursor.begins_at_marks
            )
            cursor.move_to_source(epoch, index, *((row, offset) if is_resumed else (0, 0)))
            if hooks.begin(cursor, source):
                source_request = _build_request(request, cursor, source, knowledge)
                interpreter = source.interpreter(source_request)
                for rows in _prefetch_rows(source.rows(source_request), source, idle):
                    rows.epoch, rows.index = epoch, index
                    if source.should_stop:
                        break
                    yield interpreter, rows
                if not source.interrupt.is_set:
                    source.end_pass(source_request)
            has_rows = has_rows or cursor.row > 0
            hooks.end(source)
        if not has_rows:
            return  # without this check, unlimited epochs over empty sources would never end
        epoch, first_index, has_rows = epoch + 1, 0, False


def _build_request(
    request: Request, cursor: Cursor, source: Source, knowledge: Knowledge
) -> Request:
    """Return a request for the rows of the source at the cursor."""
    start, n_rows_before = (0, cursor.row) if source.is_stream else (cursor.row, None)
    offset = cursor.offset if cursor.row and source.can_grow else 0
    known_fingerprint = cursor.sources[cursor.index] if cursor.sources and source.can_grow else None
    request = replace(
        request, epoch=cursor.epoch, start=start, offset=offset, n_rows_before=n_rows_before,
        known_fingerprint=known_fingerprint, names=knowledge.names,
    )  # fmt: skip
    return request.after(knowledge.schema) if request.to_learn else request


def _prefetch_rows(
    rows: Iterator[RawRows], source: Source, idle: IdleCallback | None
) -> Generator[RawRows, None, None]:
    """Yield the rows of a source, prefetched in a thread.

    While the source is a pipe with little data ready, no thread is used: it would only delay a
    sender that waits for the answer to each row.
    """
    pipe = source.stream
    while pipe is not None and (pipe.was_read_short or pipe.count_ready_bytes() < _PREFETCH_BYTES):
        pipe.idle = idle
        next_rows = next(rows, None)
        if next_rows is None:
            return
        yield next_rows
    if pipe is not None:
        pipe.idle = None
    yield from prefetch(rows, idle, None if source.is_stream else source.interrupt)


def slice_rows(
    rows: Iterable[tuple[Interpreter, RawRows]],
    sources: Sequence[Source],
    cursor: Cursor,
    end: int | None = None,
    every: int | None = None,
    n_single_rows: int = 0,
    name_lifetime: int | None = None,
) -> Iterator[tuple[Interpreter, RawRows]]:
    """Slice rows where a run yields, and end once `cursor.read` reaches `end`.

    A run yields after 1,000, 2,000, 4,000, ... rows, when progress is reported; at multiples of
    `every`; after each of the first `n_single_rows` rows; and at multiples of `name_lifetime` in
    a source. The caller moves the cursor past the rows.
    """
    for interpreter, raw_rows in rows:
        n_sliced, n_total = 0, len(raw_rows)
        while n_sliced < n_total:
            next_report = _FIRST_REPORT << (cursor.read // _FIRST_REPORT).bit_length()
            n_rows = min(n_total - n_sliced, next_report - cursor.read)
            if end is not None:
                n_rows = min(n_rows, end - cursor.read)
            if every is not None:
                n_rows = min(n_rows, every - cursor.read % every)
            if name_lifetime is not None:
                n_rows = min(n_rows, name_lifetime - cursor.row % name_lifetime)
            if n_single_rows:
                n_rows, n_single_rows = min(n_rows, 1), n_single_rows - 1
            if n_rows <= 0 or sources[raw_rows.index].should_stop:
                return
            is_whole = n_rows == n_total
            yield interpreter, raw_rows if is_whole else raw_rows[n_sliced : n_sliced + n_rows]
            n_sliced += n_rows
            if end is not None and cursor.read >= end:
                return  # without waiting for the next rows, which a pipe may never deliver
