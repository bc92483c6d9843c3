"""Names of columns and features: found as users give them, and listed in messages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

LABEL_NAMES = ("label", "class", "target", "y")

_PIXEL_COLUMNS = ("pixels", "pixel", "image")

# Matches the name of a column that numbers rows or identifies their origin.
_ORIGIN = re.compile(r"(?i:id|index|.*[_ ]id|unnamed: \d+|__index_level_\d+__|)|.*[a-z0-9]I[dD]")

_MOST_NAMES = 5  # in one list of a message


def column_called(wanted: str, names: Sequence[str]) -> str | None:
    """Return the column that a user means by name, in any case, or by position from 1; or None.

    Examples
    --------
    >>> names = ["Age", " Class", "2"]
    >>> [column_called(wanted, names) for wanted in ("class", "1", "-1", "2", "0", "x")]
    [' Class', 'Age', '2', '2', None, None]

    """
    if wanted in names:
        return wanted
    alike = [name for name in names if name.strip().lower() == wanted.strip().lower()]
    if len(alike) == 1:
        return alike[0]
    if is_position(wanted) and -len(names) <= int(wanted) <= len(names):
        place = int(wanted)
        return names[place - 1 if place > 0 else place]
    return None


def is_position(text: str) -> bool:
    """Whether a text can be the position of a column, from 1, or from -1 backwards.

    Examples
    --------
    >>> [is_position(text) for text in ("1", "-1", "0", "age")]
    [True, True, False, False]

    """
    return re.fullmatch("-?[1-9][0-9]{0,6}", text) is not None


def meant(wanted: str, names: Sequence[str]) -> str:
    """Return a hint with the most similar name; empty if none is similar.

    Examples
    --------
    >>> meant("prise", ["price", "rooms"]), meant("target", ["price", "rooms"])
    ("; did you mean 'price'?", '')

    """
    from difflib import get_close_matches  # late: only errors need it

    close = get_close_matches(wanted, names, 1, 0.75)
    return f"; did you mean {close[0]!r}?" if close else ""


def vector_names(name: str, n_features: int) -> tuple[str, ...]:
    """Return names for the numbers of a vector: pixel0, pixel1.. or name0, name1...

    Examples
    --------
    >>> vector_names("pixels", 2), vector_names("x", 2)
    (('pixel0', 'pixel1'), ('x0', 'x1'))

    """
    stem = "pixel" if name in _PIXEL_COLUMNS else name
    return tuple(f"{stem}{i}" for i in range(n_features))


def is_pixel(name: str) -> bool:
    """Whether a column with this name is a pixel of a picture.

    Examples
    --------
    >>> [is_pixel(name) for name in ("pixel0", "pixel783", "pixel_0_0", "age")]
    [True, True, False, False]

    """
    return re.fullmatch("pixel[0-9]+", name) is not None


def tells_origin(name: str) -> bool:
    """Whether a column with this name most likely identifies rows, such as a row number.

    Examples
    --------
    >>> [tells_origin(name) for name in ("id", "ID", "userId", "user_id", "Unnamed: 0", "")]
    [True, True, True, True, True, True]
    >>> tells_origin("humid"), tells_origin("paid")
    (False, False)

    """
    return _ORIGIN.fullmatch(name) is not None


def shortened(parts: Sequence[str], most: int = _MOST_NAMES) -> str:
    """Return the first parts of a list for a message, and the number of the others."""
    more = f" and {len(parts) - most:,} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more


def names_in(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    """Return the first few names in quotes, for a message."""
    return shortened(list(map(repr, names)), most)


def listed(names: Sequence[str]) -> str:
    """Return names for a message: all of a few, else the ends of a series or the first ones.

    Examples
    --------
    >>> listed(["a", "b"]), listed([f"pixel{i}" for i in range(784)])
    ('a, b', 'pixel0 .. pixel783')
    >>> listed(["b", *(f"a{i}" for i in range(30))])
    'b, a0, a1, a2, a3 and 26 more'

    """
    if len(names) <= 2 * _MOST_NAMES:
        return ", ".join(names)
    stems = {name.rstrip("0123456789") for name in names}
    if len(stems) == 1 and all(name[-1:].isdigit() for name in names):
        return f"{names[0]} .. {names[-1]}"
    return shortened(names)


def as_option(names: Sequence[str]) -> str:
    """Return names as the value of an option, quoted for a shell."""
    # A column without a name is given by position; an index without a name comes first.
    return shlex.quote(",".join(name or "1" for name in names[:_MOST_NAMES]))
