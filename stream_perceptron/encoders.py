"""Encode dates and words as features, for River pipelines and for the rows of sources."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Collection, Hashable, Mapping
from contextlib import suppress

import numpy as np
from river.base import Transformer

from stream_perceptron.errors import SampleError

# Patterns are compiled on first use, because few models encode strings.

# ISO 8601, in ASCII. The time zone is ignored.
_DATE = (
    r"\s*(?P<date>\d{4}(?P<dash>-?)\d\d(?P=dash)\d\d)"
    r"(?:[T ](?P<hour>[01]\d|2[0-3])(?:(?P<colon>:?)[0-5]\d(?:(?P=colon)[0-6]\d(?:[.,]\d+)?)?)?"
    r"\s?(?:Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?)?\s*"
)
_WORD = r"[^\W_]+"
_DECIMAL = r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_BOOLS = ("true", "false")
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_EPOCH = dt.date(2020, 1, 1)
_DAYS_PER_YEAR = 365


def encode_date(column: str, value: dt.date | str) -> dict[str, float]:
    """Return a date's features: one-hot hour, weekday and month, and the time since 1 January 2020.

    The hour is taken as written, whatever the time zone; a date without a time has no hour feature.
    The feature `days` is the number of days since 1 January 2020, divided by 365.

    Raises
    ------
    ValueError
        If a string is not an ISO 8601 date.

    Examples
    --------
    >>> encode_date("at", "2021-01-01T09:30+02:00")
    {'at_hour_9': 1.0, 'at_weekday_friday': 1.0, 'at_month_1': 1.0, 'at_days': 1.0027397260273974}
    >>> encode_date("at", "20200301")
    {'at_weekday_sunday': 1.0, 'at_month_3': 1.0, 'at_days': 0.1643835616438356}

    """
    if isinstance(value, str):
        date, hour = _parse_date(value)
    else:
        date, hour = dt.date(value.year, value.month, value.day), getattr(value, "hour", None)
    features = {} if hour is None else {f"{column}_hour_{hour}": 1.0}
    return features | {
        f"{column}_weekday_{_WEEKDAYS[date.weekday()]}": 1.0,
        f"{column}_month_{date.month}": 1.0,
        f"{column}_days": (date - _EPOCH).days / _DAYS_PER_YEAR,
    }


def is_date(text: str) -> bool:
    """Whether a string is an ISO 8601 date, with or without a time.

    Examples
    --------
    >>> [is_date(text) for text in ("2024-03-05 13:45:10.5Z", "2024-02-30", "5 March 2024")]
    [True, False, False]

    """
    try:
        _parse_date(text)
    except ValueError:
        return False
    return True


def _parse_date(text: str) -> tuple[dt.date, int | None]:
    """Return the date in a string, and its hour, which is None if the string has no time."""
    match = re.fullmatch(_DATE, text, re.ASCII)
    with suppress(ValueError):  # there may be no such day
        if match is not None:
            date = dt.date.fromisoformat(match["date"])
            return date, int(match["hour"]) if match["hour"] else None
    raise ValueError(
        f"{text[:50]!r} is not an ISO 8601 date such as 2024-03-05 or 2024-03-05T13:45"
    )


def encode_words(column: str, text: str) -> dict[str, float]:
    """Return a feature with the value 1.0 for each word that occurs in a string.

    Words are runs of Unicode letters and digits, in lower case.

    Examples
    --------
    >>> encode_words("note", "Late, late refund!")
    {'note=late': 1.0, 'note=refund': 1.0}

    """
    prefix = f"{column}="
    return {prefix + word: 1.0 for word in re.findall(_WORD, text.lower())}


def format_value(value: str | float | bool, is_text: bool) -> str:
    """Return the shortest string that represents a value, for the name of its one-hot feature.

    With `is_text`, a string that spells a bool or a decimal number is formatted like that value.

    Examples
    --------
    >>> [format_value(value, is_text=False) for value in (200, 200.0, 0.50, True, "007", "1.0")]
    ['200', '200', '0.5', 'true', '007', '1.0']
    >>> texts = ("200", " 200.0", ".5", "TRUE", "007", "red")
    >>> [format_value(text, is_text=True) for text in texts]
    ['200', '200', '0.5', 'true', '007', 'red']

    """
    if isinstance(value, str):
        value = value.strip()
        if not is_text:
            return value
        if value.lower() in _BOOLS:
            return value.lower()
        if not re.fullmatch(_DECIMAL, value) or not math.isfinite(float(value)):
            return value
        value = int(value) if value.lstrip("+-").isdigit() else float(value)
    if isinstance(value, bool):
        return str(value).lower()
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else value)


def is_missing(value: object, null_texts: Collection[str] = ("",)) -> bool:
    """Whether a value is None, NaN or pandas.NA, or a string that means a missing value.

    Whitespace around a string is ignored.
    """
    if isinstance(value, str):
        return value.strip() in null_texts
    if value is None or isinstance(value, list | np.ndarray):
        return value is None
    try:
        return bool(value != value)
    except TypeError:  # the truth value of pandas.NA is undefined
        return True


def join_texts(column: str, value: object, null_texts: Collection[str] = ("",)) -> str:
    """Return a value, or the values of a list joined by spaces, as a string of words to encode.

    Raises
    ------
    SampleError
        If the value is an object, or contains an object or a nested list.

    """
    texts = []
    for item in value if isinstance(value, list | tuple | np.ndarray) else [value]:
        scalar = item.item() if isinstance(item, np.generic) else item
        if is_missing(scalar, null_texts):
            continue
        if not isinstance(scalar, str | float | int):
            raise SampleError(f"{column!r} is not a string, a number or a bool")
        texts.append(scalar if isinstance(scalar, str) else format_value(scalar, is_text=False))
    return " ".join(texts)


class _Encoder(Transformer):
    """Base class for transformers that replace the values of columns with features."""

    def __init__(self, *columns: str) -> None:
        self.columns = columns

    def _encode(self, column: str, value: object) -> dict[str, float]:
        """Return the features for a value; raise a SampleError if it cannot be encoded."""
        raise NotImplementedError

    def transform_one(self, x: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Return the features that encode a sample's columns; missing values are skipped."""
        features: dict[Hashable, object] = {}
        for column in self.columns:
            if not is_missing(value := x.get(column)):
                features.update(self._encode(column, value))
        return features


