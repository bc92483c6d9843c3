"""The ledger of a model: progress, cursor, lineage and marks, kept together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.fingerprint import FileState, Fingerprint, hash_bytes
from stream_perceptron.data.sampling import RandomDraws
from stream_perceptron.data.source import Source
from stream_perceptron.live.cursor import Cursor
from stream_perceptron.live.lineage import (
    DRAWS,
    ROWS,
    Entry,
    Lineage,
    try_encode_class_weight,
    try_encode_lr,
)
from stream_perceptron.live.marks import LearnedFile, Mark, Marks, format_row_count
from stream_perceptron.live.metrics import MAX_WEIGHTS, Progress
from stream_perceptron.model.results import TrainResult

if TYPE_CHECKING:
    from stream_perceptron.perceptron import SGDPerceptron

# Counting many results together is faster, so they are buffered up to these limits.
_MAX_RESULTS, _MAX_SAMPLES, _MAX_SECONDS = 1024, 2**16, 0.25
_MAX_UNMARKED = 2**26  # bytes of a text file that are learned before its mark is moved
_MIN_SAMPLES = 50  # the minimum number of samples worth counting during a wait


class Ledger:
    """A model's progress, cursor, lineage and marks."""

    def __init__(
        self, progress: Progress, cursor: Cursor, lineage: Lineage, marks: Marks | None = None
    ) -> None:
        self._progress = progress
        # Results that the progress does not include yet, with their row numbers.
        self._buffer: list[tuple[TrainResult, NDArray[np.intp]]] = []
        self._n_buffered = 0
        self._buffered_at = 0.0  # the time at which the first of them was buffered
        self._is_repeated = False  # whether the buffered rows were learned before
        self.cursor = cursor
        self.lineage = lineage
        self.marks = Marks() if marks is None else marks
        # The cursor and the source of a file that was learned beyond its mark.
        self._unmarked: tuple[Cursor, Source] | None = None
        self._mark: Mark | None = None  # the mark of the current file, if it has one
        self._rejected_before = 0  # rows rejected before the current file
        self._marked_size = 0  # bytes of the current file up to its mark
        self.n_redelivered = 0  # redelivered rows since the model was created or loaded
        self.lock = RLock()  # held while the model or the ledger changes or is copied
        # Whether the model and the ledger are consistent; they are not if an error interrupted a
        # step.
        self.is_consistent = True

    def __getstate__(self) -> dict[str, object]:
        self._flush()
        self.update_mark()
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, lock=RLock())

    @property
    def progress(self) -> Progress:
        """The metrics up to the last row."""
        self._flush()
        return self._progress

    @property
    def rows(self) -> int:
        """The number of rows read."""
        return self._progress.rows + self._n_buffered

    @property
    def has_unreported_event(self) -> bool:
        """Whether a drift event found in the counted rows has not been reported yet."""
        events = self._progress.events
        return bool(events) and events[-1].found > self._progress.reported_row

    def flush_if_due(self) -> float | None:
        """Count the buffered results if they are due.

        Return the seconds until they are due, or None if too few samples are buffered.
        """
        if self._n_buffered < _MIN_SAMPLES:
            return None
        left = self._buffered_at + _MAX_SECONDS - monotonic()
        if left <= 0:
            self._flush()
            return None
        return left

    def count_batch(
        self,
        batch: Batch,
        result: TrainResult,
        rows: NDArray[np.intp],
        n_repeated: int,
    ) -> None:
        """Count the rows of a batch that has been processed.

        `result` is the result for the usable rows, and `rows` are their row numbers in the run. The
        first `n_repeated` of these rows were learned before.
        """
        n, progress = len(result), self._progress
        # These arrays are counted later, and the caller shares them.
        result.predicted.setflags(write=False)
        result.updated.setflags(write=False)
        if 0 < n_repeated < n:
            self._buffer_result(result[:n_repeated], rows[:n_repeated], is_repeated=True)
            self._buffer_result(result[n_repeated:], rows[n_repeated:], is_repeated=False)
        else:
            self._buffer_result(result, rows, is_repeated=n_repeated > 0)
        progress.skipped += len(batch.rejected)
        if batch.redelivered is not None:
            self.n_redelivered += int(np.count_nonzero(batch.redelivered))
        if progress.n_weights < MAX_WEIGHTS:
            progress.count_weights(batch.weights[:n][result.targets >= 0])
        if batch.missing is not None:
            progress.missing += int(batch.missing[:n].sum())
        probed = np.flatnonzero(~np.isnan(result.probes[:, 0]))
        if len(probed):
            progress.update_reaches(batch.features[probed])

    def _buffer_result(
        self, result: TrainResult, rows: NDArray[np.intp], is_repeated: bool
    ) -> None:
        """Buffer a result, and count the buffered results if they reach a limit."""
        if is_repeated != self._is_repeated:
            self._flush()
            self._is_repeated = is_repeated
        now = monotonic()
        if not self._buffer:
            self._buffered_at = now
        self._buffer.append((result, rows))
        self._n_buffered += len(result)
        if (
            len(self._buffer) == _MAX_RESULTS
            or self._n_buffered >= _MAX_SAMPLES
            or now - self._buffered_at > _MAX_SECONDS
        ):
            self._flush()

    def _flush(self) -> None:
        """Add the buffered results to the progress."""
        with self.lock:
            if not self._buffer:
                return
            results, rows = zip(*self._buffer, strict=True)
            self._buffer, self._n_buffered = [], 0
            self._progress.update(
                TrainResult.concatenate(results), np.concatenate(rows), self._is_repeated
            )

    def begin_source(self, notify: Callable[[str], None], cursor: Cursor, source: Source) -> bool:
        """Move a cursor to the mark of its new source; return whether it has further rows.

        Raises
        ------
        SourceError
            If the source is a file that has changed.

        """
        with self.lock:
            self._mark, self._marked_size = None, 0
            self._rejected_before = cursor.rejected
            if not cursor.moves_marks or source.is_stream:
                return True
            cursor.n_known = 0
            if cursor.row == 0:
                cursor.sources[cursor.index] = _identify_unread(source)
            mark = self._find_mark(source, cursor.sources[cursor.index])
            if mark is None or cursor.is_again:
                if not cursor.is_again and (notice := self.marks.check_new_content(source)):
                    notify(notice)
                self._mark = mark
                cursor.n_known = 0 if mark is None else mark.n_rows
                return True
            self._mark = self.marks.adopt(mark, source)
            self._resume_at(cursor, self._mark)
            if not _is_learned(mark, source):
                return True
            notify(f"{source.name}: already learned ({format_row_count(mark)})")
            self._mark_current_as_finished(source)
            return False

    def _find_mark(self, source: Source, fingerprint: Fingerprint) -> Mark | None:
        """Return the mark of a source, if it has one."""
        if not isinstance(source, LearnedFile):
            return self.marks.find(source, fingerprint)
        # An earlier source of this run may have moved the mark.
        return (
            source.mark if source.mark in self.marks else self.marks.find_same_content(source.mark)
        )

    def _resume_at(self, cursor: Cursor, mark: Mark) -> None:
        """Move a cursor to a mark."""
        self._marked_size = mark.source.size
        cursor.row, cursor.offset = mark.n_rows, mark.source.size if mark.start else 0
        cursor.read += mark.n_rows
        cursor.rejected += mark.n_rejected
        cursor.sources[cursor.index] = mark.source

    def end_source(self, cursor: Cursor, source: Source) -> None:
        """Record the end of a source; mark its files as finished unless it was interrupted."""
        self.update_mark()
        if source.interrupt.is_set or not cursor.sources:
            return
        if isinstance(source, RandomDraws):
            self.mark_as_finished(source.files, cursor.sources, source.counts)
        elif cursor.moves_marks and not source.is_stream:
            self._mark_current_as_finished(source)

    def mark_as_finished(
        self, sources: Sequence[Source], fingerprints: Sequence[Fingerprint], counts: Sequence[int]
    ) -> None:
        """Mark files as learned to the end."""
        for source, fingerprint, n_rows in zip(sources, fingerprints, counts, strict=True):
            old = self.marks.find(source, fingerprint)
            if n_rows and (old is None or old.n_rows < n_rows):
                start = (
                    hash_bytes(source.read_start()[: fingerprint.size]) if source.can_grow else ""
                )
                mark = Mark(
                    fingerprint, n_rows, 0, start, _get_settled_state(source), is_finished=True
                )
                self.marks.put(mark, old)

    def _mark_current_as_finished(self, source: Source) -> None:
        """Record that the current file has no rows beyond its mark."""
        if self._mark is not None:
            mark = replace(self._mark, state=_get_settled_state(source), is_finished=True)
            self.marks.put(mark, self._mark)
            self._mark = mark

    def update_mark(self) -> None:
        """Move the mark of the current file to its last learned row.

        A text file must be read a second time for this, so the move is deferred until it is needed,
        for example to save the model, but for at most 64 MB of text.
        """
        with self.lock:
            if self._unmarked is None:
                return
            cursor, source = self._unmarked
            before, start = cursor.sources[cursor.index], ""
            fingerprint = before
            if source.can_grow:
                fingerprint, start = source.identify(before.size)
                self.lineage.replace_last_fingerprint(before, fingerprint)
                cursor.sources[cursor.index] = fingerprint
            self._marked_size = before.size
            old = self._mark
            if old is None or old.n_rows < cursor.row:
                n_rejected = cursor.rejected - self._rejected_before
                self._mark = Mark(fingerprint, cursor.row, n_rejected, start, source.state)
                self.marks.put(self._mark, old)
            self._unmarked = None

    def advance_cursor(
        self,
        cursor: Cursor,
        sources: Sequence[Source],
        batch: Batch,
        model: SGDPerceptron,
        keep: tuple[str, ...],
    ) -> None:
        """Move a cursor past learned rows, add the rows to the lineage, and adopt the cursor."""
        source = sources[batch.index]
        start, n_repeated = cursor.row, cursor.count_repeated(len(batch))
        rows = cursor.move(batch, source.is_stream or source.replaces_pipe)
        unit, seed, source_range = ROWS, 0, slice(cursor.index, cursor.index + 1)
        if isinstance(source, RandomDraws):
            unit, seed, source_range = DRAWS, source.seed, slice(None)
            start += cursor.epoch * (source.n_rows or 0)
        if not cursor.sources:
            self.lineage.is_complete = False
        elif rows:
            entry = Entry(
                try_encode_lr(model.lr), float(model.epsilon), (), unit, start,
                start + rows, len(batch.rejected), seed, keep=keep,
                is_again=cursor.is_repeating and unit == ROWS,
                n_repeated=n_repeated if unit == ROWS else 0,
                class_weight=try_encode_class_weight(model.class_weight),
            )  # fmt: skip
            if not self.lineage.is_continued_by(entry, cursor.sources[source_range]):
                self.update_mark()
            before = cursor.sources[source_range]
            if batch.ends is not None and cursor.epoch == 0:
                cursor.sources[cursor.index] = replace(before[0], size=cursor.offset)
            if cursor.moves_marks and not source.is_stream:
                self._unmarked = cursor, source
            entry.sources = tuple(cursor.sources[source_range])
            self.lineage.add(entry, before)
            if cursor.offset - self._marked_size >= _MAX_UNMARKED:
                self.update_mark()
        cursor.outputs = self.cursor.outputs
        self.cursor = cursor


def _identify_unread(source: Source) -> Fingerprint:
    """Return the fingerprint of a source before its first row is read."""
    if source.can_grow:
        return Fingerprint.of_unread(source.name)
    (fingerprint,) = source.fingerprints()
    return fingerprint


def _is_learned(mark: Mark, source: Source) -> bool:
    """Return whether a file has no rows beyond its mark."""
    if source.can_grow:
        return not source.has_grown(mark.source)
    return mark.is_finished or mark.n_rows == source.n_rows


def _get_settled_state(source: Source) -> FileState | None:
    """Return the state that a file had before it was read, for comparison in a later run."""
    return None if source.state is None else source.state.clear_recent_time()
