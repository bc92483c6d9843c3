"""Rows of Parquet files split into shards, and a shard's part in a round."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.batch import Batch, Rejection
from stream_perceptron.data.describe import Note
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.source import Source, are_interrupted
from stream_perceptron.distributed.averaging import average_live
from stream_perceptron.errors import DivergedError, SampleError, SourceError
from stream_perceptron.live.cursor import Cursor, Shards
from stream_perceptron.live.driver import StepOptions, cut, drive, read
from stream_perceptron.live.model import LiveModel

if TYPE_CHECKING:
    from river.optim.base import Scheduler


@dataclass(frozen=True)
class Piece:
    """Rows of one row group."""

    file: int  # the file's number
    group: int  # the row group's number in the file
    start: int  # the first row in the group
    end: int  # one past the last row
    first: int  # the first row's number in the file, counted from 1


def require_parquet(sources: Sequence[Source]) -> list[ParquetSource]:
    """Return the sources after checking that they are Parquet files, which can be split."""
    files = []
    for source in sources:
        if not isinstance(source, ParquetSource) or source.is_stream:
            raise SourceError(f"{source.name}: only Parquet files can be split into shards")
        files.append(source)
    return files


def rounds_in(groups: Sequence[Sequence[int]], shards: Shards) -> int:
    """Return the number of rounds in an epoch.

    Examples
    --------
    >>> rounds_in([[10, 10], [5]], Shards(n=2, rows=5))
    3

    """
    longest = -(-sum(map(sum, groups)) // shards.n)
    return -(-longest // shards.rows)


def deal(
    groups: Sequence[Sequence[int]], shards: Shards, is_first_pass: bool = True
) -> list[list[Piece]]:
    """Return the pieces that each shard learns in the next round.

    Each shard has a contiguous range of all rows. Their sizes differ by at most one row, so all
    shards have work until the end for any number of row groups. In the first pass, shards leave out
    the rows that were learned before the first round.

    Returns
    -------
    The pieces of each shard, in order; none for a shard that has ended.

    Examples
    --------
    >>> for pieces in deal([[10, 10], [5]], Shards(n=2, rows=5, rounds=1)):
    ...     print([(piece.file, piece.group, piece.start, piece.end) for piece in pieces])
    [(0, 0, 5, 10)]
    [(0, 1, 7, 10), (1, 0, 0, 2)]

    """
    total = sum(map(sum, groups))
    first = shards.first_rows if is_first_pass else 0
    dealt = []
    for shard in range(shards.n):
        begin, stop = shard * total // shards.n, (shard + 1) * total // shards.n
        start = min(begin + shards.rounds * shards.rows, stop)
        end = min(start + shards.rows, stop)
        dealt.append(list(_pieces(groups, max(start, first), end)))
    return dealt


def parts_of_round(
    groups: Sequence[Sequence[int]], shards: Shards, keep_lr: bool, is_first_pass: bool
) -> tuple[list[list[Piece]], float]:
    """Return the pieces of each shard with rows left, and the factor for their learning rate."""
    dealt = [pieces for pieces in deal(groups, shards, is_first_pass) if pieces]
    return dealt, 1.0 if keep_lr else float(len(dealt))


def _pieces(groups: Sequence[Sequence[int]], start: int, end: int) -> Iterator[Piece]:
    """Yield the pieces of the rows [start, end), counted over all files."""
    begin = 0  # the first row of a row group, counted over all files
    for file, sizes in enumerate(groups):
        begin_of_file = begin
        for group, size in enumerate(sizes):
            low, high = max(start, begin), min(end, begin + size)
            if low < high:
                yield Piece(file, group, low - begin, high - begin, low - begin_of_file + 1)
            begin += size


@dataclass
class Outcome:
    """The result of a shard's part in a round."""

    live: LiveModel  # the trained model
    # Place and reason of each rejected row.
    rejected: list[Rejection] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)  # notes to users about the first file
    error: ValueError | None = None  # the error that ended it


