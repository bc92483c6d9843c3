"""A line on stderr that is redrawn in place."""

from __future__ import annotations

import os
import sys
import time

import click

_BAR_WIDTH = 20  # characters, if there is room
_MIN_BAR_WIDTH = 4  # characters
_REDRAW_INTERVAL = 0.1  # seconds
_ERASE = "\r\x1b[K"


def _format_bar(share: float, width: int = _BAR_WIDTH) -> str:
    """Return a bar for a share from 0 to 1, with the percentage."""
    return f"[{'#' * round(width * share):<{width}}] {share:>4.0%}"


def format_progress_bar(share: float, text: str, max_width: int) -> str:
    """Return a bar and a string in up to `max_width` characters; shrink or omit the bar to fit."""
    width = min(_BAR_WIDTH, max_width - len(_format_bar(share, 0)) - len(text))
    if width >= _MIN_BAR_WIDTH:
        return _format_bar(share, width) + text
    return next(
        (
            candidate
            for candidate in (f"{share:.0%}{text}", f"{share:.0%}")
            if len(candidate) <= max_width
        ),
        "",
    )


def get_stderr_width() -> int:
    """Return the width of the terminal."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


class LiveLine:
    """A terminal line that is redrawn at most ten times a second."""

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty()
        self._next_redraw = 0.0
        self._is_drawn = False

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    @property
    def width(self) -> int:
        """The number of characters in a line; the last column is left for the cursor."""
        return get_stderr_width() - 1

    def is_due(self) -> bool:
        """Whether it is time to redraw."""
        return self.is_shown and time.monotonic() >= self._next_redraw

    def postpone(self) -> None:
        """Postpone the next redraw by a full interval."""
        self._next_redraw = time.monotonic() + _REDRAW_INTERVAL

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
