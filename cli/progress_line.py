"""What a run tells while it goes on, on stderr."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from .bar import bar
from .printable import tell

if TYPE_CHECKING:
    from stream_perceptron.live.model import LiveModel

_HEADER = "    samples  accuracy  last 1,000  mean eps  updated  samples/s"
_REDRAW = 0.1  # seconds


class ProgressLine:
    """Progress on stderr.

    A line that is redrawn on a terminal; elsewhere a row whenever the samples have doubled, as text
    or as JSON.
    """

    def __init__(
        self, live: LiveModel, style: str, total: int | None = None, read: int = 0
    ) -> None:
        self._live = live
        self._style = style
        self._total = total
        self._redraws = style == "text" and sys.stderr.isatty()
        self._start = time.perf_counter()
        self._rows_before = live.progress.rows
        self._read_before = read
        self._next = 1000 if not self._redraws else 0.0
        self._has_header = False
        self._told: set[str] = set()

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.perf_counter() - self._start

    @property
    def rows(self) -> int:
        """The rows read since the start."""
        return self._live.progress.rows - self._rows_before

    def note(self, text: str) -> None:
        """Tell something once."""
        if text in self._told or (self._style == "quiet" and not text.startswith("warning")):
            return
        self._told.add(text)
        self._clear()
        tell(json.dumps({"note": text}) if self._style == "json" else text, err=True)

    def show(self, text: str) -> None:
        """Show something that was asked for, whatever the style."""
        self._clear()
        click.echo(text, err=True)

    def update(self) -> None:
        """Tell how it is going, if it is time to."""
        if self._style == "quiet":
            return
        if self._redraws:
            if self.seconds >= self._next:
                self._next = self.seconds + _REDRAW
                self._head()
                click.echo(f"\r{self._row()}{self._bar()}", nl=False, err=True)
            return
        rows = self._live.progress.rows - self._rows_before
        if rows >= self._next:
            while rows >= self._next:
                self._next *= 2
            self._print_row()

    def finish(self) -> None:
        """Tell how it ended."""
        if self._style == "text" and self._live.progress.rows:
            self._clear()
            self._print_row()

    def _print_row(self) -> None:
        if self._style == "json":
            click.echo(json.dumps(self.figures()), err=True)
        else:
            self._head()
            click.echo(self._row(), err=True)

    def figures(self) -> dict[str, Any]:
        """Return the state of the run in figures."""
        progress = self._live.progress
        return {
            "samples": progress.samples,
            "accuracy": progress.accuracy,
            "window_accuracy": progress.window_accuracy,
            "mean_epsilon": progress.mean_epsilon,
            "updates": progress.updates,
            "unlabelled": progress.unlabelled,
            "skipped": progress.skipped,
            "seconds": round(self.seconds, 3),
        }

    def _row(self) -> str:
        progress = self._live.progress
        eps = progress.mean_epsilon
        return (
            f"{progress.samples:>11,}  {progress.accuracy:>8.2%}  {progress.window_accuracy:>10.2%}"
            f"  {eps:>8{'.4f' if eps < 1000 else '.2g'}}  {progress.updated_share:>7.1%}"
            f"  {(progress.rows - self._rows_before) / max(self.seconds, 1e-9):>9,.0f}"
        )

    def _bar(self) -> str:
        """Return a bar with the time left, if it is known how many rows there will be."""
        if not self._total:
            return ""
        read = self._live.cursor.read
        share = min(1.0, read / self._total)
        left = self.seconds * (self._total - read) / max(read - self._read_before, 1)
        time_left = f"{int(left) // 60}:{int(left) % 60:02}"
        return f"  {bar(share)}, {time_left:>6} left"

    def _head(self) -> None:
        if not self._has_header:
            click.echo(_HEADER, err=True)
            self._has_header = True

    def _clear(self) -> None:
        if self._redraws and self._has_header:
            click.echo(f"\r{'':>{len(_HEADER) + len(self._bar())}}\r", nl=False, err=True)
