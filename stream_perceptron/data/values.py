"""Recognize numbers and bools in strings."""

from __future__ import annotations

import re

# Matches a number; float() would accept more strings.
NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
DECIMAL_COMMA = re.compile(r" *[+-]?(?:[0-9]+,[0-9]*|,[0-9]+)(?:[eE][+-]?[0-9]+)? *")
NOT_UTF8 = "it is not UTF-8; to convert Latin-1: iconv -f LATIN1 -t UTF-8"

# Matches a number with a currency sign, a percent sign, or separators.
_AMOUNT = r"[+-]?[$€£¥₹]? ?(?:\d{1,3}(?:[., \u00a0\u202f]\d{3})+|\d+)(?:[.,]\d+)? ?[$€£¥₹%]?"


def spells_number(text: str) -> bool:
    """Whether a string spells a decimal number.

    Examples
    --------
    >>> [spells_number(text) for text in ("1e3", " -.5 ", "nan", "2024_01", "True")]
    [True, True, False, False, False]

    """
    return re.fullmatch(NUMBER, text.strip()) is not None


def is_number_or_bool(text: str) -> bool:
    """Whether a string spells a number or a bool."""
    return spells_number(text) or text.strip().lower() in ("true", "false")


def has_currency_or_separators(text: str) -> bool:
    """Whether a string is a number with a currency sign, a percent sign, or separators.

    Examples
    --------
    >>> [has_currency_or_separators(text) for text in ("$1,200", "12 %", "1.234,5", "12", "12 red")]
    [True, True, True, False, False]

    """
    return re.fullmatch(_AMOUNT, text) is not None and not spells_number(text)
