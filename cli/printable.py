"""Text that does nothing to a terminal."""

from __future__ import annotations

import re

import click

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(line: str) -> str:
    r"""Return a line with its control characters escaped, as names may hold some.

    Examples
    --------
    >>> printable("a\x1b[2J")
    'a\\x1b[2J'

    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), line)


def tell(line: str, err: bool = False) -> None:
    """Print a line that names something."""
    click.echo(printable(line), err=err)
