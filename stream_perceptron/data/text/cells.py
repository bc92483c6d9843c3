"""Cells of CSV as texts and numbers."""

from __future__ import annotations

import re

from stream_perceptron.data.describe import if_missing
from stream_perceptron.data.text.records import DECIMAL_COMMA, NOT_UTF8, Dialect
from stream_perceptron.data.text.sample import NUMBER
from stream_perceptron.errors import SampleError

_NUMBER = re.compile(f" *{NUMBER} *")
_BOOLS = {"true": 1.0, "false": 0.0}


def cells_in(line: str, dialect: Dialect) -> list[str]:
    """Return the fields of one of the first lines, errors ignored."""
    return dialect.with_points(dialect.fields(line.replace("\r", " ")))


def text_in(record: bytes) -> str:
    """Return a record without its newline; a byte that is not UTF-8 becomes a surrogate."""
    return record.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")


def utf8(cell: str) -> str:
    """Return a text after checking that it was UTF-8."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise SampleError(NOT_UTF8) from None
    return cell


def looks_numeric(cell: str) -> bool:
    """Whether float() accepts a cell, so that its column is not of texts."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_value(cell: str) -> bool:
    return looks_numeric(cell) or cell.strip().lower() in _BOOLS


def number_in(name: str, cell: str) -> float:
    """Return a cell as a number, true and false as 1 and 0."""
    if _NUMBER.fullmatch(cell):
        return float(cell)
    if (number := _BOOLS.get(cell.strip().lower())) is not None:
        return number
    hint = if_missing(cell)
    if DECIMAL_COMMA.fullmatch(cell):
        hint = "; if that is a decimal comma: --decimal ,"
    raise SampleError(f"column {name!r} is {cell[:50]!r}, not a number{hint}")
