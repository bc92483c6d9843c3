"""Why a cell cannot be used."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stream_perceptron.data.layout import Layout, compiled
from stream_perceptron.encoders import flatten_list
from stream_perceptron.errors import Reason, SampleError
from stream_perceptron.model.scaler import MAX_STANDARDIZED, describe_out_of_range

_TEXT = compiled.TEXT


def get_max_number(layout: Layout) -> float:
    """Return the largest absolute value of a scaled number."""
    return MAX_STANDARDIZED if layout.read_options.standardize else sys.float_info.max


def reject_cell(
    layout: Layout, code: int, name: str, number: float, content: bytes, values: Sequence[Any]
) -> None:
    """Raise the error of a cell that cannot be used.

    Parameters
    ----------
    layout
        The layout of the records.
    code
        INVALID_NUMBER, NO_LIST and so on, as in the compiled reader.
    name
        The column or key, or the feature that has two values.
    number
        The value of a number.
    content
        The bytes of the cell.
    values
        The elements of a list.

    Raises
    ------
    ValueError
        Always.

    """
    if code == compiled.DUPLICATE_FEATURE:
        raise SampleError(f"it has two values for feature {name!r}", code="duplicate")
    if code == compiled.INVALID_NAME:
        layout.format.decode_name(content)
    elif code == compiled.INVALID_STRING:
        with add_column_to_errors(layout, name):
            layout.format.decode(_TEXT, content)
    elif code == compiled.INVALID_LABEL:
        raise SampleError(f"label {name!r} is not a number, a string or a bool")
    elif code == compiled.INVALID_WEIGHT:
        text = str(layout.format.decode(_TEXT, content)) if content else f"{number:g}"
        raise SampleError(
            f"weight {name!r} is {text[:50]!r}, not a finite number greater than or equal to 0",
            code="weight",
        )
    elif code == compiled.INVALID_NUMBER:
        reason = _explain_rejected_number(layout, name, number)
        raise SampleError(reason, code=reason.code)
    elif code == compiled.NO_LIST:
        raise SampleError(f"it has no list {layout.key!r}")
    else:
        reason = _explain_rejected_list(layout, name, values)
        raise SampleError(reason, code=reason.code)
    raise MemoryError  # the content is valid, so decoding it in C has failed for this reason


@contextmanager
def add_column_to_errors(layout: Layout, name: str | None) -> Iterator[None]:
    """Raise a SampleError that names the column if a source of columns has invalid UTF-8."""
    try:
        yield
    except UnicodeDecodeError:
        if not layout.types:
            raise
        raise SampleError(f"column {name!r} is not UTF-8") from None


def _explain_rejected_number(layout: Layout, name: str, number: float) -> Reason:
    """Return why a number is not finite, or out of range."""
    if math.isfinite(number):
        return Reason(_describe_large_number(name, number, layout.find_scale(name)), "too_large")
    is_code = bool(layout.columns) and not layout.format.has_typed_cells
    advice = "; if it is a code, name its column with --categorical" if is_code else ""
    return Reason(f"feature {name!r} is not finite{advice}", "not_finite")


def _describe_large_number(feature: object, number: float, scale: float) -> str:
    """Return why a finite number of a feature is too large."""
    if math.isinf(number * scale):
        return f"feature {feature!r} is {number:g}, too large for --scale {scale:g}"
    return describe_out_of_range(feature, number)


def _explain_rejected_list(layout: Layout, name: str, values: Sequence[Any]) -> Reason:
    """Return why a list cannot hold the features."""
    subject, features = f"{'column' if layout.types else 'list'} {name!r}", layout.element_names
    values, n, scale = flatten_list(values), len(features), layout.find_scale(name)
    if len(values) != n:
        text = f"{subject} has {len(values):,} value{'s' * (len(values) != 1)}, not {n:,}"
        return Reason(text, "list_length")
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
        if value is not None and abs(value * scale) > get_max_number(layout):
            return Reason(_describe_large_number(feature, value, scale), "too_large")
    return Reason(f"{subject} is nested too deeply")
