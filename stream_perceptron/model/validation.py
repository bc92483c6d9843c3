"""Check and convert the features, labels, weights and parameters that users pass."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import SampleError
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.rows import FeatureRows

_PLAIN_TYPES = {float, int, bool}
_PLAIN_LABEL_TYPES = {str, int, bool, type(None)}


def as_label(y: object) -> Hashable:
    """Return the label as a plain Python value; None if it is missing (None, NaN, NaT, NA)."""
    if isinstance(y, np.generic):
        y = y.item()
    if y is None or isinstance(y, str):
        return y
    try:
        hash(y)
    except TypeError:
        raise SampleError(
            f"label {y!r} is a {type(y).__name__}, which is not hashable: use a string, a number "
            "or a tuple"
        ) from None
    # NaN and NaT do not equal themselves; testing pandas.NA for truth raises a TypeError.
    try:
        return y if y == y else None
    except TypeError:
        return None


def as_labels(y: Any, n: int) -> list[Hashable]:
    """Return the labels of n samples.

    `y` is a series of any kind, an array, a sequence, or a frame or a 2-D array with one column.
    """
    values: list[object]
    shape: tuple[int, ...] = getattr(y, "shape", None) or ()
    if len(shape) == 2:
        if shape[1] != 1:
            raise SampleError(f"labels of shape {tuple(shape)} are not a single column")
        y = y.iloc[:, 0] if hasattr(y, "iloc") else y[:, 0]
    if hasattr(y, "to_pylist"):
        values = y.to_pylist()
    elif hasattr(y, "tolist"):
        values = y.tolist()
    elif hasattr(y, "to_list"):
        values = y.to_list()
    else:
        values = list(y)
    if len(values) != n:
        raise SampleError(
            f"the number of labels is {len(values)}, but the number of samples is {n}"
        )
    if _PLAIN_LABEL_TYPES.issuperset(map(type, values)):
        return values
    return [as_label(value) for value in values]


def as_weight(w: object) -> float:
    """Return the sample weight as a float."""
    if type(w) is float and 0 <= w < math.inf:
        return w
    number = _float_or_infinity(w) if isinstance(w, numbers.Real | np.bool_) else math.nan
    if 0 <= number < math.inf:
        return number
    raise SampleError(f"sample weight {w!r} is not a finite number greater than or equal to 0")


def as_weights(w: Any, n: int) -> NDArray[np.float64]:
    """Return the weights of n samples; `w` is one number for all, or a series of numbers."""
    if isinstance(w, numbers.Real):
        return np.full(n, as_weight(w))
    if isinstance(w, np.ndarray) and w.dtype.kind == "f" and w.ndim:
        weights = w.astype(np.float64)
        is_invalid = ~((weights >= 0) & (weights < math.inf))
        if is_invalid.any():
            as_weight(weights[is_invalid].tolist()[0])  # raises SampleError
    else:
        try:
            values = w.to_pylist() if hasattr(w, "to_pylist") else list(w)
        except TypeError:  # it is neither a number nor a series
            values = [w]
        weights = np.array([as_weight(value) for value in values], np.float64)
    if len(weights) != n:
        raise SampleError(
            f"the number of sample weights is {len(weights)}, but the number of samples is {n}"
        )
    return weights


def require_dict(x: object) -> None:
    """Check that a sample is a dict of features."""
    if not isinstance(x, Mapping):
        raise SampleError(
            f"a sample is of type {type(x).__name__}: pass a dict of features by name"
        )


def as_row(x: Mapping[Hashable, object]) -> FeatureRows:
    """Convert a dict of features to one row; None marks an absent feature."""
    require_dict(x)
    if any(value is None for value in x.values()):
        x = {name: value for name, value in x.items() if value is not None}
    names, values = tuple(x), x.values()
    if not _PLAIN_TYPES.issuperset(map(type, values)):
        for name, value in zip(names, values, strict=True):
            require_number(name, value)
    try:
        row = np.fromiter(values, np.float64, len(values))
    except OverflowError:
        row = np.array([_float_or_infinity(value) for value in values])
    return require_finite(FeatureRows.from_table(names, row[np.newaxis]))


def require_number(name: Hashable, value: object) -> None:
    """Check that a feature's value is a number or a bool."""
    if isinstance(value, numbers.Real | np.bool_):
        return
    from decimal import Decimal  # lazy import: few values are decimals

    if not isinstance(value, Decimal):
        raise SampleError(
            f"feature {name!r} is {value!r}, a {type(value).__name__}: only numbers and bools can "
            "be learned; encode or drop it"
        )


