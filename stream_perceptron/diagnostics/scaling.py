"""Features whose scales keep a model from learning."""

from __future__ import annotations

from stream_perceptron.data.naming import is_pixel
from stream_perceptron.data.notices import Notice, build_warning
from stream_perceptron.live.findings import FindingCode
from stream_perceptron.live.model import LiveModel

# Larger features drive net inputs into the range where bounded activations are flat.
_LARGE_FEATURE = 16.0
_SMALL_FEATURE = 0.1
_MAX_RATIO = 100  # the maximum ratio of two features' largest values

_STANDARDIZE_ADVICE = "to start over with standardized features (in Python: a Standardizer)"


def find_scaling_problem(live: LiveModel) -> tuple[str, str, str] | None:
    """Return evidence that features need scaling, what to do, and an option; or None."""
    model, largest = live.model, live.progress.max_abs_value
    max_abs_values = live.progress.max_abs_values or {}
    nonzero = {name: value for name, value in max_abs_values.items() if value}
    # If each sample has only a few of many features, such as words, scaling does not help.
    has_columns = bool(live.schema.columns) or live.schema.is_list
    is_sparse = not has_columns and len(max_abs_values) < len(model.features_)
    if model.network.scaler is not None or not model.features_ or is_sparse:
        return None
    are_pixels = all(is_pixel(str(name)) for name in model.features_)
    min_name, max_name = (f(nonzero, key=nonzero.__getitem__, default="") for f in (min, max))
    has_wide_range = (
        bool(nonzero) and not are_pixels and nonzero[max_name] > _MAX_RATIO * nonzero[min_name]
    )
    if 0 < largest < _SMALL_FEATURE:
        evidence = f"they reach only {largest:g}, and steps are tiny"
        return evidence, _STANDARDIZE_ADVICE, "--standardize"
    if not has_wide_range and largest <= _LARGE_FEATURE:
        return None
    has_largest = bool(nonzero) and nonzero[max_name] == largest
    subject = f"{max_name!r} reaches" if has_largest else "they reach"
    contrast = f" and {min_name!r} only {nonzero[min_name]:g}" if has_wide_range else ""
    evidence = f"{subject} {largest:g}{contrast}, and a step grows with their square"
    if not are_pixels:
        return evidence, _STANDARDIZE_ADVICE, "--standardize"
    scale = f"--scale 1/{largest / abs(live.read_options.scale or 1):g}"
    return evidence, "to start over with smaller features", scale


def warn_of_large_features(live: LiveModel) -> Notice | None:
    """Return a warning if features are too large so far, else None."""
    problem = find_scaling_problem(live)
    if live.progress.max_abs_value <= _LARGE_FEATURE or problem is None:
        return None
    evidence, suggestion, remedy = problem
    text = f"unscaled features: {evidence}; {suggestion}"
    return build_warning(text, FindingCode.UNSCALED_FEATURES, [remedy])