def learn_first_sample(
    live: LiveModel,
    sources: Sequence[Source],
    identities: Sequence[Identity],
    skip_rejected: bool = False,
) -> Outcome | None:
    """Test and train a copy of a new live model on all rows up to the first labeled one.

    Weights of the names that this sample adds are drawn. All shards that continue from it begin
    with these weights.

    Returns
    -------
    The outcome; None after an interrupt of a source, so that nothing has been learned.

    Raises
    ------
    SampleError
        If a row cannot be used, unless such rows are skipped.

    """
    outcome = Outcome(copy.deepcopy(live))
    learner, cursor = outcome.live, Cursor(list(identities))
    step = partial(learner.step, here=cursor, sources=sources)
    with closing(read(sources, learner.request(), cursor, 1, learner.knowledge)) as rows:
        batches = learner.interpret(cut(rows, sources, cursor), cursor, sources)
        for result in drive(_through_first_label(batches), step, skip_rejected):
            outcome.rejected += [each._replace(held=None) for each in result.rejected]
            outcome.notes += result.notes
    return None if are_interrupted(sources) else outcome


def _through_first_label(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the rows up to the first labeled one."""
    for batch in batches:
        labeled = [i for i, label in enumerate(batch.labels) if label is not None]
        if labeled:
            yield batch.first(int(batch.rows[labeled[0]]) + 1)
            return
        yield batch


def learn_pieces(
    live: LiveModel,
    paths: Sequence[str],
    pieces: Iterable[Piece],
    factor: float = 1.0,
    skip_rejected: bool = False,
    is_repeated: bool = False,
) -> Outcome:
    """Test and train a copy of a live model on some rows.

    What is returned depends on the arguments and the files alone, and nothing else is changed; so
    it may be done again, anywhere.

    Examples
    --------
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> source = ParquetSource(str(sample_path()))
    >>> live = LiveModel.start([source], seed=0)
    >>> for pieces in deal([source.groups], Shards(n=2, rows=1000)):
    ...     outcome = learn_pieces(live, [source.name], pieces)
    ...     print(outcome.live.progress.samples, live.progress.samples)
    1000 0
    1000 0

    """
    outcome = Outcome(copy.deepcopy(live))
    learner = outcome.live
    step = partial(learner.step, options=StepOptions(is_repeated=is_repeated))
    lr, learner.model.lr = learner.model.lr, _times(learner.model.lr, factor)
    try:
        for path, pieces_of_file in groupby(pieces, key=lambda piece: paths[piece.file]):
            source = ParquetSource(path)
            for piece in pieces_of_file:
                for result in drive(_batches_of(piece, source, learner), step, skip_rejected):
                    outcome.rejected += [each._replace(held=None) for each in result.rejected]
                    outcome.notes = outcome.notes or result.notes
    except (SourceError, SampleError, DivergedError) as error:
        outcome.error = error
    learner.model.lr = lr
    return outcome


def _batches_of(piece: Piece, source: ParquetSource, learner: LiveModel) -> Iterator[Batch]:
    """Yield the rows of a piece."""
    request = replace(learner.request(), start=piece.first - 1)
    interpreter, first_row = source.interpreter(request), piece.first
    for rows in source.rows_of_group(piece.group, piece.start, piece.end, request):
        batch = interpreter.interpret(rows, learner.knowledge, first_row)
        yield batch
        first_row = batch.number(len(batch))


def mean_of(live: LiveModel, outcomes: Sequence[Outcome]) -> LiveModel:
    """Return the mean of the shards' models after a round, or raise a shard's error."""
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return average_live(live, [outcome.live for outcome in outcomes])


def _times(lr: float | Scheduler, factor: float) -> Any:
    """Return a learning rate or its schedule, times a factor."""
    if isinstance(lr, float | int):
        return lr * factor
    return SimpleNamespace(get=lambda t: float(lr.get(t)) * factor)
