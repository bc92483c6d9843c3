"""Regular saves of a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from stream_perceptron.data.describe import warning

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_perceptron import LiveModel

    from .predictions import PredictionFile


class Saver:
    """Saves a model regularly, with the sizes of its outputs."""

    def __init__(
        self,
        path: Path | None,
        every: int | float,
        live: LiveModel,
        predictions: PredictionFile | None,
        rejected: PredictionFile | None,
        read: int,
    ) -> None:
        self._path = path
        self.rows = every if path is not None and isinstance(every, int) else None
        self._seconds = None if path is None or isinstance(every, int) else every
        self._live = live
        self._predictions, self._rejected = predictions, rejected
        self._saved_at = time.monotonic()
        self.warn: Callable[[str], None] = lambda text: None
        self._has_warned = False
        self._first_cursor, self._first_read = live.cursor, read
        self._saved_rows = read

    @property
    def _read(self) -> int:
        """The rows read of this run's sources; the cursor is the run's from its first row on."""
        cursor = self._live.cursor
        return self._first_read if cursor is self._first_cursor else cursor.read

    def seconds_left(self) -> float | None:
        """Return the seconds until unsaved rows must be saved, or None if there are none."""
        if self._seconds is None or self._read == self._saved_rows:
            return None
        return max(0.0, self._saved_at + self._seconds - time.monotonic())

    def save_if_due(self) -> float | None:
        """Save if the interval in rows or seconds is over; return the seconds left."""
        if self.rows is not None:
            is_due = self._read // self.rows > self._saved_rows // self.rows
        else:
            is_due = self.seconds_left() == 0.0
        if is_due:
            self.save()
        return self.seconds_left()

    def save(self) -> bool:
        """Save and return True if there is a path, and anything that a further run would need.

        Without a learned or predicted row, a further run needs only the place in a pipe, which
        cannot be read again, and in files of output.
        """
        if self._path is None:
            return False
        cursor, outputs = self._live.cursor, (self._predictions, self._rejected)
        has_output = any(file is not None and file.has_lines for file in outputs)
        self._saved_at, self._saved_rows = time.monotonic(), self._read
        has_read_stream = cursor.is_of_stream and cursor.read > 0
        is_without_rows = self._live.is_blank or cursor.has_only_rejected
        if is_without_rows and not (has_output or has_read_stream):
            return False
        for file in outputs:
            if file is not None:
                file.sync(cursor)
        if self._predictions is not None:
            cursor.untaken = self._predictions.untaken()
        try:
            self._live.save(self._path)
        except OSError as error:
            error.filename = str(self._path)
            raise
        self._warn_of_changes()
        return True

    def _warn_of_changes(self) -> None:
        """Warn once of a text file that was changed while it was read."""
        changed = [source.name for source in self._live.cursor.sources if source.has_changed]
        if changed and not self._has_warned:
            self._has_warned = True
            self.warn(
                warning(
                    f"{changed[0]} was changed while it was read: the next run cannot continue it"
                )
            )
