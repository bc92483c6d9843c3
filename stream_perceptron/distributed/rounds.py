"""Rounds: shards of Parquet files learn rows at the same time, before their models are averaged."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.batch import Redeliveries, Rejection
from stream_perceptron.data.input.positions import FilePosition
from stream_perceptron.data.notices import Notice
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.source import Source
from stream_perceptron.distributed.averaging import average_live
from stream_perceptron.errors import DivergedError, SampleError, SourceError
from stream_perceptron.live.files import FileProgress, SourceSegment
from stream_perceptron.live.history import Shards
from stream_perceptron.live.loop import learn, learn_segments
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.segments import Learner, RowCount
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.model.rates import FallingRate, LearningRate


class RowRange(NamedTuple):
    """Consecutive rows of a file."""

    begin: FilePosition  # before the first row
    end: int  # the number of rows before the end


def require_parquet(sources: Sequence[Source]) -> list[ParquetSource]:
    """Return the sources after checking that they are Parquet files, which can be split."""
    files = []
    for source in sources:
        if not isinstance(source, ParquetSource) or source.is_stream:
            raise SourceError(f"{source.name}: only Parquet files can be split into shards")
        files.append(source)
    return files


def count_rounds(files: Sequence[FilePosition], shards: Shards) -> int:
    """Return the number of rounds in a pass over files, given the positions of their ends.

    Examples
    --------
    >>> count_rounds([FilePosition("a", rows=20), FilePosition("b", rows=5)], Shards(n=2, rows=5))
    3

    """
    longest = -(-sum(file.rows for file in files) // shards.n)
    return -(-longest // shards.rows)


def plan_round(files: Sequence[FilePosition], shards: Shards, number: int) -> list[list[RowRange]]:
    """Return the rows that each shard learns in a round.

    Each shard has a contiguous range of all rows. The sizes differ by at most one row, so all
    shards have work until the end. In the first pass, shards skip the rows that were learned
    before the first round.

    Parameters
    ----------
    files
        The positions of the ends of the files.
    shards
        The number of shards, and of rows of each shard in a round.
    number
        The number of earlier rounds, over all passes.

    Returns
    -------
    For each shard that has rows left, its rows as ranges of files.

    Examples
    --------
    >>> files = [FilePosition("a", rows=20), FilePosition("b", rows=5)]
    >>> for row_ranges in plan_round(files, Shards(n=2, rows=10), number=1):
    ...     print([(begin.name, begin.rows, end) for begin, end in row_ranges])
    [('a', 10, 12)]
    [('b', 2, 5)]

    """
    total, n_rounds = sum(file.rows for file in files), count_rounds(files, shards)
    n_learned = shards.first_rows if number < n_rounds else 0  # before the first round
    ranges_by_shard = []
    for shard in range(shards.n):
        begin, stop = shard * total // shards.n, (shard + 1) * total // shards.n
        start = begin + number % n_rounds * shards.rows
        end = min(start + shards.rows, stop)
        if row_ranges := list(_split_rows(files, max(start, n_learned), end)):
            ranges_by_shard.append(row_ranges)
    return ranges_by_shard


def _split_rows(files: Sequence[FilePosition], start: int, end: int) -> Iterator[RowRange]:
    """Split the rows [start, end), counted across all files, at the ends of files."""
    for file in files:
        low, high = max(start, 0), min(end, file.rows)
        if low < high:
            yield RowRange(replace(file, offset=low, rows=low), high)
        start, end = start - file.rows, end - file.rows


@dataclass
class ShardResult:
    """The result of learning a shard's rows in one round."""

    live: LiveModel  # the trained model
    rejected: list[Rejection] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)  # about the first file
    error: ValueError | None = None  # the error that ended the training
    seconds: float = 0.0  # the duration of the training

    def add(self, result: StepResult) -> None:
        """Record the result of a step."""
        self.rejected += [each._replace(line=None) for each in result.rejected]
        self.notices = self.notices or result.notices


def learn_first_sample(
    live: LiveModel, sources: Sequence[Source], skip_rejected: bool = False
) -> ShardResult:
    """Test and train a copy of a new live model on all rows up to the first labeled row.

    The initial weights for that row's label and features are drawn here, so that all shards begin
    with the same weights.

    Raises
    ------
    SampleError
        If a row cannot be used, unless such rows are skipped.

    """
    result = ShardResult(copy.deepcopy(live))
    with closing(learn(result.live, sources, skip_rejected=skip_rejected, every=1)) as steps:
        for step in steps:
            result.add(step)
            if result.live.model.n_seen:
                break
    return result


def learn_row_ranges(
    live: LiveModel,
    row_ranges: Iterable[RowRange],
    lr_factor: int = 1,
    skip_rejected: bool = False,
    is_repeated: bool = False,
) -> ShardResult:
    """Test and train a copy of a live model on ranges of rows.

    The result depends only on the arguments and the files, and nothing is modified, so a call may
    be repeated on any machine.

    Examples
    --------
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> live = LiveModel.start([open_source(str(sample_path()))], seed=0)
    >>> files = [FilePosition(str(sample_path()), rows=5000)]
    >>> for row_ranges in plan_round(files, Shards(n=2, rows=1000), number=0):
    ...     result = learn_row_ranges(live, row_ranges)
    ...     print(result.live.progress.samples, live.progress.samples)
    1000 0
    1000 0

    """
    copied = copy.deepcopy(live)
    # Shards do not learn in the order of offsets, so only rows redelivered in a range are detected.
    state = replace(copied.state, redeliveries=Redeliveries())
    result = ShardResult(LiveModel(copied.model, state))
    model, lr = result.live.model, live.model.lr_
    model.lr_ = scale_lr(lr, lr_factor)
    segments = (
        SourceSegment(
            open_source(begin.name, "parquet"),
            FileProgress(begin, further_pass=begin),
            end,
            is_repeated,
        )
        for begin, end in row_ranges
    )
    start = time.perf_counter()
    try:
        for step in learn_segments(Learner(result.live), segments, RowCount(), skip_rejected):
            result.add(step)
    except (SourceError, SampleError, DivergedError) as error:
        result.error = error
    model.lr_, result.seconds = lr, time.perf_counter() - start
    return result


def average_shard_results(live: LiveModel, results: Sequence[ShardResult]) -> LiveModel:
    """Average the shards' models after a round, or raise the first failed shard's error."""
    for result in results:
        if result.error is not None:
            raise result.error
    return average_live(live, [result.live for result in results]) if results else live


def scale_lr(lr: LearningRate, factor: int) -> Any:
    """Multiply a learning rate by the number of shards; if it falls, only its end."""
    if isinstance(lr, FallingRate):
        # Above the start, digits overshoot so far that accuracy falls.
        return lr.multiply_end_rate(factor)
    if isinstance(lr, float | int):
        return min(lr * factor, sys.float_info.max)  # a learning rate must be finite
    return SimpleNamespace(get=lambda t: float(lr.get(t)) * factor)
