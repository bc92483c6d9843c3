"""River pipelines in checkpoints, and their conversion to and from a model's own scaler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stream_perceptron.checkpoint.encoding import decode, encode
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.perceptron import SGDPerceptron

if TYPE_CHECKING:
    from river.compose import Pipeline

    from stream_perceptron.encoders import RecordEncoder

# The scalers that a `Scaler` can replace, and whether they have indicators.
_SCALERS = {"Standardizer": True, "StandardScaler": False}


def split_pipeline(model: SGDPerceptron | Pipeline) -> tuple[object, SGDPerceptron]:
    """Return the steps of a pipeline as JSON, with None for the perceptron, and the perceptron.

    Raises
    ------
    CheckpointError
        If the pipeline is anything other than a perceptron after a `RecordEncoder` and a scaler,
        either of which may be missing.

    """
    if type(model) is SGDPerceptron:
        return encode({}), model
    steps = dict(getattr(model, "steps", {"": model}))
    *kinds, last = [type(step).__name__ for step in steps.values()] or [type(model).__name__]
    scalers = kinds[1:] if kinds[:1] == ["RecordEncoder"] else kinds
    has_window = any(getattr(step, "window_size", None) for step in steps.values())
    is_known = len(scalers) <= 1 and _SCALERS.keys() >= {*scalers} and not has_window
    name = next(reversed(steps), "")
    if not is_known or type(steps.get(name)) is not SGDPerceptron:
        raise CheckpointError(
            f"{' | '.join([*kinds, last])} cannot be saved: a checkpoint holds an SGDPerceptron, "
            "alone or after a RecordEncoder and a Standardizer or StandardScaler without a window; "
            "save other models with pickle, as in River"
        )
    return encode(steps | {name: None}), steps[name]


def unpack_pipeline(
    model: SGDPerceptron | Pipeline,
) -> tuple[RecordEncoder | None, bool | None, SGDPerceptron]:
    """Return the encoder of a pipeline, whether its scaler has indicators, and the perceptron.

    Raises
    ------
    CheckpointError
        If the pipeline cannot be saved; see `split_pipeline`.

    """
    _, perceptron = split_pipeline(model)
    steps = {type(step).__name__: step for step in getattr(model, "steps", {}).values()}
    scaler = next((_SCALERS[name] for name in steps if name in _SCALERS), None)
    return steps.get("RecordEncoder"), scaler, perceptron


def build_pipeline(
    steps: dict[object, Any], model: SGDPerceptron, encoder: RecordEncoder | None = None
) -> SGDPerceptron | Pipeline:
    """Build a River pipeline from a model with saved steps, or with its own scaler.

    Parameters
    ----------
    steps
        The steps by name; None stands for the perceptron.
    model
        The perceptron.
    encoder
        The first step, if there is one.

    """
    from river.compose import Pipeline

    scaler = model.network.scaler
    if scaler is not None:
        if steps:
            raise CheckpointError("has both a pipeline and its own scaler")
        model.network.scaler = None
        river_scaler = _build_river_scaler(scaler, model)
        steps = {type(river_scaler).__name__: river_scaler, "SGDPerceptron": None}
    if encoder is not None:
        steps = {type(encoder).__name__: encoder, **(steps or {"SGDPerceptron": None})}
    if not steps:
        return model
    return Pipeline(*((name, model if step is None else step) for name, step in steps.items()))


def absorb_scaler(steps: Any, model: SGDPerceptron) -> str | None:
    """Move the statistics of a saved scaler into the model's own scaler.

    Returns
    -------
    A description of a step that runs only in Python, or None if there is no such step.

    """
    transformers = [step for step in decode(steps).values() if step is not None]
    if not transformers:
        return None
    (first, *others) = transformers
    class_name = type(first).__name__
    if class_name not in _SCALERS or others:
        return class_name
    if not first.with_std:
        return "StandardScaler(with_std=False)"
    names = model.network.feature_names
    columns = {name: i for i, name in enumerate(names)}
    has_indicators = _SCALERS[class_name]
    standardized = first.standardized if has_indicators else columns
    statistics = np.zeros((4, len(names)))
    statistics[3] = [name not in standardized for name in names]
    for name, count in first.counts.items():
        if name not in columns:
            return f"{class_name} (with feature {str(name)[:50]!r}, which the model lacks)"
        numbers = count, first.means.get(name, 0), first.vars.get(name, 0)
        statistics[:3, columns[name]] = numbers
    model.network.scaler = Scaler(statistics, has_indicators)
    return None


def _build_river_scaler(scaler: Scaler, model: SGDPerceptron) -> object:
    """Build a River transformer with the statistics of a model's own scaler."""
    from river.preprocessing import StandardScaler

    from stream_perceptron.standardizer import Standardizer

    river_scaler: Any = Standardizer() if scaler.has_indicators else StandardScaler()
    for name, (count, mean, variance, is_indicator) in zip(
        model.features_, scaler.statistics.T.tolist(), strict=False
    ):
        if count > 0:
            river_scaler.counts[name] = int(count)
            river_scaler.means[name], river_scaler.vars[name] = mean, variance
            if scaler.has_indicators and not is_indicator:
                river_scaler.standardized.add(name)
    return river_scaler
