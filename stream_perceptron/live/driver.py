"""The one loop around a step: whatever learns, tests or predicts rows goes through it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

from stream_perceptron.data.batch import Batch
from stream_perceptron.live.cursor import Cursor
from stream_perceptron.live.step_result import StepResult

Step = Callable[[Batch], StepResult]

_FIRST_TOLD = 1000  # rows


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked."""

    epochs: int | None = 1  # how often to read all sources; None for without end
    # The rows to read of these sources at most, with those read before; of a stream, of this run.
    limit: int | None = None
    stop: bool = False  # whether the first sample whose error is below epsilon ends the run
    skip_rejected: bool = False  # whether rows that cannot be used are left out
    with_probabilities: bool = False  # whether to compute the probability of each prediction
    with_every: bool = False  # and that of each label
    every: int | None = None  # yield, if not before, at multiples of so many rows read
    one_by_one: int = 0  # the rows, from here on, that are learned one by one


def drive(
    batches: Iterable[Batch], step: Step, skip_rejected: bool = False
) -> Generator[StepResult, None, None]:
    """Do a step with each batch, and yield what it brought.

    Raises
    ------
    SampleError
        If a row cannot be used, unless such rows are skipped; the rows before it are done.
    DivergedError
        If a weight or an error would stop being finite; the rows before it are done.
    FullError
        If the model would become too large; the rows before it are done.

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


def cut(
    batches: Iterable[Batch], cursor: Cursor, limit: int | None = None, every: int | None = None
) -> Iterator[Batch]:
    """Cut batches where a run ends or is to yield, and move a cursor to the start of each.

    A run yields at 1,000 rows, 2,000, 4,000 and so on, where its progress is told, at multiples of
    `every`, and whenever a batch is done. The caller moves the cursor over the rows.
    """
    is_stream = any(source.is_stream for source in cursor.sources)
    end = None if limit is None else limit + (cursor.read if is_stream else 0)
    for whole in batches:
        if (whole.epoch, whole.index) != (cursor.epoch, cursor.index):
            cursor.epoch, cursor.index, cursor.row = whole.epoch, whole.index, 0
        done = 0
        while done < len(whole):
            doubled = _FIRST_TOLD << (cursor.read // _FIRST_TOLD).bit_length()
            most = min(len(whole) - done, doubled - cursor.read)
            if end is not None:
                most = min(most, end - cursor.read)
            if every is not None:
                most = min(most, every - cursor.read % every)
            if most <= 0:
                return
            yield whole[done : done + most]
            done += most
            if end is not None and cursor.read >= end:
                return  # at once, as nothing more may come of a pipe


def singly(batches: Iterable[Batch], n: int) -> Iterator[Batch]:
    """Yield the first n rows of all batches one by one, and the rest as it comes."""
    for batch in batches:
        single = min(n, len(batch))
        n -= single
        for i in range(single):
            yield batch[i : i + 1]
        if single < len(batch):
            yield batch[single:]
