"""The progress of a run, on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from .live_line import LiveLine, bar_with
from .printable import counted, tell

if TYPE_CHECKING:
    from stream_perceptron.live.model import LiveModel

# The widths of the columns of a row; a narrow terminal shows only the first ones.
_COLUMNS = {
    "samples": 10,
    "accuracy": 8,
    "last 1,000": 10,
    "training": 8,
    "AUC": 6,
    "mean error": 10,
    "updated": 7,
    "samples/s": 9,
}
_GAP = "  "
_WIDE = 84  # columns of a terminal that shows the AUC beside the time left
UNTESTED = "untested"  # instead of accuracy, before a class is known
_LOUD = ("warning", "drop", "further_drop")  # events that --quiet prints too


class ProgressLine:
    """Progress on stderr: a row, as text or JSON, whenever the rows read have doubled.

    On a terminal a live line follows, unless predictions go to that terminal (`is_alone=False`).
    """

    def __init__(
        self,
        live: LiveModel,
        as_json: bool = False,
        quiet: bool = False,
        total: int | None = None,
        is_alone: bool = True,
    ) -> None:
        self._live = live
        self._as_json, self.is_quiet = as_json, quiet
        self._total = total
        self._line = LiveLine()
        self._is_live = not (as_json or quiet) and self._line.is_shown and is_alone
        self._start = time.perf_counter()
        self._rows_before = live.ledger.rows
        self._next = 1000
        self._header: tuple[str, ...] = ()  # the columns of the last printed header
        self._printed = -1  # the rows read when the last row was printed
        self._told: set[str] = set()

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.perf_counter() - self._start

    @property
    def rows(self) -> int:
        """The rows read since the start."""
        return self._live.ledger.rows - self._rows_before

    def note(self, text: str) -> None:
        """Print a note or a warning once."""
        if text not in self._told:
            self.event("warning" if getattr(text, "is_warning", False) else "note", text)

    def event(self, kind: str, text: str, row: int | None = None, **figures: Any) -> None:
        """Print an event: its text, or as JSON its text, figures and number of rows read."""
        if self.is_quiet and kind not in _LOUD:
            return
        self._told.add(text)
        self._line.clear()
        if self._as_json:
            read = self._live.ledger.rows if row is None else row
            told = {"kind": kind, "row": read, "text": text, **figures}
            click.echo(json.dumps(told, default=str), err=True)
        else:
            tell(text, err=True)

    def has_warned(self, name: str) -> bool:
        """Whether a warning of this name was printed."""
        return any(text.startswith(f"warning: {name}:") for text in self._told)

    def show(self, lines: Iterable[str]) -> None:
        """Print lines even with --quiet and --json."""
        self._line.clear()
        self._line.postpone()
        self._header = ()  # the next row needs one below these lines
        for line in lines:
            tell(line, err=True)

    def update(self) -> None:
        """Print a row or redraw the live line, if due."""
        if not self.is_quiet and self.rows >= self._next:
            while self.rows >= self._next:
                self._next *= 2
            self._print_row()
        if self._is_live and self._line.is_due():
            self._draw()

    def finish(self) -> None:
        """Print the last row."""
        self._line.clear()
        if self._as_json or self.is_quiet or not self._live.progress.rows:
            return
        if self._live.progress.samples:
            self._print_row()
        elif self._live.progress.unlabelled:
            click.echo(self._unlabelled(), err=True)

    def _draw(self) -> None:
        """Redraw the live line."""
        row = self._row() if self._live.progress.samples else self._unlabelled()
        self._line.show(row + self._bar(self._line.width - len(row)))

    def _print_row(self) -> None:
        if self._as_json:
            told = {"kind": "progress", "row": self._live.ledger.rows, **self.figures()}
            click.echo(json.dumps(told), err=True)
        elif self._live.progress.samples and self._printed != self.rows:
            self._printed = self.rows
            self._line.clear()
            click.echo(self._row(), err=True)

    def figures(self) -> dict[str, Any]:
        """Return the figures of the run."""
        progress = self._live.progress
        return {
            "samples": progress.samples,
            "accuracy": progress.accuracy,
            "window_accuracy": progress.window_accuracy,
            "training_accuracy": progress.training_accuracy,
            "roc_auc": self._live.recent_auc,
            "mean_error": progress.mean_error,
            "updates": progress.updates,
            "unlabelled": progress.unlabelled,
            "skipped": progress.skipped,
            **waiting_of(self._live),
            "seconds": round(self.seconds, 3),
        }

    def _row(self) -> str:
        """Return a row, and print a header above it if its columns are other ones."""
        progress = self._live.progress
        cells = {"samples": f"{progress.samples:,}"}
        if progress.progressive.tested:
            cells["accuracy"] = f"{progress.accuracy:.2%}"
            cells["last 1,000"] = f"{progress.window_accuracy:.2%}"
        elif progress.training_accuracy is None:
            cells |= {"accuracy": UNTESTED, "last 1,000": ""}
        if progress.training_accuracy is not None:
            cells["training"] = f"{progress.training_accuracy:.2%}"
        auc, error = self._live.recent_auc, progress.mean_error
        cells |= {
            "AUC": "" if auc is None else f"{auc:.4f}",
            "mean error": f"{error:{'.4f' if error < 1000 else '.2g'}}",
            "updated": f"{progress.updated_share:.1%}",
            "samples/s": f"{self._rate():,.0f}",
        }
        if self._is_live and self._line.width < _WIDE:
            del cells["AUC"]
        columns = tuple(cells)
        if columns != self._header:
            self._header = columns
            self._line.clear()
            click.echo(self._align(dict(zip(columns, columns, strict=True))), err=True)
        return self._align(cells)

    def _unlabelled(self) -> str:
        n = counted(self._live.progress.unlabelled, "row")
        return f"{n} predicted, none labelled ({self._rate():,.0f} rows/s)"

    def _rate(self) -> float:
        return self.rows / max(self.seconds, 1e-9)

    def _align(self, cells: dict[str, str]) -> str:
        """Return cells aligned to their columns, as many as fit."""
        row = ""
        for column, cell in cells.items():
            longer = f"{row}{_GAP if row else ''}{cell:>{_COLUMNS[column]}}"
            if row and self._is_live and len(longer) > self._line.width:
                break
            row = longer
        return row[-self._line.width :] if self._is_live else row

    def _bar(self, room: int) -> str:
        """Return a bar with the time left, or "" if the number of rows is unknown."""
        if not self._total:
            return ""
        read = self._live.cursor.read
        rows_left = max(0, self._total - read)
        left = int(self.seconds * rows_left / max(self.rows, 1))
        minutes = f"{left // 60}" if left < 3600 else f"{left // 3600}:{left // 60 % 60:02}"
        time_left = f", {minutes}:{left % 60:02} left"
        shown = bar_with(min(1.0, read / self._total), time_left, room - len(_GAP))
        return shown and _GAP + shown


def waiting_of(live: LiveModel) -> dict[str, int]:
    """Return the numbers of pending and evicted samples; {} without --join."""
    waiting = live.waiting
    if not live.selection.joins:
        return {}
    return {"pending": len(waiting.samples), "evicted": waiting.forgotten}
