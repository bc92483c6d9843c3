"""The ledger of a model: progress, cursor and lineage, kept together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.sampling import RandomDraws
from stream_perceptron.data.source import Source
from stream_perceptron.live.cursor import Cursor
from stream_perceptron.live.lineage import DRAWS, ROWS, Entry, Lineage, saved_lr
from stream_perceptron.live.metrics import Progress
from stream_perceptron.model.results import TrainResult

if TYPE_CHECKING:
    from stream_perceptron.perceptron import SGDPerceptron

# The most results, and samples in them, to collect before counting them in one go, which is faster.
_MOST_RESULTS, _MOST_SAMPLES = 256, 2**14
_MAX_UNIDENTIFIED = 2**26  # bytes of a text file
_SOME = 50  # samples that are worth counting during a wait


class Ledger:
    """A model's progress, cursor and lineage."""

    def __init__(self, progress: Progress, cursor: Cursor, lineage: Lineage) -> None:
        self._progress = progress
        # Results that the progress does not count yet, and the numbers of their rows.
        self._uncounted: list[tuple[TrainResult, NDArray[np.intp]]] = []
        self._n_uncounted = 0
        self.cursor = cursor
        self.lineage = lineage
        # The cursor, index and source of a text file that is not identified up to the cursor.
        self._unidentified: tuple[Cursor, int, Source] | None = None
        self._identified_size = 0
        self.n_redelivered = 0  # redelivered rows since the model was made or loaded
        self.lock = RLock()  # held while the model or the ledger changes or is copied
        # Whether model and ledger are consistent; if an error interrupted a step they are not.
        self.is_whole = True

    def __getstate__(self) -> dict[str, Any]:
        self._count()
        self.identify()
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
    def has_unreported_change(self) -> bool:
        """Whether the counted rows have a change that was not yet reported."""
        changes = self._progress.changes
        return bool(changes) and changes[-1].found > self._progress.reported_row

    def count_while_waiting(self) -> None:
        """Count the collected results, unless they are few."""
        if self._n_uncounted >= _SOME:
            self._count()

    def count(self, batch: Batch, result: TrainResult, rows: NDArray[np.intp]) -> None:
        """Count a batch of done rows.

        `result` is that of its usable rows, and `rows` are their numbers in the run.
        """
        n, progress = len(result), self._progress
        # The caller shares these arrays, and they are counted later.
        result.predicted.flags.writeable = result.updated.flags.writeable = False
        self._uncounted.append((result, rows))
        self._n_uncounted += n
        if len(self._uncounted) == _MOST_RESULTS or self._n_uncounted >= _MOST_SAMPLES:
            self._count()
        progress.skipped += len(batch.rejected)
        if batch.redelivered is not None:
            self.n_redelivered += int(np.count_nonzero(batch.redelivered))
        if batch.missing is not None:
            progress.missing += int(batch.missing[:n].sum())
        probed = np.flatnonzero(~np.isnan(result.slopes))
        if len(probed):
            progress.look_at(batch.features[probed])

    def _count(self) -> None:
        """Add the collected results to the progress."""
        with self.lock:
            if not self._uncounted:
                return
            results, rows = zip(*self._uncounted, strict=True)
            self._uncounted, self._n_uncounted = [], 0
            self._progress.update(TrainResult.concatenate(results), np.concatenate(rows))

    def identify(self) -> None:
        """Identify the text file that the cursor stands in, up to its last row that was read.

        This takes a second pass over the file, so it is done when a model is saved, and at least
        every 64 MB.
        """
        with self.lock:
            if self._unidentified is None:
                return
            cursor, index, source = self._unidentified
            before = cursor.sources[index]
            identity = source.identify(before.size)
            self.lineage.identify_last(before, identity)
            cursor.sources[index] = identity
            self._identified_size = before.size
            self._unidentified = None

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
        start = cursor.row
        if start == 0:
            self.identify()
            self._identified_size = 0
        rows = cursor.move(batch, source.is_stream)
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
            )  # fmt: skip
            if not self.lineage.is_continued_by(entry, cursor.sources[here]):
                self.identify()
            before = cursor.sources[here]
            if batch.ends is not None and cursor.epoch == 0:
                cursor.sources[cursor.index] = replace(before[0], size=cursor.offset)
                self._unidentified = cursor, cursor.index, source
            self.lineage.add(replace(entry, sources=tuple(cursor.sources[here])), before)
            if cursor.offset - self._identified_size >= _MAX_UNIDENTIFIED:
                self.identify()
        cursor.outputs, cursor.untaken = self.cursor.outputs, self.cursor.untaken
        self.cursor = cursor
