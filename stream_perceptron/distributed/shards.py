"""Split the rows of Parquet files into shards, and learn the rows of a shard in a round."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.batch import Batch, Rejection
from stream_perceptron.data.notices import Notice
from stream_perceptron.data.position import FilePosition
from stream_perceptron.data.source import Source, is_any_interrupted
from stream_perceptron.distributed.averaging import average_live
from stream_perceptron.errors import DivergedError, SampleError, SourceError
from stream_perceptron.live.history import Run, Shards
from stream_perceptron.live.loop import Limits, drive, learn_segments
from stream_perceptron.live.model import LiveModel
from stream_perceptron.model.results import TrainOptions

if TYPE_CHECKING:
    from river.optim.base import Scheduler


@dataclass(frozen=True)
class RowRange:
    """Consecutive rows of one row group."""

    file: int  # index of the file
    group: int  # index of the row group in the file
    start: int  # index of the first row in the group
    end: int  # one past the index of the last row
    first: int  # number of the range's first row, counted from 1 in the file


def require_parquet(sources: Sequence[Source]) -> list[ParquetSource]:
    """Return the sources after checking that they are Parquet files, which can be split."""
    files = []
    for source in sources:
        if not isinstance(source, ParquetSource) or source.is_stream:
            raise SourceError(f"{source.name}: only Parquet files can be split into shards")
        files.append(source)
    return files


def count_rounds(groups: Sequence[Sequence[int]], shards: Shards) -> int:
    """Return the number of rounds in a pass.

    Examples
    --------
    >>> count_rounds([[10, 10], [5]], Shards(n=2, rows=5))
    3

    """
    longest = -(-sum(map(sum, groups)) // shards.n)
    return -(-longest // shards.rows)


def assign_rows(
    groups: Sequence[Sequence[int]], shards: Shards, is_first_pass: bool = True
) -> list[list[RowRange]]:
    """Return the rows that each shard learns in the next round.

    Each shard has a contiguous range of all rows. The sizes differ by at most one row, so all
    shards have work until the end, however many row groups there are. In the first pass, shards
    skip the rows that were learned before the first round.

    Returns
    -------
    For each shard, its rows as ranges within row groups; an empty list if it has no rows left.

    Examples
    --------
    >>> for row_ranges in assign_rows([[10, 10], [5]], Shards(n=2, rows=5, rounds=1)):
    ...     print([(rows.file, rows.group, rows.start, rows.end) for rows in row_ranges])
    [(0, 0, 5, 10)]
    [(0, 1, 7, 10), (1, 0, 0, 2)]

    """
    total = sum(map(sum, groups))
    n_learned = shards.first_rows if is_first_pass else 0  # before the first round
    ranges_by_shard = []
    for shard in range(shards.n):
        begin, stop = shard * total // shards.n, (shard + 1) * total // shards.n
        start = min(begin + shards.rounds * shards.rows, stop)
        end = min(start + shards.rows, stop)
        ranges_by_shard.append(list(_split_rows(groups, max(start, n_learned), end)))
    return ranges_by_shard


def plan_round(
    groups: Sequence[Sequence[int]], shards: Shards, keep_lr: bool, is_first_pass: bool
) -> tuple[list[list[RowRange]], float]:
    """Return the rows of each shard that has rows left, and the factor for the learning rate."""
    ranges_by_shard = [
        row_ranges for row_ranges in assign_rows(groups, shards, is_first_pass) if row_ranges
    ]
    return ranges_by_shard, 1.0 if keep_lr else float(len(ranges_by_shard))


def _split_rows(groups: Sequence[Sequence[int]], start: int, end: int) -> Iterator[RowRange]:
    """Split the rows [start, end), counted across all files, at the ends of row groups."""
    begin = 0  # the first row of a row group, counted across all files
    for file, sizes in enumerate(groups):
        begin_of_file = begin
        for group, size in enumerate(sizes):
            low, high = max(start, begin), min(end, begin + size)
            if low < high:
                yield RowRange(file, group, low - begin, high - begin, low - begin_of_file + 1)
            begin += size


@dataclass
class Outcome:
    """The result of learning a shard's rows in one round."""

    live: LiveModel  # the trained model
    # The location of each rejected row and the reason for the rejection.
    rejected: list[Rejection] = field(default_factory=list)
    # Messages for the user about the first file.
    notices: list[Notice] = field(default_factory=list)
    error: ValueError | None = None  # the error that ended the training


