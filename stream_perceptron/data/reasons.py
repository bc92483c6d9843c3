"""Why a record or a cell is rejected, in one sentence."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from typing import Any

from stream_perceptron.data.text.records import (
    Dialect,
    iter_paths,
    parse_json_record,
    split_record,
)
from stream_perceptron.data.values import NOT_UTF8, NUMBER
from stream_perceptron.encoders import flatten_list
from stream_perceptron.errors import Reason, SampleError
from stream_perceptron.model.scaler import MAX_STANDARDIZED, describe_out_of_range
from stream_perceptron.model.vocabulary import find_duplicates

_PAIR = re.compile(rf"([^\s:]+):({NUMBER})")
_MAX_SHOWN = 50  # characters of a value

LABEL_DOES_NOT_FIT = Reason("its label does not fit into the model: raise --max-weights")


def explain_csv(record: bytes, dialect: Dialect, n_columns: int) -> Reason:
    """Return why a CSV record is malformed."""
    text = record.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
    try:
        n = len(split_record(text, dialect))
    except SampleError as error:
        return Reason(str(error), error.code)
    if n == n_columns:
        return Reason("it has a quote or a carriage return in the wrong place")
    return Reason(f"it has {n:,} field{'s' * (n != 1)}, not {n_columns:,}", "field_count")


def explain_json(record: bytes, has_columns: bool) -> Reason:
    """Return why a JSON record is malformed."""
    try:
        value = parse_json_record(record)
    except SampleError as error:
        return Reason(str(error), error.code)
    if isinstance(value, list):
        if has_columns:
            return Reason("it is a list, but the model's columns have names: write an object")
        return Reason("it is a list, not an object")
    for duplicate in find_duplicates([path for path, _ in iter_paths(value)])[:1]:
        text = f"it has {str(duplicate)[:_MAX_SHOWN]!r} twice: as a key, and as a path"
        return Reason(text, "duplicate")
    return Reason("it is nested too deeply")


def explain_libsvm(record: bytes) -> Reason:
    """Return why a LIBSVM record is malformed."""
    try:
        tokens = record.decode().partition("#")[0].split()
    except UnicodeDecodeError:
        return Reason(NOT_UTF8)
    pairs = tokens[1:] if tokens and ":" not in tokens[0] else tokens
    for token in pairs:
        if not _PAIR.fullmatch(token):
            text = f"it is not LIBSVM: {token[:_MAX_SHOWN]!r} is not an index:value pair"
            return Reason(text, "invalid_pair")
    for duplicate in find_duplicates([pair.partition(":")[0] for pair in pairs])[:1]:
        return Reason(f"it has feature {str(duplicate)[:_MAX_SHOWN]!r} twice", "duplicate")
    return Reason("it is not LIBSVM")


def describe_large_number(feature: object, number: float, scale: float) -> str:
    """Return why a finite number of a feature is too large."""
    if math.isinf(number * scale):
        return f"feature {feature!r} is {number:g}, too large for --scale {scale:g}"
    return describe_out_of_range(feature, number)


def explain_unusable_list(
    subject: str, values: Any, features: Sequence[str], scale: float, is_standardized: bool
) -> Reason:
    """Return why a list or an array cannot hold features, which are multiplied by a scale."""
    values, n = flatten_list(values) if isinstance(values, list) else values, len(features)
    if len(values) != n:
        text = f"{subject} has {len(values):,} value{'s' * (len(values) != 1)}, not {n:,}"
        return Reason(text, "list_length")
    values = values if isinstance(values, list) else values.tolist()
    for feature, value in zip(features, values, strict=True):
        if isinstance(value, str | list | dict):
            kind = type(value).__name__
            return Reason(
                f"feature {feature!r} is {value!r}, a {kind}: only numbers and bools can be "
                "learned; encode or drop it",
                "not_a_number",
            )
        if value is not None and math.isinf(value):
            text = f"feature {feature!r} is {value}, not finite: clean or drop it"
            return Reason(text, "not_finite")
        max_number = MAX_STANDARDIZED if is_standardized else sys.float_info.max
        if value is not None and abs(value * scale) > max_number:
            return Reason(describe_large_number(feature, value, scale), "too_large")
    return Reason(f"{subject} is nested too deeply")
