"""The ledger of a model: progress, cursor, lineage and marks, kept together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.identity import FileState, Identity, hash_bytes
from stream_perceptron.data.sampling import RandomDraws
from stream_perceptron.data.source import Source
from stream_perceptron.live.cursor import Cursor, Turn
from stream_perceptron.live.lineage import (
    DRAWS,
    ROWS,
    Entry,
    Lineage,
    saved_class_weight,
    saved_lr,
)
from stream_perceptron.live.marks import LearnedFile, Mark, Marks, count_rows
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.recent_scores import RecentScores
from stream_perceptron.model.results import TrainResult

if TYPE_CHECKING:
    from stream_perceptron.data.source import Knowledge
    from stream_perceptron.perceptron import SGDPerceptron

# Results are collected and counted together, which is faster: up to so many, so many samples in
# them, and so many seconds.
_MAX_RESULTS, _MAX_SAMPLES, _MAX_SECONDS = 256, 2**16, 0.25
_MAX_UNMARKED = 2**26  # bytes of a text file
_MIN_SAMPLES = 50  # that are worth counting during a wait


class Ledger:
    """A model's progress, cursor, lineage and marks."""

    def __init__(
        self, progress: Progress, cursor: Cursor, lineage: Lineage, marks: Marks | None = None
    ) -> None:
        self._progress = progress
        # Results that the progress does not count yet, and the numbers of their rows.
        self._uncounted: list[tuple[TrainResult, NDArray[np.intp]]] = []
        self._n_uncounted = 0
        self._collected_at = 0.0  # when the first of them was collected
        self.recent = RecentScores()
        self._are_repeated = False  # whether these rows were learned before
        self.cursor = cursor
        self.lineage = lineage
        self.marks = Marks() if marks is None else marks
        # The cursor and the source of a file that was learned beyond its mark.
        self._unmarked: tuple[Cursor, Source] | None = None
        self._mark: Mark | None = None  # of the file that the cursor is in, if it has one
        self._rejected_before = 0  # rejected rows of the cursor before that file
        self._marked_size = 0  # bytes of that file
        self.n_redelivered = 0  # redelivered rows since the model was made or loaded
        self.lock = RLock()  # held while the model or the ledger changes or is copied
        # Whether model and ledger are consistent; if an error interrupted a step they are not.
        self.is_whole = True

    def __getstate__(self) -> dict[str, Any]:
        self._count()
        self.update_mark()
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, lock=RLock())

    @property
    def progress(self) -> Progress:
        """The metrics up to the last row."""
        self._count()
        return self._progress

    @property
    def rows(self) -> int:
        """The number of rows read."""
        return self._progress.rows + self._n_uncounted

    @property
    def has_unreported_event(self) -> bool:
        """Whether the counted rows have a drift event that was not yet reported."""
        events = self._progress.events
        return bool(events) and events[-1].found > self._progress.reported_row

    def count_if_due(self) -> float | None:
        """Count the collected results if it is time.

        Return the seconds until that time, or None if too few results are collected.
        """
        if self._n_uncounted < _MIN_SAMPLES:
            return None
        left = self._collected_at + _MAX_SECONDS - monotonic()
        if left <= 0:
            self._count()
            return None
        return left

    def count(
        self,
        batch: Batch,
        result: TrainResult,
        rows: NDArray[np.intp],
        n_repeated: int,
        knowledge: Knowledge,
    ) -> None:
        """Count a batch of done rows.

        `result` is that of its usable rows, and `rows` are their numbers in the run. The first
        `n_repeated` of them were learned before. `knowledge` is that after these rows.
        """
        n, progress = len(result), self._progress
        # The caller shares these arrays, and they are counted later.
        result.predicted.flags.writeable = result.updated.flags.writeable = False
        if 0 < n_repeated < n:
            self._collect(result[:n_repeated], rows[:n_repeated], are_repeated=True)
            self._collect(result[n_repeated:], rows[n_repeated:], are_repeated=False)
        else:
            self._collect(result, rows, are_repeated=n_repeated > 0)
        progress.skipped += len(batch.rejected)
        if batch.redelivered is not None:
            self.n_redelivered += int(np.count_nonzero(batch.redelivered))
        self.recent.add(result.outputs)
        result.outputs = []  # results are collected, and these are large
        missing = None if batch.missing is None else batch.missing[:n]
        progress.count_missing(missing, knowledge)
        probed = np.flatnonzero(~np.isnan(result.slopes))
        if len(probed):
            progress.look_at(batch.features[probed])

    def _collect(self, result: TrainResult, rows: NDArray[np.intp], are_repeated: bool) -> None:
        """Collect a result, and count all if they are many."""
        if are_repeated != self._are_repeated:
            self._count()
            self._are_repeated = are_repeated
        now = monotonic()
        if not self._uncounted:
            self._collected_at = now
        self._uncounted.append((result, rows))
        self._n_uncounted += len(result)
        if (
            len(self._uncounted) == _MAX_RESULTS
            or self._n_uncounted >= _MAX_SAMPLES
            or now - self._collected_at > _MAX_SECONDS
        ):
            self._count()

    def _count(self) -> None:
        """Add the collected results to the progress."""
        with self.lock:
            if not self._uncounted:
                return
            results, rows = zip(*self._uncounted, strict=True)
            self._uncounted, self._n_uncounted = [], 0
            self._progress.update(
                TrainResult.concatenate(results), np.concatenate(rows), self._are_repeated
            )

    def begin_source(self, notify: Callable[[str], None], cursor: Cursor, source: Source) -> Turn:
        """Move a cursor to the mark of the source that it has come to.

        Raises
        ------
        SourceError
            If the source is a file that was changed.

        """
        with self.lock:
            self._mark, self._marked_size = None, 0
            self._rejected_before = cursor.rejected
            if not cursor.moves_marks or source.is_stream:
                return cursor.turn
            cursor.n_known = 0
            if cursor.row == 0:
                cursor.sources[cursor.index] = _identify_unread(source)
            mark = self._find_mark(source, cursor.sources[cursor.index])
            if mark is None or cursor.is_again:
                if not cursor.is_again and (notice := self.marks.check_new(source)):
                    notify(notice)
                self._mark = mark
                cursor.n_known = 0 if mark is None else mark.n_rows
                return cursor.turn
            self._mark = self.marks.adopt(mark, source)
            turn = self._resume_at(cursor, self._mark)
            if not _is_learned(mark, source):
                return turn
            notify(f"{source.name}: already learned ({count_rows(mark)})")
            self._finish(source)
            return Turn.SKIP

    def _find_mark(self, source: Source, identity: Identity) -> Mark | None:
        """Return the mark of a source that a cursor comes to, if it has one."""
        if not isinstance(source, LearnedFile):
            return self.marks.find(source, identity)
        # An earlier source of this run may have moved the mark.
        return source.mark if source.mark in self.marks else self.marks.find_same(source.mark)

    def _resume_at(self, cursor: Cursor, mark: Mark) -> Turn:
        """Move a cursor to a mark."""
        self._marked_size = mark.source.size
        cursor.row, cursor.offset = mark.n_rows, mark.source.size if mark.start else 0
        cursor.read += mark.n_rows
        cursor.rejected += mark.n_rejected
        cursor.sources[cursor.index] = mark.source
        last = self.lineage.entries[-1] if self.lineage.entries else Entry()
        is_last = (last.sources, last.unit, last.end) == ((mark.source,), ROWS, mark.n_rows)
        return Turn.RESUME if is_last else Turn.BEGIN

    def end_source(self, cursor: Cursor, source: Source) -> None:
        """Note that a cursor leaves a source: its files are finished, unless it was interrupted."""
        self.update_mark()
        if source.interrupt.is_set or not cursor.sources:
            return
        if isinstance(source, RandomDraws):
            self.mark_whole(source.files, cursor.sources, source.counts)
        elif cursor.moves_marks and not source.is_stream:
            self._finish(source)

    def mark_whole(
        self, sources: Sequence[Source], identities: Sequence[Identity], counts: Sequence[int]
    ) -> None:
        """Mark files as learned to their end."""
        for source, identity, n_rows in zip(sources, identities, counts, strict=True):
            old = self.marks.find(source, identity)
            if n_rows and (old is None or old.n_rows < n_rows):
                start = hash_bytes(source.read_start()[: identity.size]) if source.grows else ""
                mark = Mark(identity, n_rows, 0, start, _settled_state(source), is_finished=True)
                self.marks.put(mark, old)

    def _finish(self, source: Source) -> None:
        """Note that the file which the cursor is in has no rows beyond its mark."""
        if self._mark is not None:
            mark = replace(self._mark, state=_settled_state(source), is_finished=True)
            self.marks.put(mark, self._mark)
            self._mark = mark

    def update_mark(self) -> None:
        """Move the mark of the file that the cursor is in to its last row that was learned.

        For text this takes a second pass over the file, so it is done when a model is saved, and at
        least every 64 MB.
        """
        with self.lock:
            if self._unmarked is None:
                return
            cursor, source = self._unmarked
            before, start = cursor.sources[cursor.index], ""
            identity = before
            if source.grows:
                identity, start = source.identify(before.size)
                self.lineage.identify_last(before, identity)
                cursor.sources[cursor.index] = identity
            self._marked_size = before.size
            old = self._mark
            if old is None or old.n_rows < cursor.row:
                n_rejected = cursor.rejected - self._rejected_before
                self._mark = Mark(identity, cursor.row, n_rejected, start, source.state)
                self.marks.put(self._mark, old)
            self._unmarked = None

    def move(
        self,
        cursor: Cursor,
        sources: Sequence[Source],
        batch: Batch,
        model: SGDPerceptron,
        keep: tuple[str, ...],
    ) -> None:
        """Move a cursor over learned rows, add them to the lineage, and keep the cursor."""
        source = sources[batch.index]
        start, n_repeated = cursor.row, cursor.count_repeated(len(batch))
        rows = cursor.move(batch, source.is_stream or source.stands_for_pipe)
        if source.header is not None:
            cursor.header = source.header
        unit, seed, here = ROWS, 0, slice(cursor.index, cursor.index + 1)
        if isinstance(source, RandomDraws):
            unit, seed, here = DRAWS, source.seed, slice(None)
            start += cursor.epoch * (source.n_rows or 0)
        if not cursor.sources:
            self.lineage.is_complete = False
        elif rows:
            entry = Entry(
                saved_lr(model.lr), float(model.epsilon), (), unit, start,
                start + rows, len(batch.rejected), seed, keep=keep,
                is_again=cursor.is_repeating and unit == ROWS,
                n_repeated=n_repeated if unit == ROWS else 0,
                class_weight=saved_class_weight(model.class_weight),
            )  # fmt: skip
            if not self.lineage.is_continued_by(entry, cursor.sources[here]):
                self.update_mark()
            before = cursor.sources[here]
            if batch.ends is not None and cursor.epoch == 0:
                cursor.sources[cursor.index] = replace(before[0], size=cursor.offset)
            if cursor.moves_marks and not source.is_stream:
                self._unmarked = cursor, source
            self.lineage.add(replace(entry, sources=tuple(cursor.sources[here])), before)
            if cursor.offset - self._marked_size >= _MAX_UNMARKED:
                self.update_mark()
        cursor.outputs, cursor.untaken = self.cursor.outputs, self.cursor.untaken
        self.cursor = cursor


def _identify_unread(source: Source) -> Identity:
    """Return the identity of a source before its first row is read."""
    if source.grows:
        return Identity.of_unread(source.name)
    (identity,) = source.identities()
    return identity


def _is_learned(mark: Mark, source: Source) -> bool:
    """Return whether a file has no rows beyond its mark."""
    if source.grows:
        return not source.has_grown(mark.source)
    return mark.is_finished or mark.n_rows == source.n_rows


def _settled_state(source: Source) -> FileState | None:
    """Return the state of a file before it was read, for a later run to compare."""
    return None if source.state is None else source.state.settle()
