"""Why a record or a cell is rejected, in one sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from stream_perceptron.data.records import (
    Dialect,
    iter_paths,
    parse_json_record,
    split_record,
)
from stream_perceptron.data.values import NOT_UTF8, NUMBER
from stream_perceptron.encoders import flatten_list
from stream_perceptron.errors import SampleError
from stream_perceptron.model.vocabulary import find_duplicates

_PAIR = re.compile(rf"([^\s:]+):({NUMBER})")
_MAX_SHOWN = 50  # characters of a value

LABEL_DOES_NOT_FIT = "its label does not fit into the model: raise --max-weights"


def explain_csv(record: bytes, dialect: Dialect, n_columns: int) -> str:
    """Return why a CSV record is malformed."""
    text = record.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
    try:
        n = len(split_record(text, dialect))
    except SampleError as error:
        return str(error)
    if n == n_columns:
        return "it has a quote or a carriage return in the wrong place"
    return f"it has {n:,} field{'s' * (n != 1)}, not {n_columns:,}"


def explain_json(record: bytes, has_columns: bool) -> str:
    """Return why a JSON record is malformed."""
    try:
        value = parse_json_record(record)
    except SampleError as error:
        return str(error)
    if isinstance(value, list):
        if has_columns:
            return "it is a list, but the model's columns have names: write an object"
        return "it is a list, not an object"
    for duplicate in find_duplicates([path for path, _ in iter_paths(value)])[:1]:
        return f"it has {str(duplicate)[:_MAX_SHOWN]!r} twice: as a key, and as a path"
    return "it is nested too deeply"


def explain_libsvm(record: bytes) -> str:
    """Return why a LIBSVM record is malformed."""
    try:
        tokens = record.decode().partition("#")[0].split()
    except UnicodeDecodeError:
        return NOT_UTF8
    pairs = tokens[1:] if tokens and ":" not in tokens[0] else tokens
    for token in pairs:
        if not _PAIR.fullmatch(token):
            return f"it is not LIBSVM: {token[:_MAX_SHOWN]!r} is not an index:value pair"
    for duplicate in find_duplicates([pair.partition(":")[0] for pair in pairs])[:1]:
        return f"it has feature {str(duplicate)[:_MAX_SHOWN]!r} twice"
    return "it is not LIBSVM"


def explain_list(subject: str, values: Any, features: Sequence[str], scale: float) -> str:
    """Return why a list or an array cannot hold features, which are multiplied by a scale."""
    values, n = flatten_list(values) if isinstance(values, list) else values, len(features)
    if len(values) != n:
        return f"{subject} has {len(values):,} value{'s' * (len(values) != 1)}, not {n:,}"
    values = values if isinstance(values, list) else values.tolist()
    for feature, value in zip(features, values, strict=True):
        if isinstance(value, str | list | dict):
            kind = type(value).__name__
            return (
                f"feature {feature!r} is {value!r}, a {kind}: only numbers and bools can be "
                "learned; encode or drop it"
            )
        if value is not None and math.isinf(value):
            return f"feature {feature!r} is {value}, not finite: clean or drop it"
        if value is not None and math.isinf(value * scale):
            return f"feature {feature!r} is {value:g}, too large for --scale {scale:g}"
    return f"{subject} is nested too deeply"
