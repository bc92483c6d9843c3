"""A bar that shows how much is done."""

from __future__ import annotations

import sys
import time

import click

_WIDTH = 20  # characters
_REDRAW = 0.1  # seconds


def bar(share: float) -> str:
    """Return a bar for a share from 0 to 1, with the percentage."""
    return f"[{'#' * round(_WIDTH * share):<{_WIDTH}}] {share:>4.0%}"


class LiveBar:
    """A bar on stderr that is redrawn while something is done, if that is a terminal."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._next = 0.0
        self._width = 0

    def show(self, done: int, total: int) -> None:
        """Draw the bar anew, if it is time to."""
        if self._is_shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + _REDRAW
            text = bar(done / max(total, 1))
            self._width = len(text)
            click.echo(f"\r{text}", nl=False, err=True)

    def clear(self) -> None:
        """Leave nothing of it."""
        if self._width:
            click.echo(f"\r{'':{self._width}}\r", nl=False, err=True)