def learn_first_sample(
    live: LiveModel, sources: Sequence[Source], run: Run, skip_rejected: bool = False
) -> Outcome | None:
    """Test and train a copy of a new live model on all rows up to the first labeled row.

    The initial weights for that row's label and features are drawn here, so that all shards begin
    with the same weights.

    Returns
    -------
    The outcome, or None if a source was interrupted.

    Raises
    ------
    SampleError
        If a row cannot be used, unless such rows are skipped.

    """
    outcome = Outcome(copy.deepcopy(live))
    learner, first = outcome.live, Run(run.files, given=list(run.given))
    segments = learner.plan_segments(first, sources, 1)
    limits = Limits(every=1)
    with closing(
        learn_segments(learner, first, segments, TrainOptions(), limits, skip_rejected)
    ) as results:
        for result in results:
            outcome.rejected += [each._replace(read_content=None) for each in result.rejected]
            outcome.notices += result.notices
            if learner.model.n_seen:
                break
    return None if is_any_interrupted(sources) else outcome


def learn_row_ranges(
    live: LiveModel,
    paths: Sequence[str],
    row_ranges: Iterable[RowRange],
    factor: float = 1.0,
    skip_rejected: bool = False,
    is_repeated: bool = False,
) -> Outcome:
    """Test and train a copy of a live model on ranges of rows.

    The result depends only on the arguments and the files, and nothing is modified, so a call may
    be repeated on any machine.

    Examples
    --------
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> source = ParquetSource(str(sample_path()))
    >>> live = LiveModel.start([source], seed=0)
    >>> for row_ranges in assign_rows([source.groups], Shards(n=2, rows=1000)):
    ...     outcome = learn_row_ranges(live, [source.name], row_ranges)
    ...     print(outcome.live.progress.samples, live.progress.samples)
    1000 0
    1000 0

    """
    outcome = Outcome(copy.deepcopy(live))
    learner = outcome.live
    step = partial(learner.step, is_repeated=is_repeated)
    lr, learner.model.lr = learner.model.lr, _scale_lr(learner.model.lr, factor)
    try:
        for path, ranges_of_file in groupby(
            row_ranges, key=lambda row_range: paths[row_range.file]
        ):
            source = ParquetSource(path)
            for row_range in ranges_of_file:
                batches = _read_row_range(row_range, source, learner)
                for result in drive(batches, step, skip_rejected):
                    outcome.rejected += [
                        each._replace(read_content=None) for each in result.rejected
                    ]
                    outcome.notices = outcome.notices or result.notices
    except (SourceError, SampleError, DivergedError) as error:
        outcome.error = error
    learner.model.lr = lr
    return outcome


def _read_row_range(
    row_range: RowRange, source: ParquetSource, learner: LiveModel
) -> Iterator[Batch]:
    """Yield the rows of a range as batches."""
    position = FilePosition(source.path, rows=row_range.first - 1)
    rows_left = row_range.end - row_range.start
    for batch in source.batches(replace(learner.request(), position=position)):
        assert batch is not None
        yield batch[:rows_left]
        rows_left -= len(batch)
        if rows_left <= 0:
            return


def average_outcomes(live: LiveModel, outcomes: Sequence[Outcome]) -> LiveModel:
    """Average the shards' models after a round, or raise the first failed shard's error."""
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return average_live(live, [outcome.live for outcome in outcomes])


def _scale_lr(lr: float | Scheduler, factor: float) -> Any:
    """Multiply a learning rate, or a schedule of learning rates, by a factor."""
    if isinstance(lr, float | int):
        return min(lr * factor, sys.float_info.max)  # a learning rate must be finite
    return SimpleNamespace(get=lambda t: float(lr.get(t)) * factor)
