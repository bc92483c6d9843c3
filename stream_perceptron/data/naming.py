"""Find columns by the names that users give, and format names for messages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

LABEL_NAMES = ("label", "class", "target", "y")

# Matches the name of a column that numbers rows or identifies their origin.
_ROW_ID = re.compile(
    r"(?i:id|index|row|.*[_ ]id|unnamed: \d+|__index_level_\d+__|)|.*[a-z0-9]I[dD]"
)

_NEEDS_QUOTES = re.compile(r'^$|[,"\r\n]')
_MAX_NAMES = 5  # the maximum number of names listed in a message


def find_column(requested: str, names: Sequence[str], accepts_position: bool = True) -> str | None:
    """Return the column that a name (ignoring case) or a position (from 1) identifies, or None.

    Examples
    --------
    >>> names = ["Age", " Class", "2"]
    >>> [find_column(requested, names) for requested in ("class", "1", "-1", "2", "0", "x")]
    [' Class', 'Age', '2', '2', None, None]

    """
    if requested in names:
        return requested
    matches = [name for name in names if name.strip().lower() == requested.strip().lower()]
    if len(matches) == 1:
        return matches[0]
    if (
        accepts_position
        and is_column_position(requested)
        and -len(names) <= int(requested) <= len(names)
    ):
        position = int(requested)
        return names[position - 1 if position > 0 else position]
    return None


def is_column_position(text: str) -> bool:
    """Whether a string can be the position of a column, counted from 1, or backward from -1.

    Examples
    --------
    >>> [is_column_position(text) for text in ("1", "-1", "0", "age")]
    [True, True, False, False]

    """
    return re.fullmatch("-?[1-9][0-9]{0,6}", text) is not None


def suggest_similar_name(requested: str, names: Sequence[str]) -> str:
    """Return a hint with the most similar name or path, or an empty string if none is similar.

    Examples
    --------
    >>> [suggest_similar_name(name, ["price", "a.id"]) for name in ("prise", "ID", "target")]
    ["; did you mean 'price'?", "; did you mean 'a.id'?", '']

    """
    from difflib import get_close_matches  # lazy import: only errors need it

    by_lower_case = {name.lower().rpartition(".")[2]: name for name in names}
    by_lower_case |= {name.lower(): name for name in names}
    close = get_close_matches(requested.lower(), by_lower_case, 1, 0.75)
    return f"; did you mean {by_lower_case[close[0]]!r}?" if close else ""


def join_names_with_commas(requested: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Return names that were separated by commas; adjacent ones may be a name that has commas.

    Examples
    --------
    >>> join_names_with_commas(["a", "City", "State"], ["City, State", "a"])
    ('a', 'City, State')

    """
    joined = list(requested)
    for name in columns if len(joined) > 1 else ():
        parts = [part.strip() for part in name.split(",")] if "," in name else []
        for i in range(len(joined)) if parts else ():
            if joined[i : i + len(parts)] == parts:
                joined[i : i + len(parts)] = [name]
    return tuple(joined)


def is_pixel(name: str) -> bool:
    """Whether a column with this name contains a pixel of an image.

    Examples
    --------
    >>> [is_pixel(name) for name in ("pixel0", "pixel783", "pixel_0_0", "age")]
    [True, True, False, False]

    """
    return re.fullmatch("pixel[0-9]+", name) is not None


def looks_like_row_id(name: str) -> bool:
    """Whether a column with this name most likely identifies rows, as a row number does.

    Examples
    --------
    >>> [looks_like_row_id(name) for name in ("id", "ID", "userId", "user_id", "Unnamed: 0", "")]
    [True, True, True, True, True, True]
    >>> looks_like_row_id("humid"), looks_like_row_id("paid")
    (False, False)

    """
    return _ROW_ID.fullmatch(name) is not None


def join_first(parts: Sequence[str], max_shown: int = _MAX_NAMES) -> str:
    """Join the first items of a list for a message, and count the others."""
    more = f" and {len(parts) - max_shown:,} more" if len(parts) > max_shown else ""
    return ", ".join(parts[:max_shown]) + more


def quote_names(names: Sequence[str], max_shown: int = _MAX_NAMES) -> str:
    """Return the first few names in quotes, for a message."""
    return join_first(list(map(repr, names)), max_shown)


def format_names(names: Sequence[str]) -> str:
    """Join names for a message; control characters are escaped, and an empty name is quoted.

    A short list is shown in full. A longer list is abbreviated: a numbered series to its first and
    last names, any other list to its first few names.

    Examples
    --------
    >>> format_names(["a", "b"]), format_names([f"pixel{i}" for i in range(784)])
    ('a, b', 'pixel0 .. pixel783')
    >>> format_names(["b", *(f"a{i}" for i in range(30))])
    'b, a0, a1, a2, a3 and 26 more'

    """
    names = [(name if name.isprintable() else repr(name)[1:-1]) or "''" for name in names]
    if len(names) <= 2 * _MAX_NAMES:
        return ", ".join(names)
    stems = {name.rstrip("0123456789") for name in names}
    if len(stems) == 1 and all(name[-1:].isdigit() for name in names):
        return f"{names[0]} .. {names[-1]}"
    return join_first(names)


def format_option_value(names: Sequence[str]) -> str:
    """Return names as the value of an option, quoted for a shell."""
    return shlex.quote(join_list(names))


def join_list(values: Sequence[object]) -> str:
    """Join values as the value of an option, quoted as in CSV if they are empty or need quotes.

    Examples
    --------
    >>> join_list(["a", "price, USD", 3, ""])
    'a,"price, USD",3,""'

    """
    texts = [str(value) for value in values]
    return ",".join(
        '"{}"'.format(text.replace('"', '""')) if _NEEDS_QUOTES.search(text) else text
        for text in texts
    )
