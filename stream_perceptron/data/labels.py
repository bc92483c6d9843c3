"""Labels read from columns, text and JSON, all of one type within a run."""

from __future__ import annotations

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


def is_missing(value: Any, is_text: bool) -> bool:
    """Whether a value of the label column is missing: None, NaN or an empty text."""
    return value is None or value != value or (is_text and value == "")
