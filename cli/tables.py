"""Tables and lists of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .terminal import make_printable, wrap_text

_MIN_NAME_WIDTH = 8  # of a name in a table


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
