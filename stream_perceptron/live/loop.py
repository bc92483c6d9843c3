"""The only loop: it reads rows, slices them, learns or predicts them and moves the position."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from stream_perceptron.data.batch import MAX_BATCH_ROWS, Batch, build_empty_batch
from stream_perceptron.data.input.positions import FilePosition
from stream_perceptron.data.input.prefetch import prefetch
from stream_perceptron.data.naming import quote_names
from stream_perceptron.data.opening import infer_from_sources
from stream_perceptron.data.reasons import LABEL_DOES_NOT_FIT
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.source import Batches, Source
from stream_perceptron.errors import ModelSizeError, Reason, SourceError
from stream_perceptron.live.given_files import GivenFile, identify_files
from stream_perceptron.live.history import ROWS, Entry, try_encode_lr
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.pending import PendingSamples
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.model.results import TrainOptions
from stream_perceptron.model.rows import REJECTED

_FIRST_REPORT = 1000  # rows before the first progress report
# A pipe with this many bytes ready is prefetched; most pipes hold no more.
_PREFETCH_BYTES = 2**16
_MAX_BATCH_SCORES = 2**18  # scores computed at once
_MIN_NAME_LIFETIME = 1000  # rows after which the feature names of evicted samples are forgotten
_RELOAD_ROWS = 100  # rows predicted between two checks for another model


# Returns the model for the next rows; its argument checks whether a model fits the source.
Reload = Callable[[Callable[[LiveModel], None]], LiveModel]


def learn(
    live: LiveModel,
    sources: Sequence[Source],
    files: Sequence[GivenFile] | None = None,
    *,
    passes: int | None = 1,
    limit: int | None = None,
    stop: bool = False,
    skip_rejected: bool = False,
    with_scores: bool = False,
    with_all_scores: bool = False,
    every: int | None = None,
) -> Generator[StepResult, None, None]:
    """Test and train a model on the rows of some sources; yield after every step.

    The next file to be read is always the one with the fewest complete passes.

    The model stays unchanged until the first row is learned. At each yield, all parts of the
    model are consistent and may be saved. While no row is ready, results without rows are
    yielded. If a source is interrupted, the run ends as if there were no more rows.

    Parameters
    ----------
    live
        The model.
    sources
        The sources to read, in order.
    files
        The sources as returned by `identify_files`, if they have already been identified.
    passes
        The number of times to read each source; None for no limit.
    limit
        The maximum number of rows to read from these sources, including those read in earlier
        runs; for a pipe, only rows of this run count. None for no limit.
    stop
        Whether the first sample with an error below the model's epsilon ends the run.
    skip_rejected
        Whether rows that cannot be used are left out, instead of ending the run.
    with_scores, with_all_scores
        Whether results include the score of each prediction or of each label, respectively.
    every
        Also yield at multiples of this number of rows that the model has read.

    Raises
    ------
    SourceError
        If a source is damaged or does not fit, or a file has changed since some of its rows
        were learned, or has grown and several passes are requested.
    CheckpointError
        If a run that learns some of these files in shards is unfinished.
    SampleError, DivergedError
        If a row cannot be used, or a weight or an error would become infinite or NaN. The model
        has learned all rows before that row.

    Examples
    --------
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> sources = [open_source(str(sample_path()))]
    >>> live = LiveModel.start(sources, lr=0.1, seed=0)
    >>> for result in learn(live, sources, limit=1000):
    ...     pass
    >>> live.progress.samples
    1000

    """
    if live.read_options.has_join and (stop or passes != 1):
        raise ValueError("late labels need a single pass, without stop=True")
    if files is None:
        files = identify_files(live.history.positions, sources, passes)
    live.history.require_no_open_round(files)
    with live.lock:
        live.history.record_files(files)
    if stop and live.history.has_stopped(files, live.model.epsilon):
        return
    learner = Learner(live, TrainOptions(stop, with_scores, with_all_scores))
    yield from learn_files(learner, files, passes, limit, skip_rejected, every)


def predict(
    live: LiveModel,
    source: Source,
    reload: Reload | None = None,
    *,
    joins_labels: bool = False,
    keeps_zeros: bool = False,
    skip_rejected: bool = False,
    with_all_scores: bool = False,
) -> Generator[StepResult, None, None]:
    """Predict the rows of a source without learning; yield after every step.

    Parameters
    ----------
    live
        The model.
    source
        The source to read.
    reload
        Called before every 100 rows, or fewer if fewer have arrived; returns the model that
        predicts them. Its argument is a function that checks whether the source fits a model
        and raises SourceError if not; the source must fit the model that is returned.
    joins_labels
        Whether late labels are joined to their samples, as they are in training. If not, label
        rows are rejected.
    keeps_zeros
        Whether features that are zero are among the values of a row.
    skip_rejected
        Whether rows that cannot be used are left out, instead of raising an error.
    with_all_scores
        Whether results include the score of each label.

    Raises
    ------
    SourceError
        If the source is damaged or does not fit.
    SampleError
        If a row cannot be used; the rows before it have been predicted.

    Examples
    --------
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> source = open_source(str(sample_path()))
    >>> live = LiveModel.start([source], lr=0.1, seed=0)
    >>> results = list(learn(live, [source]))
    >>> next(predict(live, source)).predictions[:5]
    [5, 0, 4, 1, 9]

    """
    pending = PendingSamples() if joins_labels and live.read_options.has_join else None
    request = replace(_request_predictions(live, source), keeps_zeros=keeps_zeros)
    if reload is None:
        batches = _prefetch(live, source, request)
    else:
        batches = _read_with_reload(live, source, request, reload)
    with closing(batches):
        for model, batch in batches:
            # Without a column of IDs, all rows have their own labels.
            if pending is not None and batch.passthrough:
                joined = pending.join(batch, model.read_options)
                pending.commit(joined, None)
                batch = replace(joined, joins=None)
            elif model.read_options.has_join:
                empty = np.flatnonzero((batch.lengths == 0) & (batch.status < REJECTED)).tolist()
                batch = batch.reject_rows(dict.fromkeys(empty, Reason("it has no features")))
            n_rows = _compute_max_scored_rows(model) if with_all_scores else max(1, len(batch))
            for start in range(0, len(batch), n_rows):
                if should_stop(source):
                    return
                part = batch[start : start + n_rows]
                usable = part if skip_rejected else part.truncate_at_rejected()
                result = model.predict(usable, with_all_scores)
                yield result
                _require_success(result, part, skip_rejected)
    source.release()


def _request_predictions(live: LiveModel, source: Source) -> ReadRequest:
    """Return a request for the rows of a source, to predict them."""
    request = live.build_request(to_learn=False)
    if not live.is_trained_in_python:
        return request
    # A model trained in Python has no read options of its own.
    return replace(
        request, read_options=infer_from_sources([source], request, is_new=True).read_options
    )


def _prefetch(
    live: LiveModel, source: Source, request: ReadRequest
) -> Generator[tuple[LiveModel, Batch], None, None]:
    """Yield the batches of a source, each with this model."""
    with closing(read_ahead(source.batches(request), source)) as batches:
        for batch in batches:
            if batch is not None:
                yield live, batch


def _read_with_reload(
    live: LiveModel, source: Source, request: ReadRequest, reload: Reload
) -> Generator[tuple[LiveModel, Batch], None, None]:
    """Yield the batches of a source, each with the model that `reload` returns for it."""
    batches = source.batches(request)
    reloader = _Reloader(live, source, batches, reload)
    batches.max_rows, batches.before_read = _RELOAD_ROWS, reloader.reload_model
    for batch in batches:
        if should_stop(source):
            return
        if batch is not None:
            yield reloader.live, batch


class _Reloader:
    """The model for the next rows of a source, which may be replaced before they are read."""

    def __init__(self, live: LiveModel, source: Source, batches: Batches, reload: Reload) -> None:
        self.live = live
        self._source, self._batches, self._reload = source, batches, reload

    def reload_model(self) -> None:
        """Replace the model if there is another one."""
        self.live = self._reload(self._reopen)

    def _reopen(self, live: LiveModel) -> None:
        """Read the next rows for another model, which must use no further columns."""
        added = _find_used_columns(live) - _find_used_columns(self.live)
        if added:
            names = quote_names(sorted(added))
            raise SourceError(
                f"{self._source.name}: the new model uses further columns ({names}): run the "
                "command again"
            )
        self._batches.change_request(_request_predictions(live, self._source))


def _find_used_columns(live: LiveModel) -> set[str]:
    """Return the columns of a table that a model predicts from, and its label column."""
    schema = live.schema
    named = {*schema.columns, *schema.further_columns, *filter(None, [schema.label])}
    return named - live.read_options.roles


@dataclass(eq=False)
class Segment:
    """Consecutive rows of a file or pipe to be learned; the loop moves the position."""

    file: GivenFile
    position: FilePosition  # of the next row
    end: int | None = None  # the number of rows before the segment's end; None for the source's end
    is_repeated: bool = False  # whether the rows were learned before
    # Whether redelivered rows are left uncounted, as in a pipe or a file that stands in for one.
    is_stream: bool = False
    # Whether all rows of the segment were read without an interrupt.
    is_complete: bool = False

    @property
    def is_at_end(self) -> bool:
        """Whether the last row of the segment has been read."""
        return self.position.rows == self.end


@dataclass(eq=False)
class RowCount:
    """How many rows have been read, and where a run yields or ends besides the ends of batches."""

    read: int = 0  # in earlier runs, too
    end: int | None = None  # the number of rows read at which the run ends
    every: int | None = None  # the run yields at multiples of this number of rows

    @property
    def is_at_end(self) -> bool:
        """Whether as many rows have been read as may be."""
        return self.end is not None and self.read >= self.end


class Learner:
    """What the loop trains: a live model."""

    def __init__(self, live: LiveModel, options: TrainOptions | None = None) -> None:
        self._live, self.options = live, options or TrainOptions()
        # Held while a step changes the model and its position.
        self.lock: AbstractContextManager[object] = live.lock

    @property
    def live(self) -> LiveModel:
        """The model that the next rows are read for."""
        return self._live

    def step(self, batch: Batch, is_repeated: bool) -> StepResult:
        """Test and train on a batch; `is_repeated` says whether its rows were learned before."""
        return self.live.step(batch, self.options, is_repeated)


def learn_files(
    learner: Learner,
    files: Sequence[GivenFile],
    passes: int | None = 1,
    limit: int | None = None,
    skip_rejected: bool = False,
    every: int | None = None,
) -> Generator[StepResult, None, None]:
    """Test and train on the rows of files; the parameters are those of `learn`."""
    count = RowCount(sum(file.n_read for file in files), limit, every)
    if limit is not None and any(file.source.is_stream for file in files):
        count.end = limit + count.read
    segments = _plan_segments(learner.live, files, passes)
    yield from learn_segments(learner, segments, count, skip_rejected)


def _plan_segments(
    live: LiveModel, files: Sequence[GivenFile], passes: int | None
) -> Generator[Segment, None, None]:
    """Yield the segments of a run in order, each after the one before has been learned.

    Raises
    ------
    SourceError
        If a file has changed since its rows were learned.

    """
    is_interrupted = False
    n_complete = min((file.passes for file in files), default=0)
    while passes is None or n_complete < passes:
        for file in [file for file in files if file.passes == n_complete]:
            source, position = file.source, file.position
            is_repeated = n_complete > 0 and position.rows > 0
            segment = (
                _build_repeated_segment(file)
                if is_repeated
                else Segment(file, position, is_stream=source.is_stream)
            )
            if not segment.is_at_end:
                yield segment
                if source.is_stream:
                    is_interrupted |= not segment.is_complete  # other pipes may have been read
                elif not segment.is_complete:
                    return
            if is_repeated:
                _require_unchanged(file, segment.position)
            file.passes = n_complete + 1
            if file.position.rows and not source.is_stream:
                n_unread_bytes = position.left if is_repeated else source.n_unread_bytes
                with live.lock:
                    live.history.finish(file, n_unread_bytes)
        if is_interrupted or not any(file.position.rows for file in files):
            return  # unlimited passes over empty files would never end
        n_complete += 1


def _build_repeated_segment(file: GivenFile) -> Segment:
    """Return the rest of the current pass over rows of a file that were learned before."""
    position = file.position
    begin = FilePosition(position.name, position.start_digest, position.end_digest)
    if position.again is not None:
        begin = replace(position.again, name=position.name)
    return Segment(file, begin, position.rows, is_repeated=True)


def _require_unchanged(file: GivenFile, reached: FilePosition) -> None:
    """Check that a further pass over a file has reached the position of the first one."""
    if reached.is_same_place(file.position):
        return
    content = file.source.content
    # The last row may have gained a newline.
    if not (content.matches(file.position) and content.ends_line()):
        raise SourceError(
            f"{file.source.name}: the file has changed since the first pass; "
            "start over with --overwrite"
        )


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


def learn_segments(
    learner: Learner,
    segments: Iterable[Segment],
    count: RowCount,
    skip_rejected: bool = False,
) -> Generator[StepResult, None, None]:
    """Test and train on the rows of segments; yield a result after every step.

    While no row is ready, results without rows are yielded. When an error is raised, all rows
    before the failing one have been learned. After an interrupt, only rows already read from pipes
    are learned.
    """
    described: set[Hashable] = set()
    for segment in segments:
        if count.is_at_end:
            return
        source = segment.file.source
        with closing(_read_segment(learner.live, segment, described)) as batches:
            for batch in batches:
                has_rows, rest, fits = len(batch) > 0, batch, True
                if has_rows and count.is_at_end:
                    return
                while True:
                    if should_stop(source):
                        return
                    live = learner.live
                    n = _count_rows_to_learn(rest, learner, segment, count) if fits else 1
                    part = rest[:n]
                    if live.read_options.has_join:
                        part = live.pending.join(part, live.read_options)
                    if not fits:  # its pending sample is dropped
                        part = part.reject_rows({0: LABEL_DOES_NOT_FIT})
                    result = _step(learner, segment, count, part, skip_rejected)
                    rest = rest[len(result.batch) :]
                    # Without joins, the reader rejects labels that do not fit.
                    fits = not (skip_rejected and isinstance(result.failure, ModelSizeError))
                    if not fits:
                        result.failure = None
                    yield result
                    if result.stopped:
                        return
                    _require_success(result, part, skip_rejected)
                    if not len(rest) or count.is_at_end or segment.is_at_end:
                        break
                # Do not wait for a pipe; read a file on, since it may be complete.
                if has_rows and count.is_at_end and (source.is_stream or len(rest)):
                    return
                if segment.is_at_end:
                    break
        segment.is_complete = not source.interrupt.is_set
        source.release()


def _read_segment(
    live: LiveModel, segment: Segment, described: set[Hashable]
) -> Generator[Batch, None, None]:
    """Yield the rows of a segment in batches, and a batch without rows while no row is ready."""
    source, detects_redelivered = segment.file.source, live.read_options.position
    request = replace(
        live.build_request(),
        position=segment.position,
        redeliveries=(
            live.redeliveries.copy() if detects_redelivered and not segment.is_repeated else None
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


def _forget_names_if_due(live: LiveModel, segment: Segment, batches: Batches) -> None:
    """Forget names that neither the model nor any pending sample uses, at fixed row numbers.

    A resumed run forgets the names at the same rows.
    """
    rows = segment.position.rows
    lifetime = max(_MIN_NAME_LIFETIME, live.read_options.max_pending)
    if rows and rows % lifetime == 0:
        with live.lock:
            live.pending.forget_names()
            used = map(str, [*live.model.features_, *live.pending.feature_names()])
            names, schema = list(dict.fromkeys(used)), batches.columns.schema
            batches.change_request(replace(batches.request, names=names, schema=schema))
    batches.max_rows = min(MAX_BATCH_ROWS, lifetime - rows % lifetime)


def _count_rows_to_learn(batch: Batch, learner: Learner, segment: Segment, count: RowCount) -> int:
    """Return how many rows of a batch to learn at once: up to where a report is due, or a limit."""
    sizes = [len(batch), find_next_report(count.read) - count.read]
    if count.end is not None:
        sizes.append(count.end - count.read)
    if count.every is not None:
        sizes.append(count.every - learner.live.progress.rows % count.every)
    if segment.end is not None:
        sizes.append(segment.end - segment.position.rows)
    if learner.options.with_all_scores:
        sizes.append(_compute_max_scored_rows(learner.live))
    return min(sizes)


def _step(
    learner: Learner, segment: Segment, count: RowCount, batch: Batch, skip_rejected: bool
) -> StepResult:
    """Learn the rows of a batch up to the first rejected one, or all, and move the position."""
    live = learner.live
    with learner.lock:
        usable = batch if skip_rejected else batch.truncate_at_rejected()
        result = learner.step(usable, segment.is_repeated)
        next_report = find_next_report(count.read)
        count.read += _record_learned_rows(live, segment, result.batch)
        result.is_report_due = count.read >= next_report
        if result.stopped:
            live.history.stopped_below = float(live.model.epsilon)
        return result


def _require_success(result: StepResult, batch: Batch, skip_rejected: bool) -> None:
    """Raise the error that ended the step over a batch, or that of its first rejected row."""
    if result.failure is not None:
        raise result.failure
    if not skip_rejected:
        batch.require_no_rejections()


def _compute_max_scored_rows(live: LiveModel) -> int:
    """Return the number of rows whose scores of all labels are computed at once."""
    return max(1, _MAX_BATCH_SCORES // max(1, len(live.model.classes_)))


def _record_learned_rows(live: LiveModel, segment: Segment, batch: Batch) -> int:
    """Move the position of a segment past learned rows, record them, and return their number."""
    if not len(batch):
        return 0
    live.is_consistent = False
    history, before = live.history, segment.position
    after = segment.position = batch.advance_position(before, segment.is_stream)
    n_rows = after.rows - before.rows
    for offset in batch.offsets:
        live.redeliveries.update(offset)
    if n_rows or not segment.is_stream:
        entry = Entry(
            (after,), ROWS, before.rows, after.rows, before.offset, len(batch.rejected),
            try_encode_lr(live.model.lr_), float(live.model.epsilon), live.read_options.keep,
            segment.is_repeated,
        )  # fmt: skip
        history.move(segment.file, after, segment.is_repeated)
        history.add(entry, before)
    history.stopped_below = None
    live.is_consistent = True
    return n_rows
