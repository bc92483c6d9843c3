"""Regular saves during a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from stream_perceptron.data.notices import build_warning

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_perceptron import LiveModel

    from .predictions import PredictionFile


class Saver:
    """Saves a model and the sizes of the output files at regular intervals."""

    def __init__(
        self,
        path: Path | None,
        interval: int | float,
        live: LiveModel,
        predictions: PredictionFile | None,
        rejected: PredictionFile | None,
        n_read: int,
    ) -> None:
        self._path = path
        self.row_interval = interval if path is not None and isinstance(interval, int) else None
        self._time_interval = None if path is None or isinstance(interval, int) else interval
        self._live = live
        self._predictions, self._rejected = predictions, rejected
        self._saved_at = time.monotonic()
        self.warn: Callable[[str], None] = lambda text: None
        self._has_warned = False
        self.has_saved = False
        self._first_cursor, self._first_read = live.cursor, n_read
        self._saved_rows = n_read

    @property
    def _n_read(self) -> int:
        """The number of rows read from this run's sources, including those read by earlier runs."""
        cursor = self._live.cursor
        # The model gets this run's cursor together with the first row.
        return self._first_read if cursor is self._first_cursor else cursor.read

    def seconds_left(self) -> float | None:
        """Return the number of seconds until unsaved rows must be saved; None if all are saved."""
        if self._time_interval is None or self._n_read == self._saved_rows:
            return None
        return max(0.0, self._saved_at + self._time_interval - time.monotonic())

    def save_if_due(self) -> float | None:
        """Save if the interval in rows or seconds has passed; return the number of seconds left."""
        if self.row_interval is not None:
            is_due = self._n_read // self.row_interval > self._saved_rows // self.row_interval
        else:
            is_due = self.seconds_left() == 0.0
        if is_due:
            self.save()
        return self.seconds_left()

    def save(self) -> bool:
        """Save the model if a path is set and a further run needs it; return whether it was saved.

        If no row was learned or predicted, a further run needs only the position in a pipe, which
        cannot be read again, and the sizes of the output files.
        """
        if self._path is None:
            return False
        cursor, outputs = self._live.cursor, (self._predictions, self._rejected)
        has_output = any(file is not None and file.has_lines for file in outputs)
        self._saved_at, self._saved_rows = time.monotonic(), self._n_read
        has_read_stream = cursor.has_stream and cursor.read > 0
        is_without_rows = self._live.is_unused or cursor.has_only_rejected
        if is_without_rows and not (has_output or has_read_stream):
            return False
        for file in outputs:
            if file is not None:
                file.sync(cursor)
        try:
            self._live.save(self._path)
        except OSError as error:
            error.filename = str(self._path)
            raise
        self.has_saved = True
        self._warn_of_changed_sources()
        return True

    def _warn_of_changed_sources(self) -> None:
        """Warn once about a text file that was changed while it was being read."""
        changed = [source.name for source in self._live.cursor.sources if source.has_changed]
        if changed and not self._has_warned:
            self._has_warned = True
            self.warn(
                build_warning(
                    f"{changed[0]} was changed while it was being read: "
                    "the next run cannot continue reading it"
                )
            )
