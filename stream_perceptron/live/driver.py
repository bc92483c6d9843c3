"""The only training loop, which reads, slices and learns rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from stream_perceptron.data.batch import MAX_BATCH_ROWS, Batch
from stream_perceptron.data.byte_stream import IdleCallback
from stream_perceptron.data.prefetch import prefetch
from stream_perceptron.data.request import Request
from stream_perceptron.data.source import Batches, Source
from stream_perceptron.live.cursor import Cursor
from stream_perceptron.live.step_result import StepResult

Step = Callable[[Batch], StepResult]

_FIRST_REPORT = 1000  # rows before the first progress report
# A pipe with this many bytes ready, or a file of this size, is prefetched; most pipes hold no more.
_PREFETCH_BYTES = 2**16


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
    # The number of rows after which names that only evicted samples use are forgotten; None for
    # never. The function returns the names that are still used.
    name_lifetime: int | None = None
    forget_names: Callable[[], Sequence[str]] = tuple


def read_batches(
    sources: Sequence[Source],
    request: Request,
    cursor: Cursor,
    epochs: int | None,
    idle: IdleCallback | None = None,
    hooks: SourceHooks = SourceHooks(),
    end: int | None = None,
) -> Generator[Batch, None, None]:
    """Yield batches of rows, starting at a cursor; a thread prefetches them.

    This function moves the cursor to each source in turn, and the caller moves it past the rows. No
    source is started once `cursor.read` reaches `end`. After an interrupt, only rows already
    read from pipes are yielded.

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
                source_request = _build_request(request, cursor, source)
                batches = source.batches(source_request)
                for batch in _prefetch(batches, source, source_request, cursor, hooks, idle):
                    if source.should_stop:
                        break
                    yield batch
                columns = batches.columns
                if request.to_learn:
                    request = replace(request, names=columns.names)
                    request = request.after(columns.schema)
                if not source.interrupt.is_set:
                    source.end_pass(source_request)
            has_rows = has_rows or cursor.row > 0
            hooks.end(source)
        if not has_rows:
            return  # without this check, unlimited epochs over empty sources would never end
        epoch, first_index, has_rows = epoch + 1, 0, False


def _build_request(request: Request, cursor: Cursor, source: Source) -> Request:
    """Return a request for the rows of the source at the cursor."""
    start, n_rows_before = (0, cursor.row) if source.is_stream else (cursor.row, None)
    offset = cursor.offset if cursor.row and source.can_grow else 0
    known_fingerprint = cursor.sources[cursor.index] if cursor.sources and source.can_grow else None
    redeliveries = None
    if request.to_learn and request.read_options.position and not cursor.is_repeating:
        redeliveries = cursor.redeliveries.copy()
    return replace(
        request, epoch=cursor.epoch, index=cursor.index, start=start, offset=offset,
        n_rows_before=n_rows_before, known_fingerprint=known_fingerprint, redeliveries=redeliveries,
    )  # fmt: skip


def _prefetch(
    batches: Batches,
    source: Source,
    request: Request,
    cursor: Cursor,
    hooks: SourceHooks,
    idle: IdleCallback | None,
) -> Generator[Batch, None, None]:
    """Yield the rows of a source, prefetched in a thread.

    No thread is used for rows whose reading calls Python, because two threads would wait for each
    other, nor for a small file, because a thread takes longer to start, nor while the source is a
    pipe with little data ready, because a thread would only delay a sender that waits for the
    answer to each row.
    """
    pipe, lifetime = source.stream, hooks.name_lifetime
    is_small = source.state is not None and source.state.size < _PREFETCH_BYTES
    while (
        batches.columns.asks_in_every_row
        or is_small
        or (
            pipe is not None and (pipe.was_read_short or pipe.count_ready_bytes() < _PREFETCH_BYTES)
        )
    ):
        if pipe is not None:
            pipe.idle = idle
        if lifetime is not None:
            if cursor.row and cursor.row % lifetime == 0:
                schema = batches.columns.schema
                names = hooks.forget_names()
                batches.reopen(replace(request, names=names, schema=schema))
            batches.max_rows = min(MAX_BATCH_ROWS, lifetime - cursor.row % lifetime)
        batch = next(batches, None)
        if batch is None:
            return
        yield batch
    if pipe is not None:
        pipe.idle = None
    yield from prefetch(batches, idle, None if source.is_stream else source.interrupt)


def slice_batches(
    batches: Iterable[Batch],
    sources: Sequence[Source],
    cursor: Cursor,
    end: int | None = None,
    every: int | None = None,
    n_single_rows: int = 0,
) -> Iterator[Batch]:
    """Slice batches where a run yields, and end once `cursor.read` reaches `end`.

    A run yields after 1,000, 2,000, 4,000, ... rows, when progress is reported; at multiples of
    `every`; and after each of the first `n_single_rows` rows. The caller moves the cursor past the
    rows.
    """
    for batch in batches:
        n_sliced = 0
        while n_sliced < len(batch):
            next_report = _FIRST_REPORT << (cursor.read // _FIRST_REPORT).bit_length()
            n_rows = min(len(batch) - n_sliced, next_report - cursor.read)
            if end is not None:
                n_rows = min(n_rows, end - cursor.read)
            if every is not None:
                n_rows = min(n_rows, every - cursor.read % every)
            if n_single_rows:
                n_rows, n_single_rows = min(n_rows, 1), n_single_rows - 1
            if n_rows <= 0 or sources[batch.index].should_stop:
                return
            yield batch[n_sliced : n_sliced + n_rows]
            n_sliced += n_rows
            if end is not None and cursor.read >= end:
                return  # without waiting for the next rows, which a pipe may never deliver
