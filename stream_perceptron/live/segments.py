"""The parts of a run: in which order files are read, and where batches are cut."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from stream_perceptron.data.batch import MAX_BATCH_ROWS, Batch, build_empty_batch
from stream_perceptron.data.input.prefetch import prefetch
from stream_perceptron.data.source import BatchReader, Source
from stream_perceptron.errors import SourceError
from stream_perceptron.live.files import GivenFile, SourceSegment
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.model.results import TrainOptions

_FIRST_REPORT = 1000  # rows before the first progress report
# A pipe with this many bytes ready is prefetched; most pipes hold no more.
_PREFETCH_BYTES = 2**16
_MAX_BATCH_SCORES = 2**18  # scores computed at once
_MIN_NAME_LIFETIME = 1000  # rows after which the feature names of evicted samples are forgotten


@dataclass(eq=False)
class RowCount:
    """How many rows have been read, and where a run yields or ends besides the ends of batches."""

    read: int = 0  # in earlier runs, too
    end: int | None = None  # the number of rows read at which the run ends
    every: int | None = None  # the run yields at multiples of this number of rows

    @property
    def has_reached_limit(self) -> bool:
        """Whether as many rows have been read as may be."""
        return self.end is not None and self.read >= self.end


class Learner:
    """What the loop trains: a live model."""

    def __init__(self, live: LiveModel, options: TrainOptions | None = None) -> None:
        self._live, self.options = live, options or TrainOptions()

    @property
    def live(self) -> LiveModel:
        """The model that the next rows are read for."""
        return self._live

    def step(self, batch: Batch, segment: SourceSegment) -> StepResult:
        """Test and train on rows of a segment, and move past them."""
        return self.live.step(batch, self.options, segment.is_repeated, segment)


def plan_segments(
    live: LiveModel, files: Sequence[GivenFile], passes: int | None
) -> Generator[SourceSegment, None, None]:
    """Yield the segments of a run in order, each after the one before has been learned.

    Raises
    ------
    SourceError
        If a file has changed since its rows were learned.

    """
    is_interrupted = False
    n_complete = min((file.progress.passes for file in files), default=0)
    while passes is None or n_complete < passes:
        for file in [file for file in files if file.progress.passes == n_complete]:
            source, progress = file.source, file.progress
            is_repeated = n_complete > 0 and progress.position.rows > 0
            end = progress.position.rows if is_repeated else None
            segment = SourceSegment(source, progress, end, is_repeated, source.is_stream)
            if not segment.is_at_end:
                yield segment
                if source.is_stream:
                    is_interrupted |= not segment.is_complete  # other pipes may have been read
                elif not segment.is_complete:
                    return
            if is_repeated:
                _require_unchanged(segment)
            n_unread = progress.n_unread_bytes if is_repeated else source.n_unread_bytes
            with live.lock:
                progress.finish_pass(n_complete + 1, n_unread)
                if progress.position.rows and not source.is_stream:
                    live.history.set_last_file(progress)
        if is_interrupted or not any(file.progress.position.rows for file in files):
            return  # unlimited passes over empty files would never end
        n_complete += 1


def _require_unchanged(segment: SourceSegment) -> None:
    """Check that a further pass over a file has reached the position of the first one."""
    position = segment.progress.position
    if segment.position.is_same_place(position):
        return
    content = segment.source.content
    # The last row may have gained a newline.
    if not (content.matches(position) and content.ends_line()):
        raise SourceError(
            f"{segment.source.name}: the file has changed since the first pass; "
            "start over with --overwrite"
        )


def slice_batches(
    learner: Learner, segment: SourceSegment, count: RowCount, described: set[Hashable]
) -> Generator[Batch, None, None]:
    """Yield the rows of a segment in parts, each to be learned before the next one is yielded.

    A part ends where a batch ends, where a report or a result is due, and at a limit. While no row
    is ready, parts without rows are yielded. After an interrupt, only rows already read from a pipe
    are yielded. `described` has what notices have described; new ones are added.
    """
    source = segment.source
    with closing(_read_segment(learner.live, segment, described)) as batches:
        for batch in batches:
            has_rows, rest = len(batch) > 0, batch
            while True:
                if should_stop(source) or (has_rows and count.has_reached_limit):
                    return
                n = _count_rows_to_learn(rest, learner, segment, count)
                yield learner.live.join_labels(rest[:n])
                rest = rest[n:]
                if not len(rest) or segment.is_at_end:
                    break
            # Do not wait for a pipe; read a file on, since it may be complete.
            if segment.is_at_end or (has_rows and count.has_reached_limit and source.is_stream):
                break
    segment.is_complete = not source.interrupt.is_set
    source.close_if_many_files()


def should_stop(source: Source) -> bool:
    """Whether to stop reading a source at once because of an interrupt.

    Rows of a file can be read again. Rows already read from a pipe cannot, so they are still
    yielded.
    """
    return source.interrupt.is_set and not source.is_stream


def read_ahead(batches: BatchReader, source: Source) -> Generator[Batch | None, None, None]:
    """Yield the rows of a source, read ahead in a thread, and None while no row is ready.

    No thread is used in three cases: for rows whose reading calls Python, because two threads would
    wait for each other; for a small file, because a thread takes longer to start than the file
    takes to read; and while the source is a pipe with little data ready, because a thread would
    only delay a sender that waits for the answer to each row.
    """
    pipe, is_small = source.stream, source.is_small_file
    while (
        is_small
        or batches.columns.kept.names
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


def _read_segment(
    live: LiveModel, segment: SourceSegment, described: set[Hashable]
) -> Generator[Batch, None, None]:
    """Yield the rows of a segment in batches, and a batch without rows while no row is ready."""
    source, detects_redelivered = segment.source, live.read_options.position
    request = replace(
        live.build_request(),
        position=segment.position,
        redeliveries=(
            live.state.redeliveries.copy()
            if detects_redelivered and not segment.is_repeated
            else None
        ),
        described=described,
        leaves_incomplete_record=not (segment.is_stream or segment.is_repeated),
    )
    batches = source.batches(request)
    if live.read_options.has_join:
        batches.before_read = partial(_forget_names_if_due, live, segment, batches)
    with closing(read_ahead(batches, source)) as ahead:
        for batch in ahead:
            if batch is None:
                batch = build_empty_batch(source.name, segment.position.rows + 1, live.schema)
            yield batch


def _forget_names_if_due(live: LiveModel, segment: SourceSegment, batches: BatchReader) -> None:
    """Forget names that neither the model nor any pending sample uses, at fixed row numbers.

    A resumed run forgets the names at the same rows.
    """
    rows, pending = segment.position.rows, live.state.pending
    lifetime = max(_MIN_NAME_LIFETIME, live.read_options.max_pending)
    if rows and rows % lifetime == 0:
        with live.lock:
            pending.remove_unlearned_names()
            used = map(str, [*live.model.features_, *pending.feature_names()])
            names, schema = list(dict.fromkeys(used)), batches.columns.schema
            batches.change_request(replace(batches.request, names=names, schema=schema))
    batches.max_rows = min(MAX_BATCH_ROWS, lifetime - rows % lifetime)


def _count_rows_to_learn(
    batch: Batch, learner: Learner, segment: SourceSegment, row_count: RowCount
) -> int:
    """Return how many rows of a batch to learn at once: up to where a report is due, or a limit."""
    sizes = [len(batch), find_next_report(row_count.read) - row_count.read]
    if row_count.end is not None:
        sizes.append(row_count.end - row_count.read)
    if row_count.every is not None:
        sizes.append(row_count.every - learner.live.progress.rows % row_count.every)
    if segment.end is not None:
        sizes.append(segment.end - segment.position.rows)
    if learner.options.with_all_scores:
        sizes.append(compute_max_scored_rows(learner.live))
    return min(sizes)


def find_next_report(n_rows: int) -> int:
    """Return the number of rows at which the next report is due: 1,000, 2,000, 4,000, ..."""
    return _FIRST_REPORT << (n_rows // _FIRST_REPORT).bit_length()


def compute_max_scored_rows(live: LiveModel) -> int:
    """Return the number of rows whose scores of all labels are computed at once."""
    return max(1, _MAX_BATCH_SCORES // max(1, len(live.model.classes_)))
