"""Saves of a run: when they are due, and what they contain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from stream_perceptron.checkpoint.encoding import to_json

from .opening import OpenedRun
from .predictions import PredictionFile


class Saver:
    """Saves the model of a run at `path`, if it is set, with the sizes of the run's outputs.

    `interval` is the number of rows between two saves, as an int, or of seconds, as a float.
    """

    def __init__(
        self,
        path: Path | None,
        interval: float,
        opened: OpenedRun,
        outputs: Sequence[PredictionFile] = (),
    ) -> None:
        self.path, self.has_saved = path, False
        self._interval, self._opened, self._outputs = interval, opened, outputs
        self._restart_interval()
        if path is not None and any(output.is_new for output in outputs):
            self._write(path)  # if this run is killed, the next one recognizes its files

    @property
    def row_interval(self) -> int | None:
        """The number of rows between two saves; None if saves are timed or nothing is saved."""
        is_used = self.path is not None and isinstance(self._interval, int)
        return int(self._interval) if is_used else None

    def save_if_due(self) -> None:
        """Save if rows were read and the interval has passed."""
        rows = self._opened.live.progress.rows
        if self.path is None or rows == self._saved_rows:
            return
        if (interval := self.row_interval) is not None:
            is_due = rows // interval > self._saved_rows // interval
        else:
            is_due = time.monotonic() >= self._saved_at + self._interval
        if is_due:
            self.save()

    def save(self) -> bool:
        """Save the model if a further run needs it; return whether it was saved.

        If no row was learned or predicted, or none of a run that needs labels had one, a further
        run needs only the position in a pipe, which cannot be read again, and the sizes of the
        output files.
        """
        opened, live = self._opened, self._opened.live
        self._restart_interval()
        is_unlabeled = live.lacks_labels
        has_learned = not (live.is_unused or is_unlabeled or opened.has_only_rejected)
        has_read_pipe = live.progress.rows and any(file.source.is_stream for file in opened.files)
        has_output = any(output.has_lines for output in self._outputs)
        if self.path is None or not (has_learned or has_read_pipe or has_output):
            return False
        self._write(self.path)
        self.has_saved = True
        return True

    def _restart_interval(self) -> None:
        self._saved_at, self._saved_rows = time.monotonic(), self._opened.live.progress.rows

    def _write(self, path: Path) -> None:
        """Save the model with the sizes of the output files."""
        live, state = self._opened.live, self._opened.state
        for output in self._outputs:
            output.sync(state.outputs)
        live.save(path, to_json(state))
