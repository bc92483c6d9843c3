"""Labels read from columns, text and JSON, all of one type within a run."""

from __future__ import annotations

import re

from stream_perceptron.data.values import is_number

# The Python type of each label type, and its name in messages.
LABEL_TYPES = {
    "int": (int, "a whole number"),
    "bool": (bool, "true or false"),
    "str": (str, "a string"),
}

# A number with leading zeros is a code: 007 is not 7.
_WHOLE = re.compile(r"([+-]?(?:0|[1-9][0-9]*))(?:\.0*)?")
_BOOLS = {"true": True, "false": False}


def infer_label_type(value: str | float | bool, is_text: bool) -> str:
    """Infer the type of all labels from the first one: int, bool or str.

    Examples
    --------
    >>> [infer_label_type(text, is_text=True) for text in ("3", "3.0", "007", "A", "True")]
    ['int', 'int', 'str', 'str', 'bool']
    >>> infer_label_type("3", is_text=False), infer_label_type(3.0, is_text=False)
    ('str', 'int')

    """
    if isinstance(value, str):
        if is_text and _WHOLE.fullmatch(value):
            return "int"
        return "bool" if is_text and value.lower() in _BOOLS else "str"
    return "bool" if isinstance(value, bool) else "int"


def convert_label(value: object, label_type: str, is_text: bool) -> object:
    """Convert a value to a label of the given type.

    Examples
    --------
    >>> convert_label("3", "int", is_text=True), convert_label("3", "str", is_text=True)
    (3, '3')
    >>> convert_label("A", "int", is_text=True)
    Traceback (most recent call last):
    ...
    ValueError: 'A' is not a whole number, but the labels are

    """
    python_type, type_name = LABEL_TYPES[label_type]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is python_type:
        return value
    if is_text and isinstance(value, str):
        if label_type == "int" and (match := _WHOLE.fullmatch(value)) and len(match[1]) <= 20:
            return int(match[1])
        if label_type == "bool" and value.lower() in _BOOLS:
            return _BOOLS[value.lower()]
    shown = repr(value) if isinstance(value, str) else str(value)
    is_fraction = is_number(str(value)) and not float(str(value)).is_integer()
    hint = "; to learn a quantity, put it into bins" if label_type == "int" and is_fraction else ""
    raise ValueError(f"{shown[:50]} is not {type_name}, but the labels are{hint}")
