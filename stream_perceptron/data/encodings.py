"""Encode the contents of columns as features: values, dates and words."""

from __future__ import annotations

from typing import Any

from stream_perceptron.data.naming import format_option_value, suggest_options
from stream_perceptron.data.notices import advise_on_likely_null
from stream_perceptron.data.schema import Encoding, ReadOptions
from stream_perceptron.encoders import (
    encode_date,
    encode_words,
    format_value,
    is_missing,
    join_texts,
)
from stream_perceptron.errors import SampleError


def encode_content(
    encoding: Encoding, content: object, options: ReadOptions, is_text: bool
) -> dict[str, float] | None:
    """Return the features for the content of a cell; None if it is missing.

    Parameters
    ----------
    encoding
        The option and the column.
    content
        A string, number, bool, date or null, or a list of these.
    options
        The read options, of which the null values and the decimal separator are used.
    is_text
        Whether numbers are written as strings, so that 200.0 and 200 are the same value.

    Raises
    ------
    SampleError
        If the content includes an object or a nested list, or is not a date where one is expected.

    Examples
    --------
    >>> options = ReadOptions(missing=("NA",))
    >>> status = Encoding("one_hot", "status")
    >>> [encode_content(status, text, options, is_text=True) for text in ("200.0", " ok", "NA")]
    [{'status_200': 1.0}, {'status_ok': 1.0}, None]
    >>> encode_content(Encoding("words", "tags"), ["new", "very new", None], options, is_text=False)
    {'tags=new': 1.0, 'tags=very': 1.0}

    """
    option, column = encoding
    if type(content) is not str:
        return _encode_non_text(encoding, content, options)
    text: str = options.convert_decimal_comma(content, is_text)
    if text.strip() in options.null_values:
        return None
    if option == "words":
        return encode_words(column, text)
    if option == "dates":
        return _encode_date(column, text)
    return {f"{column}_{format_value(text, is_text)}": 1.0}


def _encode_non_text(
    encoding: Encoding, content: Any, options: ReadOptions
) -> dict[str, float] | None:
    """Return the features for a number, bool, date, null or list."""
    option, column = encoding
    if is_missing(content):
        return None
    if option == "dates":
        return _encode_date(column, content)
    if option == "words":
        return encode_words(column, join_texts(column, content, options.null_values))
    features = {}
    for value in content if isinstance(content, list) else [content]:
        if isinstance(value, list | dict):
            raise SampleError(f"{column!r} is not a string, a number or a bool")
        if not is_missing(value, options.null_values):
            features[f"{column}_{format_value(value, is_text=False)}"] = 1.0
    return features


def _encode_date(column: str, value: Any) -> dict[str, float]:
    """Return the features of a date, a datetime, or a string in ISO 8601 format."""
    text = str(value)
    try:
        return encode_date(column, text if isinstance(value, int | float | list | dict) else value)
    except ValueError as error:
        options = {"to leave out the column instead": f"--ignore {format_option_value([column])}"}
        hint = advise_on_likely_null(text) or f"; {suggest_options(options)}"
        raise SampleError(f"{column!r}: {error}{hint}") from None
