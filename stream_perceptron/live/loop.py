"""The only loop: it learns or predicts rows, and yields after every step."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import Source
from stream_perceptron.errors import Reason
from stream_perceptron.live.files import GivenFile, SourceSegment, identify_files
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.pending import PendingSamples
from stream_perceptron.live.reload import Reload, read_with_reload
from stream_perceptron.live.segments import (
    Learner,
    RowCount,
    compute_max_scored_rows,
    find_next_report,
    plan_segments,
    read_ahead,
    should_stop,
    slice_batches,
)
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.model.results import TrainOptions
from stream_perceptron.model.rows import REJECTED


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
        files = identify_files(live.history.files, sources, passes)
    live.history.require_no_open_round(files)
    if stop and live.history.has_stopped_below_epsilon(files, live.model.epsilon):
        return
    learner = Learner(live, TrainOptions(stop, with_scores, with_all_scores))
    yield from learn_files(learner, files, passes, limit, skip_rejected, every)


def predict(
    live: LiveModel,
    source: Source,
    reload: Reload | None = None,
    *,
    read_options: ReadOptions | None = None,
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
        with its read options, and raises SourceError if not; the source must fit the model that
        is returned.
    read_options
        The read options to use instead of the model's.
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
    options = read_options or live.read_options
    pending = PendingSamples() if joins_labels and options.has_join else None
    request = replace(
        live.build_request(to_learn=False, read_options=options), keeps_zeros=keeps_zeros
    )
    if reload is None:
        batches = _prefetch(live, source, request)
    else:
        batches = read_with_reload(live, source, request, reload)
    with closing(batches):
        for model, batch in batches:
            # Without a column of IDs, all rows have their own labels.
            if pending is not None and batch.passthrough:
                joined = pending.join(batch, options)
                pending.commit(joined, None)
                batch = replace(joined, joins=None)
            elif options.has_join:
                empty = np.flatnonzero((batch.lengths == 0) & (batch.status < REJECTED)).tolist()
                batch = batch.reject_rows(dict.fromkeys(empty, Reason("it has no features")))
            n_rows = compute_max_scored_rows(model) if with_all_scores else max(1, len(batch))
            for start in range(0, len(batch), n_rows):
                if should_stop(source):
                    return
                part = batch[start : start + n_rows]
                usable = part if skip_rejected else part.truncate_at_rejected()
                result = model.predict(usable, with_all_scores, options)
                yield result
                _require_success(result, part, skip_rejected)
    source.close_if_many_files()


def _prefetch(
    live: LiveModel, source: Source, request: ReadRequest
) -> Generator[tuple[LiveModel, Batch], None, None]:
    """Yield the batches of a source, each with this model."""
    with closing(read_ahead(source.batches(request), source)) as batches:
        for batch in batches:
            if batch is not None:
                yield live, batch


def learn_files(
    learner: Learner,
    files: Sequence[GivenFile],
    passes: int | None = 1,
    limit: int | None = None,
    skip_rejected: bool = False,
    every: int | None = None,
) -> Generator[StepResult, None, None]:
    """Test and train on the rows of files; the parameters are those of `learn`."""
    count = RowCount(sum(file.progress.n_rows_read for file in files), limit, every)
    if limit is not None and any(file.source.is_stream for file in files):
        count.end = limit + count.read
    segments = plan_segments(learner.live, files, passes)
    yield from learn_segments(learner, segments, count, skip_rejected)


def learn_segments(
    learner: Learner,
    segments: Iterable[SourceSegment],
    row_count: RowCount,
    skip_rejected: bool = False,
) -> Generator[StepResult, None, None]:
    """Test and train on the rows of segments; yield a result after every step.

    While no row is ready, results without rows are yielded. When an error is raised, all rows
    before the failing one have been learned. After an interrupt, only rows already read from pipes
    are learned.
    """
    described: set[Hashable] = set()
    for segment in segments:
        if row_count.has_reached_limit:
            return
        with closing(slice_batches(learner, segment, row_count, described)) as parts:
            for part in parts:
                usable = part if skip_rejected else part.truncate_at_rejected()
                n_before, next_report = segment.n_rows_read, find_next_report(row_count.read)
                result = learner.step(usable, segment)
                row_count.read += segment.n_rows_read - n_before
                result.is_report_due = row_count.read >= next_report
                yield result
                if result.stopped:
                    return
                _require_success(result, part, skip_rejected)


def _require_success(result: StepResult, batch: Batch, skip_rejected: bool) -> None:
    """Raise the error that ended the step over a batch, or that of its first rejected row."""
    if result.failure is not None:
        raise result.failure
    if not skip_rejected:
        batch.require_no_rejections()
