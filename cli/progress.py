"""The printer of a run: messages, events and rows of figures on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import click

from stream_perceptron.data.notices import Notice
from stream_perceptron.live.metrics import Progress

from .terminal import (
    LiveLine,
    format_count,
    format_progress_bar,
    print_json,
    print_message,
)

# The columns of a printed row and their widths; a narrow terminal shows only the first few.
_COLUMNS = {
    "samples": 10,
    "accuracy": 8,
    "last 1,000": 10,
    "samples/s": 9,
}
_GAP = "  "
_UNSILENCED_KINDS = ("warning", "drop")  # kinds of events that are printed even with --quiet
_MAX_SILENCE = 60.0  # seconds between two rows of figures while rows arrive


class Printer:
    """Prints notices, events and rows of figures, as text or JSON.

    On a terminal, a line that is redrawn in place follows, unless predictions go there
    (`owns_terminal=False`). `n_rows` is the number of rows to be read, if it is known.
    """

    def __init__(
        self, is_quiet: bool = False, n_rows: int | None = None, owns_terminal: bool = True
    ) -> None:
        self.is_quiet, self._total = is_quiet, n_rows
        self._line = LiveLine()
        self._is_live = self._line.is_shown and owns_terminal and not is_quiet
        self._start = self._printed_at = time.monotonic()
        self._has_header = False  # whether the header of the table has been printed
        self._n_printed = 0  # the number of rows when figures were last printed
        self._printed: set[str | None] = set()  # the texts and codes of notices

    @property
    def elapsed_seconds(self) -> float:
        """The number of seconds since the start."""
        return time.monotonic() - self._start

    def has_printed(self, text: str | None) -> bool:
        """Whether a text, or a notice or event with this code, has been printed."""
        return text in self._printed

    def print_notice(self, text: str, row: int) -> None:
        """Print a notice or a warning, unless it was printed before."""
        if self.has_printed(text):
            return
        notice = text if isinstance(text, Notice) else Notice(text)
        kind = "warning" if notice.is_warning else "notice"
        self.print_event(kind, notice, notice.remedies, row=row)
        self.mark_printed(notice.code)

    def mark_printed(self, code: str | None) -> None:
        """Treat the notice, event or finding with this code as printed."""
        self._printed.add(code)

    def print_event(
        self, kind: str, text: str, remedies: Sequence[str] = (), **figures: object
    ) -> None:
        """Print an event; the figures are printed only as JSON."""
        if not self.is_quiet or kind in _UNSILENCED_KINDS:
            self._printed.add(text)
            self._line.clear()
            print_message(text, remedies, kind, **figures)

    def is_table_row_overdue(self, n_rows_read: int) -> bool:
        """Whether rows were read, but no figures printed, for a minute."""
        is_late = time.monotonic() >= self._printed_at + _MAX_SILENCE
        return is_late and n_rows_read != self._n_printed

    def print_row(self, progress: Progress, n_rows_read: int) -> None:
        """Print a row of figures of a run that has read this number of rows, if it is not 0."""
        has_figures = progress.samples or progress.unlabeled
        if self.is_quiet or n_rows_read == self._n_printed or not has_figures:
            return
        self._n_printed, self._printed_at = n_rows_read, time.monotonic()
        self._line.clear()
        click.echo(self._format_row(progress, n_rows_read), err=True)

    def print_record(self, n_rows: int, **figures: object) -> None:
        """Print figures as JSON."""
        self._n_printed, self._printed_at = n_rows, time.monotonic()
        print_json({"kind": "progress", **figures}, err=True)

    def redraw(self, progress: Progress, n_rows: int) -> None:
        """Redraw the live line, if it is time."""
        if self._is_live and self._line.is_due():
            row = self._format_row(progress, n_rows)
            self._line.show(row + self._format_bar(self._line.width - len(row), n_rows))

    def show(self, text: str) -> None:
        """Show a text as the live line, if it is time."""
        if self._is_live and self._line.is_due():
            self._line.show(text)

    def clear(self) -> None:
        """Erase the live line."""
        self._line.clear()

    def _format_row(self, progress: Progress, n_rows: int) -> str:
        """Return a line of figures, and print a header before the first."""
        rate = n_rows / max(self.elapsed_seconds, 1e-9)
        if not progress.samples:
            n = format_count(progress.unlabeled, "row")
            return f"{n} predicted, none labeled ({rate:,.0f} rows/s)"
        accuracy, window = "untested", ""  # before a class is known
        if len(progress.recent_outcomes):
            accuracy = "-" if progress.accuracy is None else f"{progress.accuracy:.2%}"
            window = f"{progress.window_accuracy:.2%}"
        if not self._has_header:
            self._has_header = True
            self._line.clear()
            click.echo(self._align(_COLUMNS), err=True)
        return self._align([f"{progress.samples:,}", accuracy, window, f"{rate:,.0f}"])

    def _align(self, cells: Iterable[str]) -> str:
        """Return a line with as many cells as fit, aligned with their columns."""
        row = ""
        for width, cell in zip(_COLUMNS.values(), cells, strict=True):
            extended = f"{row}{_GAP if row else ''}{cell:>{width}}"
            if row and self._is_live and len(extended) > self._line.width:
                break
            row = extended
        return row[-self._line.width :] if self._is_live else row

    def _format_bar(self, max_width: int, n_rows: int) -> str:
        """Return a bar with the time left, or "" if the number of rows is unknown."""
        if not self._total:
            return ""
        minutes, seconds = divmod(
            int(self.elapsed_seconds * max(0, self._total - n_rows) / max(n_rows, 1)), 60
        )
        hours = f"{minutes // 60}:{minutes % 60:02}" if minutes >= 60 else f"{minutes}"
        time_left = f", {hours}:{seconds:02} left"
        share = min(1.0, n_rows / self._total)
        bar = format_progress_bar(share, time_left, max_width - len(_GAP))
        return bar and _GAP + bar