def require_finite(rows: FeatureRows) -> FeatureRows:
    """Return the rows after checking that all values are finite."""
    if not rows.max_abs() < math.inf:
        for cell in np.flatnonzero(~np.isfinite(rows.values))[:1].tolist():
            value, name = rows.values[cell], rows.names[rows.feature_ids[cell]]
            row = np.searchsorted(rows.starts, cell, side="right") - 1
            where = f" in row {row}" if len(rows) > 1 else ""
            raise SampleError(f"feature {name!r} is {value}{where}, not finite: clean or drop it")
    return rows


def _float_or_infinity(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def require_parameters(init_range: object, seed: object, max_weights: object) -> None:
    """Check the parameters of a perceptron that cannot be changed later, and `max_weights`."""
    require_finite_number("init_range", init_range)
    if seed is not None and not (isinstance(seed, int | np.integer) and 0 <= seed < 2**64):
        raise ValueError(f"seed is {repr(seed)[:50]}: choose a whole number from 0 to 2^64 - 1")
    require_max_weights(max_weights)


def require_max_weights(max_weights: object) -> None:
    """Check that the maximum number of weights is in range."""
    if not isinstance(max_weights, int) or not 0 < max_weights < 2**62:
        raise ValueError(
            f"max_weights is {repr(max_weights)[:50]}: choose a whole number from 1 to 2^62 - 1"
        )


def require_finite_number(name: str, value: object, must_be_positive: bool = False) -> None:
    """Check that a parameter is finite and at least 0, or above 0 if `must_be_positive`."""
    number = _float_or_infinity(value) if isinstance(value, numbers.Real) else math.nan
    if not 0 <= number < math.inf or (must_be_positive and number == 0):
        minimum = "above 0" if must_be_positive else "greater than or equal to 0"
        raise ValueError(f"{name} is {repr(value)[:50]}: choose a finite number {minimum}")


def require_labels(labels: list[Hashable]) -> None:
    """Check that no label is missing."""
    if None in labels:
        where = f" in row {labels.index(None)}" if len(labels) > 1 else ""
        raise SampleError(f"the label{where} is missing: the sample cannot be learned")


def as_classes(classes: Sequence[Hashable]) -> list[Hashable]:
    """Check the parameter `classes` of a perceptron, and return it as a list of labels."""
    if isinstance(classes, str):
        raise ValueError(f"classes is the string {classes!r}: pass a list of labels")
    labels = [as_label(label) for label in classes]
    if not labels or None in labels or len(set(labels)) < len(labels):
        raise ValueError(f"classes is {classes!r}: pass distinct labels, none of them missing")
    return labels


def find_labels_by_id(label_ids: NDArray[np.intp], classes: Sequence[Hashable]) -> list[Hashable]:
    """Return the labels with the given indices; None for -1.

    Examples
    --------
    >>> find_labels_by_id(np.array([1, -1]), ["left", "right"])
    ['right', None]

    """
    names = [*classes, None]  # index -1 selects the last element
    return [names[number] for number in label_ids.tolist()]


def as_read_only(array: Array) -> Array:
    """Return a read-only view of an array."""
    view = array.view()
    view.flags.writeable = False
    return view
