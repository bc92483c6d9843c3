"""A line on stderr that is redrawn in place."""

from __future__ import annotations

import os
import sys
import time

import click

_WIDTH = 20  # characters of a whole bar
_LEAST = 4  # characters of the shortest bar
_REDRAW = 0.1  # seconds
_ERASE = "\r\x1b[K"


def _bar(share: float, width: int = _WIDTH) -> str:
    """Return a bar for a share from 0 to 1, with the percentage."""
    return f"[{'#' * round(width * share):<{width}}] {share:>4.0%}"


def bar_with(share: float, text: str, room: int) -> str:
    """Return a bar and a text that fit into `room`: the bar shrinks, then is left out."""
    width = min(_WIDTH, room - len(_bar(share, 0)) - len(text))
    if width >= _LEAST:
        return _bar(share, width) + text
    return next((each for each in (f"{share:.0%}{text}", f"{share:.0%}") if len(each) <= room), "")


def columns_of_stderr() -> int:
    """Return the width of the terminal."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


class LiveLine:
    """A line on a terminal that is redrawn at most ten times a second."""

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty()
        self._next = 0.0
        self._is_drawn = False

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    @property
    def width(self) -> int:
        """The characters in a line; the last column stays free, or the cursor would wrap."""
        return columns_of_stderr() - 1

    def is_due(self) -> bool:
        """Return whether it is time to redraw."""
        return self.is_shown and time.monotonic() >= self._next

    def postpone(self) -> None:
        """Wait a full interval before the next redraw."""
        self._next = time.monotonic() + _REDRAW

    def show(self, text: str) -> None:
        """Redraw the line."""
        self.postpone()
        self._is_drawn = True
        click.echo(f"{_ERASE}{text[: self.width]}", nl=False, err=True)

    def clear(self) -> None:
        """Erase the line."""
        if self._is_drawn:
            click.echo(_ERASE, nl=False, err=True)
        self._is_drawn = False
