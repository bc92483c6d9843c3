"""What is printed for people: without control characters, and with colour on a terminal."""

from __future__ import annotations

import os
import re
import sys
from typing import IO, Any

import click

from .live_line import columns_of_stderr

# Control characters, those that turn the direction of text, and halves of characters.
_HARMFUL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)

# The colour of a line's first word.
_COLOURS = {"Error": "red", "warning": "yellow", "diagnosis": "yellow", "hint": "cyan"}


def printable(line: str) -> str:
    r"""Return a line with the characters escaped that would change what is around it.

    Examples
    --------
    >>> printable("a\x1b[2J\u202e")
    'a\\x1b[2J\\u202e'

    """
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), line)


def counted(n: int, noun: str) -> str:
    """Return how many there are of something.

    Examples
    --------
    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')

    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def tell(line: str, err: bool = False) -> None:
    """Print a line, with its first word in colour if it is a warning or the like.

    Click leaves colours out where no terminal reads them. Messages on a terminal break between
    words.
    """
    line = printable(line)
    if err and sys.stderr.isatty():
        import textwrap

        width = columns_of_stderr()
        line = textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
    kind, colon, rest = line.partition(":")
    if colon and kind in _COLOURS and not os.environ.get("NO_COLOR"):
        line = click.style(f"{kind}:", fg=_COLOURS[kind], bold=True) + rest
    click.echo(line, err=err)


class OneLineError(click.ClickException):
    """An error that is told in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    def show(self, file: IO[Any] | None = None) -> None:
        tell(f"Error: {self.message}", err=True)


class OneLineUsageError(OneLineError):
    """The same of an error in how the command was called."""

    exit_code = 2