class DateEncoder(_Encoder):
    """Encodes dates, as the option `--dates` does; see `encode_date` for the features.

    Parameters
    ----------
    *columns
        The names of the features that are dates: `datetime.date`, `datetime.datetime`,
        `numpy.datetime64`, or strings in ISO 8601 format. Other features are dropped.

    Examples
    --------
    >>> DateEncoder("at").transform_one({"at": "2020-03-01", "price": 3.0})
    {'at_weekday_sunday': 1.0, 'at_month_3': 1.0, 'at_days': 0.1643835616438356}

    """

    def _encode(self, column: str, value: object) -> dict[str, float]:
        if isinstance(value, np.datetime64):
            # For nanoseconds, which Python's datetime does not support, `item` returns an integer.
            is_date = np.datetime_data(value.dtype)[0] == "D"
            value = value.astype(f"datetime64[{'D' if is_date else 'us'}]").item()
        if not isinstance(value, str | dt.date):
            raise SampleError(f"{column!r} is {str(value)[:50]}, not a string with a date")
        try:
            return encode_date(column, value)
        except ValueError as error:
            raise SampleError(f"{column!r}: {error}") from None


class WordEncoder(_Encoder):
    """Encodes the words of strings, as the option `--words` does; see `encode_words`.

    Parameters
    ----------
    *columns
        The names of the features that are strings, numbers, bools, or lists or arrays of these.
        Other features are dropped.

    Examples
    --------
    >>> WordEncoder("note").transform_one({"note": "Late, late refund!", "price": 3.0})
    {'note=late': 1.0, 'note=refund': 1.0}

    """

    def _encode(self, column: str, value: object) -> dict[str, float]:
        return encode_words(column, join_texts(column, value))
