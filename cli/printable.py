"""Printing for people: without control characters, and with colour on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import click

from .live_line import columns_of_stderr

# Control characters, characters that change the direction of text, and lone surrogates.
_HARMFUL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)

# The colour of a line's first word.
_COLOURS = {"Error": "red", "warning": "yellow", "diagnosis": "yellow", "hint": "cyan"}

_COLUMNS = 80  # the usual width of stdout
_LEAST_INDENT = 4  # of a line that begins with a long word

# A word with the figure after it.
_WORDS = r" *[^ ]+(?: [(+-]\d[^ ]*)?"


def printable(line: str) -> str:
    r"""Escape the characters of a line that would change the text around them.

    Examples
    --------
    >>> printable("a\x1b[2J\u202e")
    'a\\x1b[2J\\u202e'

    """
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), line)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')

    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def width_of(text: str) -> int:
    """Return the number of terminal columns of a text."""
    if text.isascii():
        return len(text)
    marks = sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def columns_of_stdout() -> int:
    """Return the width of stdout, or the usual one if it is no terminal."""
    return min(_COLUMNS, shutil.get_terminal_size().columns)


def wrapped(text: str, columns: int, indent: int = 0, first: str = "") -> list[str]:
    """Break a text between words; the first line begins with `first`.

    No word is cut. Other lines are indented, less if they begin with a long word.
    """
    line, lines = first, []
    for words in re.findall(_WORDS, text):
        for word in [words] if width_of(words) <= columns else re.findall(" *[^ ]+", words):
            if width_of(line + word) > columns:
                if line.strip():
                    lines.append(line.rstrip())
                word = word.lstrip()
                room = max(0, columns - width_of(word))
                line = " " * (indent if indent <= room else min(room, _LEAST_INDENT))
            line += word
    return [*lines, line.rstrip()]


def beside(name: str, text: str, width: int, columns: int, indent: int = 2) -> list[str]:
    """Return the lines of a text with its name on the left, or above it if the name is wider."""
    start = indent + width + 2
    *lines, last = wrapped(name, columns, indent + 2, " " * indent)
    if lines or width_of(last) > start - 2:
        lines, last = [*lines, last], ""
    return lines + wrapped(text, columns, start, last + " " * (start - width_of(last)))


def table(rows: Sequence[Sequence[str]], columns: int, indent: int = 0) -> Iterator[str]:
    """Yield the lines of a table: names aligned left, figures aligned right."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    width = max(1, min(widths[0], columns - indent - sum(widths[1:]) - 2 * len(widths[1:])))
    for name, *cells in rows:
        sized = zip(cells, widths[1:], strict=True)
        figures = "  ".join(" " * (n - width_of(cell)) + cell for cell, n in sized)
        yield from beside(name, figures, width, columns, indent)


def class_table(classes: Iterable[Iterable[Any]], columns: int, indent: int = 0) -> Iterator[str]:
    """Return the lines of a table of labels with precision, recall and number of samples."""
    rows = [("class", "precision", "recall", "samples")]
    for label, precision, recall, n in classes:
        rows.append((printable(str(label)), f"{precision:.2%}", f"{recall:.2%}", f"{n:,}"))
    return table(rows, columns, indent)


def tell(line: str, err: bool = False) -> None:
    """Print a line; colour its first word if it is a warning or the like.

    Click omits colours where stdout or stderr is no terminal. On one, messages break between words.
    """
    line = printable(line)
    if err and sys.stderr.isatty():
        indent = len(line) - len(line.lstrip())
        line = "\n".join(wrapped(line, columns_of_stderr(), indent))
    kind, colon, rest = line.partition(":")
    if colon and kind in _COLOURS and not os.environ.get("NO_COLOR"):
        line = click.style(f"{kind}:", fg=_COLOURS[kind], bold=True) + rest
    click.echo(line, err=err)


class OneLineError(click.ClickException):
    """An error printed on one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    def show(self, file: IO[Any] | None = None) -> None:
        tell(f"Error: {self.message}", err=True)


class OneLineUsageError(OneLineError):
    """A usage error printed on one line."""

    exit_code = 2
