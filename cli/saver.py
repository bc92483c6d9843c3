"""Regular saves during a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.live.history import Run

    from .predictions import PredictionFile


class Saver:
    """Saves a model and the sizes of the output files at regular intervals."""

    def __init__(
        self,
        path: Path | None,
        interval: int | float,
        live: LiveModel,
        run: Run,
        outputs: list[PredictionFile],
    ) -> None:
        self._path = path
        self.row_interval = interval if path is not None and isinstance(interval, int) else None
        self._time_interval = interval
        self._live, self._run, self._outputs = live, run, outputs
        self._saved_at, self._saved_rows = time.monotonic(), run.read
        self.has_saved = False

    def save_if_due(self) -> None:
        """Save if rows were read and the interval in rows or seconds has passed."""
        read = self._run.read
        self._saved_rows = min(self._saved_rows, read)  # a run may begin anew
        if self._path is None or read == self._saved_rows:
            return
        if self.row_interval is not None:
            is_due = read // self.row_interval > self._saved_rows // self.row_interval
        else:
            is_due = time.monotonic() >= self._saved_at + self._time_interval
        if is_due:
            self.save()

    def save(self) -> bool:
        """Save the model if a path is set and a further run needs it; return whether it was saved.

        If no row was learned or predicted, a further run needs only the position in a pipe, which
        cannot be read again, and the sizes of the output files.
        """
        if self._path is None:
            return False
        has_output = any(file.has_lines for file in self._outputs)
        self._saved_at, self._saved_rows = time.monotonic(), self._run.read
        has_read_stream = self._run.has_stream and self._run.read > 0
        is_without_rows = self._live.is_unused or self._run.has_only_rejected
        if is_without_rows and not (has_output or has_read_stream):
            return False
        for file in self._outputs:
            file.sync(self._live.outputs)
        try:
            self._live.save(self._path)
        except OSError as error:
            error.filename = str(self._path)
            raise
        self.has_saved = True
        return True
