"""Messages: text whose control characters are escaped, or JSON; and a line redrawn in place."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

import click

# Control characters, characters that change the direction of text, and lone surrogates. Compiled
# when first needed, because compiling takes over a millisecond.
_UNSAFE_CHARACTERS = (
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
# How lines of each kind begin, and the colors of these words.
_PREFIXES = {"error": "Error", "warning": "warning", "drop": "warning", "finding": "diagnosis"}
_COLORS = {"Error": "red", "warning": "yellow", "diagnosis": "yellow"}
_PRINTS_JSON = "stream_perceptron_cli.prints_json"
_MAX_STDOUT_WIDTH = 80  # the maximum width of text on stdout
_BAR_WIDTH = 20  # characters, if there is room
_MIN_BAR_WIDTH = 4  # characters
_REDRAW_INTERVAL = 0.1  # seconds
_ERASE = "\r\x1b[K"


def make_printable(line: str) -> str:
    r"""Escape the characters in a line that would change the display of the text around them.

    Examples
    --------
    >>> make_printable("a\x1b[2J\u202e")
    'a\\x1b[2J\\u202e'

    """
    if line.isprintable():
        return line

    def escape(match: re.Match[str]) -> str:
        return match[0].encode("unicode_escape").decode()

    return re.sub(_UNSAFE_CHARACTERS, escape, line)


def format_count(n: int, noun: str) -> str:
    """Return a number with its noun, in the singular or plural.

    Examples
    --------
    >>> format_count(1, "row"), format_count(2000, "row")
    ('1 row', '2,000 rows')

    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def get_terminal_width() -> int:
    """Return the number of columns of the terminal."""
    from shutil import get_terminal_size  # lazy import: takes two milliseconds

    return get_terminal_size().columns


def get_stdout_width() -> int:
    """Return the width for text on stdout: that of the terminal, but at most 80 columns."""
    return min(_MAX_STDOUT_WIDTH, get_terminal_width())


def _get_stderr_width() -> int:
    """Return the width of the terminal to which stderr is written."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def wrap_text(text: str, columns: int, indent: int = 0, first_prefix: str = "") -> list[str]:
    """Wrap text between words; the first line begins with `first_prefix`; indent the others."""
    from textwrap import wrap  # lazy import: few messages need it

    lines = wrap(
        text, columns, initial_indent=first_prefix, subsequent_indent=" " * indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return lines or [first_prefix.rstrip()]


def set_json_messages(context: click.Context, is_set: bool) -> None:
    """Set whether a command prints its messages as JSON."""
    context.meta[_PRINTS_JSON] = is_set


def prints_json() -> bool:
    """Whether the command prints its messages as JSON."""
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(_PRINTS_JSON, False)


def print_line(text: str) -> None:
    """Print a line of text on stdout."""
    click.echo(make_printable(text))


def print_json(record: object, err: bool = False) -> None:
    """Print a line of JSON; values that JSON lacks become strings."""
    click.echo(json.dumps(record, default=str), err=err)


def print_message(
    text: str, remedies: Sequence[str] = (), kind: str | None = None, **figures: object
) -> None:
    """Print a message on stderr, as JSON if the command does, or else as text without figures.

    Parameters
    ----------
    text
        The message: one line.
    remedies
        Commands and options that solve the problem. In text, they follow on lines of their own,
        which are never wrapped.
    kind
        The kind of message. By default, it is "warning" for a `Notice` that is one, or else
        "notice".
    figures
        Further values of the JSON object.

    """
    kind = kind or ("warning" if getattr(text, "is_warning", False) else "notice")
    if prints_json():
        print_json({"kind": kind, **figures, "text": text, "remedies": remedies}, err=True)
    else:
        _print_text(make_printable(text), remedies, _PREFIXES.get(kind))


def _print_text(line: str, remedies: Sequence[str], prefix: str | None) -> None:
    """Print a line of text on stderr; on a terminal, wrap it, and print its prefix in color."""
    line = f"{prefix}: " * bool(prefix) + line + ":" * bool(remedies)
    if sys.stderr.isatty():
        indent = len(line) - len(line.lstrip())
        line = "\n".join(wrap_text(line, _get_stderr_width(), indent))
    line = "\n".join([line, *(f"  {make_printable(remedy)}" for remedy in remedies)])
    if prefix and not os.environ.get("NO_COLOR"):
        head = f"{prefix}:"
        line = click.style(head, fg=_COLORS[prefix], bold=True) + line[len(head) :]
    click.echo(line, err=True)


class OneLineError(click.ClickException):
    """An error printed on one line, followed by its remedies."""

    def __init__(self, message: str, remedies: Sequence[str] = ()) -> None:
        super().__init__(" ".join(message.split()))
        self._remedies, self._context = remedies, click.get_current_context(silent=True)

    def show(self, file: IO[Any] | None = None) -> None:
        if self._context is None:
            _print_text(make_printable(self.message), self._remedies, _PREFIXES["error"])
            return
        with self._context.scope(cleanup=False):
            print_message(self.message, self._remedies, "error")


class OneLineUsageError(OneLineError):
    """A usage error printed on one line."""

    exit_code = 2


def _format_bar(share: float, width: int = _BAR_WIDTH) -> str:
    """Return a bar for a share from 0 to 1, with the percentage."""
    return f"[{'#' * round(width * share):<{width}}] {share:>4.0%}"


def format_progress_bar(share: float, text: str, max_width: int) -> str:
    """Return a bar and a string in up to `max_width` characters; shrink or omit the bar to fit."""
    width = min(_BAR_WIDTH, max_width - len(_format_bar(share, 0)) - len(text))
    if width >= _MIN_BAR_WIDTH:
        return _format_bar(share, width) + text
    candidates = f"{share:.0%}{text}", f"{share:.0%}"
    return next((each for each in candidates if len(each) <= max_width), "")


class LiveLine:
    """A line on stderr that a terminal redraws at most ten times a second."""

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty() and not prints_json()
        self._next_redraw = 0.0
        self._is_drawn = False

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    @property
    def width(self) -> int:
        """The number of characters in a line; the last column is left for the cursor."""
        return _get_stderr_width() - 1

    def is_due(self) -> bool:
        """Whether it is time to redraw."""
        return self.is_shown and time.monotonic() >= self._next_redraw

    def show(self, text: str) -> None:
        """Redraw the line."""
        self._next_redraw = time.monotonic() + _REDRAW_INTERVAL
        self._is_drawn = True
        click.echo(f"{_ERASE}{text[: self.width]}", nl=False, err=True)

    def clear(self) -> None:
        """Erase the line."""
        if self._is_drawn:
            click.echo(_ERASE, nl=False, err=True)
        self._is_drawn = False
