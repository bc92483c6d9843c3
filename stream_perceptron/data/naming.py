"""Find columns by the names that users give, and format names for messages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

LABEL_NAMES = ("label", "class", "target", "y")

_PIXEL_COLUMNS = ("pixels", "pixel", "image")

# Matches the name of a column that numbers rows or identifies their origin.
_ROW_ID = re.compile(r"(?i:id|index|.*[_ ]id|unnamed: \d+|__index_level_\d+__|)|.*[a-z0-9]I[dD]")

_MAX_NAMES = 5  # the maximum number of names listed in a message


def find_column(requested: str, names: Sequence[str]) -> str | None:
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
    if is_position(requested) and -len(names) <= int(requested) <= len(names):
        position = int(requested)
        return names[position - 1 if position > 0 else position]
    return None


def is_position(text: str) -> bool:
    """Whether a string can be the position of a column, counted from 1, or backward from -1.

    Examples
    --------
    >>> [is_position(text) for text in ("1", "-1", "0", "age")]
    [True, True, False, False]

    """
    return re.fullmatch("-?[1-9][0-9]{0,6}", text) is not None


def suggest_similar_name(requested: str, names: Sequence[str]) -> str:
    """Return a hint with the most similar name, or an empty string if none is similar.

    Examples
    --------
    >>> [suggest_similar_name(name, ["price", "rooms"]) for name in ("prise", "target")]
    ["; did you mean 'price'?", '']

    """
    from difflib import get_close_matches  # lazy import: only errors need it

    close = get_close_matches(requested, names, 1, 0.75)
    return f"; did you mean {close[0]!r}?" if close else ""


def name_vector_elements(name: str, n_features: int) -> tuple[str, ...]:
    """Return names for the elements of a vector: pixel0, pixel1, ... or name0, name1, ...

    Examples
    --------
    >>> name_vector_elements("pixels", 2), name_vector_elements("x", 2)
    (('pixel0', 'pixel1'), ('x0', 'x1'))

    """
    stem = "pixel" if is_pixel_column(name) else name
    return tuple(f"{stem}{i}" for i in range(n_features))


def is_pixel_column(name: str | None) -> bool:
    """Whether a column with this name contains the pixels of an image as a list.

    Examples
    --------
    >>> [is_pixel_column(name) for name in ("pixels", "image", "x")]
    [True, True, False]

    """
    return name in _PIXEL_COLUMNS


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


def suggest_options(options: Mapping[str, str]) -> str:
    """Return the end of a message: the purposes of options, then each option on its own line.

    Each line can be appended to a command in a shell.

    Examples
    --------
    >>> print(suggest_options({"to encode it": "--one-hot tags"}))
    to encode it:
      --one-hot tags

    """
    return f"{', or '.join(options)}:" + "".join(f"\n  {line}" for line in options.values())


def insert_before_options(message: str, sentence: str) -> str:
    """Add a sentence to a message, before any options that the message suggests.

    Examples
    --------
    >>> print(insert_before_options("row 2 is bad; to encode it:\\n  --one-hot tags", "skip it"))
    row 2 is bad; skip it; to encode it:
      --one-hot tags

    """
    text, newline, options = message.partition("\n")
    if not newline:
        return f"{text}; {sentence}"
    text, _, purposes = text.rpartition("; to ")
    return f"{text}; {sentence}; to {purposes}\n{options}"


def format_names(names: Sequence[str]) -> str:
    """Join names for a message; control characters are escaped.

    A short list is shown in full. A longer list is abbreviated: a numbered series to its first and
    last names, any other list to its first few names.

    Examples
    --------
    >>> format_names(["a", "b"]), format_names([f"pixel{i}" for i in range(784)])
    ('a, b', 'pixel0 .. pixel783')
    >>> format_names(["b", *(f"a{i}" for i in range(30))])
    'b, a0, a1, a2, a3 and 26 more'

    """
    names = [name if name.isprintable() else repr(name)[1:-1] for name in names]
    if len(names) <= 2 * _MAX_NAMES:
        return ", ".join(names)
    stems = {name.rstrip("0123456789") for name in names}
    if len(stems) == 1 and all(name[-1:].isdigit() for name in names):
        return f"{names[0]} .. {names[-1]}"
    return join_first(names)


def format_option_value(names: Sequence[str]) -> str:
    """Return names as the value of an option, quoted for a shell."""
    # An unnamed column is given by its position; an unnamed index is the first column.
    return shlex.quote(",".join(name or "1" for name in names))
