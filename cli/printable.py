"""Human-readable output: control characters are escaped, and terminals show colors."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import click

from .live_line import get_stderr_width

# Control characters, characters that change the direction of text, and lone surrogates. Compiled
# when first needed, because compiling takes over a millisecond.
_UNSAFE_CHARACTERS = (
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)

_COLORS = {"Error": "red", "warning": "yellow", "diagnosis": "yellow"}  # of the kinds of lines

_MAX_STDOUT_WIDTH = 80  # the maximum width of text on stdout
_MIN_NAME_WIDTH = 8  # of a name in a table


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


def wrap_text(text: str, columns: int, indent: int = 0, first: str = "") -> list[str]:
    """Wrap text between words; the first line begins with `first`, the others are indented."""
    from textwrap import wrap  # lazy import: few messages need it

    lines = wrap(
        text, columns, initial_indent=first, subsequent_indent=" " * indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return lines or [first.rstrip()]


def format_entry(name: str, text: str, width: int, columns: int, indent: int = 2) -> list[str]:
    """Return a string as lines, with its name on the left, or above if the name is too wide."""
    start, first, lines = indent + width + 2, " " * indent + name, []
    if len(name) > width:
        lines, first = [first], ""
    return lines + wrap_text(text, columns, start, first.ljust(start))


def format_table(rows: Sequence[Sequence[str]], columns: int, indent: int = 0) -> Iterator[str]:
    """Yield the lines of a table: names left-aligned, figures right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = columns - indent - sum(widths[1:]) - 2 * len(widths[1:])
    width = widths[0] if widths[0] <= room else max(_MIN_NAME_WIDTH, room)
    for name, *cells in rows:
        figures = "  ".join(cell.rjust(n) for cell, n in zip(cells, widths[1:], strict=True))
        yield " " * indent + f"{shorten_name(name, width):<{width}}  {figures}"


def shorten_name(name: str, width: int) -> str:
    """Remove the middle of a name that is too wide, because names differ at their ends."""
    if len(name) <= width:
        return name
    n = width - 2
    return f"{name[: (n + 1) // 2]}..{name[len(name) - n // 2 :]}"


def format_class_table(
    classes: Iterable[Iterable[object]], columns: int, indent: int = 0
) -> Iterator[str]:
    """Return the lines of a table of labels with their precision, recall and number of samples."""
    rows = [("class", "precision", "recall", "samples")]
    for label, precision, recall, n in classes:
        rows.append((make_printable(str(label)), f"{precision:.2%}", f"{recall:.2%}", f"{n:,}"))
    return format_table(rows, columns, indent)


def print_message(
    line: str, err: bool = False, remedies: Sequence[str] = (), kind: str | None = None
) -> None:
    """Print a line after its kind, a key of `_COLORS`; notices know whether they are warnings.

    Click omits colors unless the stream is a terminal. On a terminal, lines on stderr are wrapped
    between words. Remedies follow on lines of their own, which are never wrapped.
    """
    kind = kind or ("warning" if getattr(line, "is_warning", False) else None)
    line = f"{kind}: " * bool(kind) + make_printable(line) + ":" * bool(remedies)
    if err and sys.stderr.isatty():
        indent = len(line) - len(line.lstrip())
        line = "\n".join(wrap_text(line, get_stderr_width(), indent))
    line = "\n".join([line, *(f"  {make_printable(remedy)}" for remedy in remedies)])
    if kind and not os.environ.get("NO_COLOR"):
        head = f"{kind}:"
        line = click.style(head, fg=_COLORS[kind], bold=True) + line[len(head) :]
    click.echo(line, err=err)


class OneLineError(click.ClickException):
    """An error printed on one line, followed by its remedies."""

    def __init__(self, message: str, remedies: Sequence[str] = ()) -> None:
        super().__init__(" ".join(message.split()))
        self.remedies = remedies

    def show(self, file: IO[Any] | None = None) -> None:
        print_message(self.message, err=True, remedies=self.remedies, kind="Error")


class OneLineUsageError(OneLineError):
    """A usage error printed on one line."""

    exit_code = 2
