"""The progress of a run, on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from .live_line import LiveLine, format_progress_bar
from .printable import format_count, print_message

if TYPE_CHECKING:
    from stream_perceptron.live.model import LiveModel

# The columns of a printed row and their widths; a narrow terminal shows only the first few.
_COLUMNS = {
    "samples": 10,
    "accuracy": 8,
    "last 1,000": 10,
    "mean error": 10,
    "updated": 7,
    "samples/s": 9,
}
_GAP = "  "
UNTESTED = "untested"  # printed instead of the accuracy before a class is known
_UNSILENCED_KINDS = ("warning", "drop")  # kinds of events that are printed even with --quiet


class ProgressLine:
    """Prints progress on stderr: figures, as text or JSON, each time the row count doubles.

    On a terminal, a live line follows, unless predictions go there (`owns_terminal=False`).
    """

    def __init__(
        self,
        live: LiveModel,
        as_json: bool = False,
        quiet: bool = False,
        total: int | None = None,
        owns_terminal: bool = True,
    ) -> None:
        self._live = live
        self._as_json, self.is_quiet = as_json, quiet
        self._total = total
        self._line = LiveLine()
        self._is_live = not (as_json or quiet) and self._line.is_shown and owns_terminal
        self._start = time.perf_counter()
        self._rows_before = live.progress.rows
        self._header: tuple[str, ...] = ()  # the columns of the last printed header
        self._last_printed_row = -1  # the number of rows read when figures were last printed
        self._printed_texts: set[str] = set()
        self.printed_codes: set[str | None] = set()  # the codes of printed notices

    @property
    def seconds(self) -> float:
        """The number of seconds since the start."""
        return time.perf_counter() - self._start

    @property
    def rows(self) -> int:
        """The number of rows read since the start."""
        return self._live.progress.rows - self._rows_before

    def print_notice(self, text: str) -> None:
        """Print a notice or a warning, unless it was printed before."""
        if text not in self._printed_texts:
            self.print_event("warning" if getattr(text, "is_warning", False) else "notice", text)
            self.printed_codes.add(getattr(text, "code", None))

    def print_event(self, kind: str, text: str, row: int | None = None, **figures: object) -> None:
        """Print the text of an event or, with --json, its kind, row, text and figures."""
        if self.is_quiet and kind not in _UNSILENCED_KINDS:
            return
        self._printed_texts.add(text)
        self._line.clear()
        if self._as_json:
            read = self._live.progress.rows if row is None else row
            record = {"kind": kind, "row": read, "text": text, **figures}
            click.echo(json.dumps(record, default=str), err=True)
        else:
            print_message(text, err=True)

    def show(self, lines: Iterable[str]) -> None:
        """Print lines, even with --quiet or --json."""
        self._line.clear()
        self._line.postpone()
        self._header = ()  # print a header again below these lines
        for line in lines:
            print_message(line, err=True)

    def update(self, is_report_due: bool) -> None:
        """Print figures if a report is due, and redraw the live line."""
        if is_report_due and not self.is_quiet:
            self._print_row()
        if self._is_live and self._line.is_due():
            self._draw()

    def finish(self) -> None:
        """Print the final figures."""
        self._line.clear()
        if self._as_json or self.is_quiet or not self._live.progress.rows:
            return
        if self._live.progress.samples:
            self._print_row()
        elif self._live.progress.unlabeled:
            click.echo(self._format_unlabeled(), err=True)

    def _draw(self) -> None:
        """Redraw the live line."""
        row = self._format_row() if self._live.progress.samples else self._format_unlabeled()
        self._line.show(row + self._format_bar(self._line.width - len(row)))

    def _print_row(self) -> None:
        """Print the figures as JSON, or as text if there are samples and new rows."""
        if self._as_json:
            record = {"kind": "progress", "row": self._live.progress.rows, **self.figures()}
            click.echo(json.dumps(record), err=True)
        elif self._live.progress.samples and self._last_printed_row != self.rows:
            self._last_printed_row = self.rows
            self._line.clear()
            click.echo(self._format_row(), err=True)

    def figures(self) -> dict[str, object]:
        """Return the figures of the run."""
        progress = self._live.progress
        return {
            "samples": progress.samples,
            "accuracy": progress.accuracy,
            "window_accuracy": progress.window_accuracy,
            "mean_error": progress.mean_error,
            "updates": progress.updates,
            "unlabeled": progress.unlabeled,
            "skipped": progress.skipped,
            **count_pending(self._live),
            "seconds": round(self.seconds, 3),
        }

    def _format_row(self) -> str:
        """Return a line of figures, and print a header first if the columns have changed."""
        progress = self._live.progress
        cells = {"samples": f"{progress.samples:,}"}
        if len(progress.window):
            accuracy = progress.accuracy
            cells["accuracy"] = "-" if accuracy is None else f"{accuracy:.2%}"
            cells["last 1,000"] = f"{progress.window_accuracy:.2%}"
        else:
            cells |= {"accuracy": UNTESTED, "last 1,000": ""}
        error = progress.mean_error
        cells |= {
            "mean error": f"{error:{'.4f' if error < 1000 else '.2g'}}",
            "updated": f"{progress.updated_share:.1%}",
            "samples/s": f"{self._compute_rate():,.0f}",
        }
        columns = tuple(cells)
        if columns != self._header:
            self._header = columns
            self._line.clear()
            click.echo(self._align(dict(zip(columns, columns, strict=True))), err=True)
        return self._align(cells)

    def _format_unlabeled(self) -> str:
        n = format_count(self._live.progress.unlabeled, "row")
        return f"{n} predicted, none labeled ({self._compute_rate():,.0f} rows/s)"

    def _compute_rate(self) -> float:
        return self.rows / max(self.seconds, 1e-9)

    def _align(self, cells: dict[str, str]) -> str:
        """Return a line with as many cells as fit, aligned with their columns."""
        row = ""
        for column, cell in cells.items():
            extended = f"{row}{_GAP if row else ''}{cell:>{_COLUMNS[column]}}"
            if row and self._is_live and len(extended) > self._line.width:
                break
            row = extended
        return row[-self._line.width :] if self._is_live else row

    def _format_bar(self, max_width: int) -> str:
        """Return a bar with the time left, or "" if the number of rows is unknown."""
        if not self._total:
            return ""
        read = self._live.history.run.read
        rows_left = max(0, self._total - read)
        seconds_left = int(self.seconds * rows_left / max(self.rows, 1))
        minutes = (
            f"{seconds_left // 60}"
            if seconds_left < 3600
            else f"{seconds_left // 3600}:{seconds_left // 60 % 60:02}"
        )
        time_left = f", {minutes}:{seconds_left % 60:02} left"
        bar = format_progress_bar(min(1.0, read / self._total), time_left, max_width - len(_GAP))
        return bar and _GAP + bar


def count_pending(live: LiveModel) -> dict[str, int]:
    """Return the numbers of pending and evicted samples; {} without --join."""
    pending = live.pending
    if not live.read_options.has_join:
        return {}
    return {"pending": len(pending.samples), "evicted": pending.n_evicted}
