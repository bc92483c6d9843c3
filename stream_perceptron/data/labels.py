"""Labels read from columns, text and JSON, all of one type within a run."""

from __future__ import annotations

import math
import re
from typing import Any

# By name: the Python type, and its name in messages.
LABEL_TYPES = {
    "int": (int, "a whole number"),
    "bool": (bool, "true or false"),
    "str": (str, "a text"),
}

# A number with leading zeros is a code: 007 is not 7.
_WHOLE = re.compile(r"([+-]?(?:0|[1-9][0-9]*))(?:\.0*)?")
_DECIMAL = re.compile(
    r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?",
)
_BOOLS = {"true": True, "false": False}


def label_type_of(value: str | float | bool, is_text: bool) -> str:
    """Return int, bool or str: the type of labels after this first one.

    Examples
    --------
    >>> [label_type_of(text, is_text=True) for text in ("3", "3.0", "007", "A", "True")]
    ['int', 'int', 'str', 'str', 'bool']
    >>> label_type_of("3", is_text=False), label_type_of(3.0, is_text=False)
    ('str', 'int')

    """
    if isinstance(value, str):
        if is_text and _WHOLE.fullmatch(value):
            return "int"
        return "bool" if is_text and value.lower() in _BOOLS else "str"
    return "bool" if isinstance(value, bool) else "int"


def typed_label(value: Any, label_type: str, is_text: bool) -> Any:
    """Return the label for a value, given the type of labels.

    Examples
    --------
    >>> typed_label("3", "int", is_text=True), typed_label("3", "str", is_text=True)
    (3, '3')
    >>> typed_label("A", "int", is_text=True)
    Traceback (most recent call last):
    ...
    ValueError: 'A' is not a whole number, but the labels are

    """
    kind, called = LABEL_TYPES[label_type]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is kind:
        return value
    if is_text and isinstance(value, str):
        if label_type == "int" and (match := _WHOLE.fullmatch(value)) and len(match[1]) < 20:
            return int(match[1])
        if label_type == "bool" and value.lower() in _BOOLS:
            return _BOOLS[value.lower()]
    shown = repr(value) if isinstance(value, str) else str(value)
    hint = ": put a quantity into bins" if isinstance(value, float) else ""
    raise ValueError(f"{shown[:50]} is not {called}, but the labels are{hint}")


def text_of(value: str | float | bool, is_text: bool) -> str:
    """Return the shortest text for a value, to name its feature.

    Examples
    --------
    >>> [text_of(value, is_text=False) for value in (200, 200.0, 0.50, True, "007", "1.0")]
    ['200', '200', '0.5', 'true', '007', '1.0']
    >>> [text_of(value, is_text=True) for value in ("200", " 200.0", ".5", "TRUE", "007", "red")]
    ['200', '200', '0.5', 'true', '007', 'red']

    """
    if isinstance(value, str):
        value = value.strip()
        if not is_text:
            return value
        if value.lower() in _BOOLS:
            return value.lower()
        if not _DECIMAL.fullmatch(value) or not math.isfinite(float(value)):
            return value
        value = int(value) if value.lstrip("+-").isdigit() else float(value)
    if isinstance(value, bool):
        return str(value).lower()
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else value)


def is_missing(value: Any, is_text: bool) -> bool:
    """Whether a value of the label column is missing: None, NaN or an empty text."""
    return value is None or value != value or (is_text and value == "")
