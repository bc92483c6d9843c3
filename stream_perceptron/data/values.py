"""Recognize numbers and bools in strings."""

from __future__ import annotations

import re

# Matches a number; float() would accept more strings.
NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
DECIMAL_COMMA = re.compile(r" *[+-]?(?:[0-9]+,[0-9]*|,[0-9]+)(?:[eE][+-]?[0-9]+)? *")
NOT_UTF8 = "it is not UTF-8; to convert Latin-1: iconv -f LATIN1 -t UTF-8"

# Matches a number with a currency sign, separators or a unit. Compiled on first use, because few
# columns contain strings.
_FORMATTED_NUMBER = (
    r"[+-]?[$€£¥₹]? ?(?:\d{1,3}(?:[, \u00a0\u202f]\d{3})+|\d+)(?:[.,]\d+)?"
    r" ?(?:[$€£¥₹]|%|[^\W\d_]{1,4})?"
)


def looks_numeric(text: str) -> bool:
    """Whether float() accepts a string, so that its column is not a column of strings."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_formatted_number(text: str) -> bool:
    """Whether a string is a number, possibly with a currency sign, separators or a unit.

    Examples
    --------
    >>> [is_formatted_number(text) for text in ("$1,200", "12 %", "1 234,5 kg", "12 red", "red")]
    [True, True, True, True, False]

    """
    return re.fullmatch(_FORMATTED_NUMBER, text.strip()) is not None


def is_number_or_bool(text: str) -> bool:
    """Whether a string is a number or a bool, so that its column is numeric.

    Examples
    --------
    >>> [is_number_or_bool(text) for text in ("1e3", " True ", "nan", "yes")]
    [True, True, True, False]

    """
    return looks_numeric(text) or text.strip().lower() in ("true", "false")
