"""The ledger of a model: progress, cursor and lineage, kept together."""

from __future__ import annotations

from collections.abc import Sequence
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
        self.n_redelivered = 0  # redelivered rows since the model was made or loaded
        self.lock = RLock()  # held while the model or the ledger changes or is copied
        # Whether model and ledger are consistent; if an error interrupted a step they are not.
        self.is_whole = True

    def __getstate__(self) -> dict[str, Any]:
        self._count()
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
        start, before = cursor.row, list(cursor.sources)
        rows = cursor.move(batch, source.is_stream)
        if batch.text is not None and cursor.epoch == 0:
            cursor.sources[cursor.index] = batch.text.identity
        elif batch.text is not None:
            cursor.reread = batch.text.identity
        unit, seed, here = ROWS, 0, slice(cursor.index, cursor.index + 1)
        if isinstance(source, RandomDraws):
            unit, seed, here = DRAWS, source.seed, slice(None)
            start += cursor.epoch * (source.n_rows or 0)
        if not cursor.sources:
            self.lineage.is_complete = False
        elif rows:
            entry = Entry(
                saved_lr(model.lr), float(model.epsilon), tuple(cursor.sources[here]), unit, start,
                start + rows, len(batch.rejected), seed, keep=keep,
            )  # fmt: skip
            self.lineage.add(entry, before[here])
        cursor.outputs, cursor.untaken = self.cursor.outputs, self.cursor.untaken
        self.cursor = cursor
