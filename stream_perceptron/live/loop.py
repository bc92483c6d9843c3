"""The only loop: it reads rows, slices them, learns them and moves the position."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from stream_perceptron.data.batch import Batch, build_empty_batch
from stream_perceptron.data.position import FileContent, FilePosition
from stream_perceptron.data.prefetch import prefetch
from stream_perceptron.data.source import Batches, Source
from stream_perceptron.errors import SourceError
from stream_perceptron.live.history import ROWS, Entry, Run, try_encode_lr
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.model.results import TrainOptions

if TYPE_CHECKING:
    from stream_perceptron.live.model import LiveModel

_FIRST_REPORT = 1000  # rows before the first progress report
# A pipe with this many bytes ready is prefetched; most pipes hold no more.
_PREFETCH_BYTES = 2**16


@dataclass(eq=False)
class Segment:
    """Consecutive rows of a source to be learned; the loop moves the position."""

    source: Source
    position: FilePosition
    end: int | None = None  # the number of rows before the segment's end; None for the source's end
    is_repeated: bool = False  # whether the rows were learned before
    # Whether redelivered rows are left uncounted, as in a pipe or a file that stands in for one.
    is_stream: bool = False
    # Whether all rows of the segment were read without an interrupt.
    is_complete: bool = False


class Limits(NamedTuple):
    """Where a run yields or ends, other than at the ends of batches."""

    end: int | None = None  # the number of rows read at which the run ends
    every: int | None = None  # the run yields at multiples of this number of rows
    max_rows: Callable[[], int] | None = None  # returns the number of rows to yield at once


def plan_segments(
    live: LiveModel, run: Run, sources: Mapping[str, Source], passes: int | None
) -> Generator[Segment, None, None]:
    """Yield the segments of a run in order, each after the one before has been learned.

    In the first pass, each file is read from its position to its end. Later passes read
    the rows before the position, too.

    Raises
    ------
    SourceError
        If a file has changed since the first pass.

    """
    is_interrupted = False
    while passes is None or run.passes < passes:
        while run.source < len(run.given):
            index, file = run.source, run.given[run.source]
            position, source = file.position, sources.get(file.position.name)
            if source is not None and run.passes and position.rows:
                begin = replace(run.position or _go_to_start(position), name=position.name)
                repeated = Segment(source, begin, position.rows, is_repeated=True)
                if begin.rows < position.rows:
                    yield repeated
                    if not repeated.is_complete:
                        return
                    is_same = repeated.position.is_same_place(position)
                    if not (is_same or _is_unchanged(source, position)):
                        raise SourceError(
                            f"{source.name}: the file has changed since the first pass; "
                            "start over with --overwrite"
                        )
            if source is not None and not run.passes and not file.is_learned:
                new = Segment(source, position, is_stream=source.is_stream)
                yield new
                position = new.position
                if source.is_stream:
                    is_interrupted |= not new.is_complete  # other pipes may have been read, too
                elif not new.is_complete:
                    return
                elif position.rows:
                    with live.lock:
                        live.history.adopt(run)
                        position = live.history.finish(position, source.n_left_bytes)
                run.given[index] = file._replace(position=position)
            with live.lock:
                run.source, run.position = index + 1, None
        if is_interrupted:
            return
        with live.lock:
            if run.continue_if_nothing_is_new():
                continue
        run.source, run.passes = 0, run.passes + 1
        if not any(file.position.rows for file in run.given):
            return  # without this check, unlimited passes over empty sources would never end


def _is_unchanged(source: Source, position: FilePosition) -> bool:
    """Whether a file still has the rows before a position; the last may have gained a newline."""
    content = FileContent(source.path)
    return content.matches(position) and content.ends_line()


def _go_to_start(position: FilePosition) -> FilePosition:
    """Return the position before the first row of the same file."""
    return FilePosition(position.name, position.start_digest, position.end_digest)


def read_parts(
    segments: Iterable[Segment],
    open_batches: Callable[[Segment], Batches],
    run: Run,
    limits: Limits,
) -> Generator[tuple[Segment, Batch | None], None, None]:
    """Yield the rows of segments in slices, and None while no row is ready.

    Slices end where a report is due, and at limits. The caller moves the position and updates the
    number of rows read. After an interrupt, only rows already read from pipes are yielded.
    """
    end, every, max_rows = limits
    for segment in segments:
        if end is not None and run.read >= end:
            return
        source = segment.source
        with closing(read_ahead(open_batches(segment), source)) as batches:
            for batch in batches:
                if batch is None or not batch.n_rows:
                    yield segment, batch
                    continue
                n_rows = batch.n_rows
                if end is not None and run.read >= end:
                    return
                n_sliced = 0
                while n_sliced < n_rows:
                    ends = [n_rows - n_sliced, find_next_report(run.read) - run.read]
                    if end is not None:
                        ends.append(end - run.read)
                    if every is not None:
                        ends.append(every - run.read % every)
                    if segment.end is not None:
                        ends.append(segment.end - segment.position.rows)
                    if max_rows is not None:
                        ends.append(max_rows())
                    if should_stop(source):
                        return
                    yield segment, batch[n_sliced : n_sliced + min(ends)]
                    n_sliced += min(ends)
                    if end is not None and run.read >= end:
                        if source.is_stream or n_sliced < n_rows:
                            return  # without waiting for rows that a pipe may never deliver
                        break  # the file may have no further rows
                    if segment.position.rows == segment.end:
                        break
                if segment.position.rows == segment.end:
                    break
        segment.is_complete = not source.interrupt.is_set


def find_next_report(n_read: int) -> int:
    """Return the number of rows at which the next report is due: 1,000, 2,000, 4,000, ..."""
    return _FIRST_REPORT << (n_read // _FIRST_REPORT).bit_length()


def should_stop(source: Source) -> bool:
    """Whether to stop reading a source at once because of an interrupt.

    Rows of a file can be read again. Rows already read from a pipe cannot, so they are still
    yielded.
    """
    return source.interrupt.is_set and not source.is_stream


def read_ahead(batches: Batches, source: Source) -> Generator[Batch | None, None, None]:
    """Yield the rows of a source, read ahead in a thread, and None while no row is ready.

    No thread is used in three cases: for rows whose reading calls Python, because two threads would
    wait for each other; for a small file, because a thread takes longer to start than the file
    takes to read; and while the source is a pipe with little data ready, because a thread would
    only delay a sender that waits for the answer to each row.
    """
    pipe, is_small = source.stream, source.is_small
    while (
        is_small
        or batches.columns.asks_in_every_row
        or (
            pipe is not None and (pipe.was_read_short or pipe.count_ready_bytes() < _PREFETCH_BYTES)
        )
    ):
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch
    for ahead in prefetch(batches):
        if ahead is None and should_stop(source):
            return  # the thread may wait for a server forever
        yield ahead


def drive(
    batches: Iterable[Batch], step: Callable[[Batch], StepResult], skip_rejected: bool = False
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
        ends_early = not skip_rejected and batch.rejected
        result = step(batch.truncate_at_rejected() if ends_early else batch)
        yield result
        if result.failure is not None:
            raise result.failure
        if result.stopped:
            return
        if ends_early:
            batch.require_usable()


def learn_segments(
    live: LiveModel,
    run: Run,
    segments: Iterable[Segment],
    options: TrainOptions,
    limits: Limits,
    skip_rejected: bool = False,
) -> Generator[StepResult, None, None]:
    """Test and train a model on the rows of segments; yield a result after every step.

    When an error is raised, all rows before the failing one have been learned.
    """
    redeliveries = live.redeliveries if live.read_options.position else None
    described: set[Hashable] = set()

    def open_batches(segment: Segment) -> Batches:
        copied = None
        if redeliveries is not None and not segment.is_repeated:
            copied = redeliveries.copy()
        request = replace(
            live.request(),
            position=segment.position,
            redeliveries=copied,
            described=described,
            leaves_incomplete_line=not (segment.is_stream or segment.is_repeated),
        )
        batches = segment.source.batches(request)
        if live.read_options.has_join:
            batches.before_read = partial(live.forget_names_if_due, segment, batches)
        return batches

    parts = read_parts(segments, open_batches, run, limits)
    segment: Segment

    def read_batches() -> Iterator[Batch]:
        nonlocal segment
        for segment, part in parts:
            batch = part
            if batch is None:
                row = segment.position.rows + 1
                batch = build_empty_batch(segment.source.name, row, live.schema)
            has_join = live.read_options.has_join
            yield live.pending.join(batch, live.read_options) if has_join else batch

    def step(batch: Batch) -> StepResult:
        with live.lock:
            result = live.step(batch, options, segment.is_repeated)
            next_report = find_next_report(run.read)
            _move(live, run, segment, result.batch)
            result.is_report_due = run.read >= next_report
            if result.stopped:
                run.stopped_below = float(live.model.epsilon)
            return result

    with closing(parts):
        yield from drive(read_batches(), step, skip_rejected)


def _move(live: LiveModel, run: Run, segment: Segment, batch: Batch) -> None:
    """Move the position of a segment past learned rows, and record these rows."""
    if not batch.n_rows:
        return
    live.is_consistent = False
    live.history.adopt(run)
    before = segment.position
    after = batch.move(before, segment.is_stream)
    segment.position = after
    n_rejected, n_rows = len(batch.rejected), after.rows - before.rows
    run.read, run.rejected = run.read + n_rows, run.rejected + n_rejected
    for offset in batch.offsets:
        live.redeliveries.update(offset)
    if n_rows or not segment.is_stream:
        entry = Entry(
            (after,), ROWS, before.rows, after.rows, before.offset, n_rejected,
            try_encode_lr(live.model.lr), float(live.model.epsilon), live.read_options.keep,
            segment.is_repeated,
        )  # fmt: skip
        if segment.is_repeated:
            run.position = after
        else:
            live.history.move(before, after)
        live.history.add(entry, before)
    live.is_consistent = True
