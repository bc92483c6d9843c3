"""Why a record or a cell is rejected, in one sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stream_perceptron.data.naming import format_option_value, quote_names, suggest_options
from stream_perceptron.data.notices import (
    advise_on_text,
    format_options,
    suggest_encoding,
    suggest_missing_option,
)
from stream_perceptron.data.records import (
    Dialect,
    flatten_list,
    iter_paths,
    parse_json_record,
    split_record,
)
from stream_perceptron.data.values import DECIMAL_COMMA, NOT_UTF8, NUMBER
from stream_perceptron.errors import SampleError
from stream_perceptron.model.vocabulary import find_duplicates

_PAIR = re.compile(rf"([^\s:]+):({NUMBER})")
_MAX_SHOWN = 50  # characters of a value


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


def explain_text(name: str, text: str, is_json: bool) -> str:
    """Return why a string cannot be the value of a feature."""
    shown = repr(text[:_MAX_SHOWN])
    if is_json:
        return (
            f"feature {name!r} is {shown}, a string, but was a number before{advise_on_text(text)}"
        )
    hint = suggest_missing_option(text)
    if DECIMAL_COMMA.fullmatch(text):
        hint = f"; {suggest_options({'to read a decimal comma': '--decimal ,'})}"
    return f"column {name!r} is {shown}, not a number{hint}"


def explain_value(name: str, value: Any) -> str:
    """Return why a list or an object cannot be the value of a feature."""
    if isinstance(value, list) and any(isinstance(item, str) for item in flatten_list(value)):
        option = format_option_value([name])
        options = {"to encode them": f"--one-hot {option}", "to leave it out": f"--ignore {option}"}
        return f"{name!r} is a list of strings; {suggest_options(options)}"
    kind = "a list" if isinstance(value, list) else "an object"
    return (
        f"feature {name!r} is {str(value)[:_MAX_SHOWN]}, {kind}: only numbers and bools can be "
        "learned; encode or drop it"
    )


def explain_list(subject: str, values: list[Any], features: Sequence[str], scale: float) -> str:
    """Return why a list cannot hold the values of features, which are multiplied by a scale."""
    values, n = flatten_list(values), len(features)
    if len(values) != n:
        return f"{subject} has {len(values):,} value{'s' * (len(values) != 1)}, not {n:,}"
    for feature, value in zip(features, values, strict=True):
        if isinstance(value, str | list | dict):
            kind = type(value).__name__
            return (
                f"feature {feature!r} is {value!r}, a {kind}: only numbers and bools can be "
                "learned; encode or drop it"
            )
        if value is not None and not math.isfinite(value):
            return f"feature {feature!r} is {value}, not finite: clean or drop it"
        if value is not None and not math.isfinite(value * scale):
            return f"feature {feature!r} is {value:g}, too large for --scale {scale:g}"
    return f"{subject} is nested too deeply"


def explain_missing_features(texts: Mapping[str, str]) -> str:
    """Return why a record without features is rejected, given its strings by name."""
    encodings = {name: suggest_encoding(name, [text]) or "one_hot" for name, text in texts.items()}
    predicate, pronoun = ("is a string", "it") if len(texts) == 1 else ("are strings", "them")
    advice = suggest_options({f"to encode {pronoun}": format_options(encodings)})
    return f"it has no feature, because {quote_names(list(texts))} {predicate}; {advice}"
