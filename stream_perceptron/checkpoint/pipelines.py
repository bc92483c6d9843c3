"""River pipelines in checkpoints, and their conversion to and from a model's own scaler."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stream_perceptron.checkpoint.objects import decode, encode, is_transformer
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.perceptron import SGDPerceptron

if TYPE_CHECKING:
    from river.compose import Pipeline

Steps = dict[Any, Any]  # by their names in a pipeline; None for its perceptron


def split(model: SGDPerceptron | Pipeline) -> tuple[Any, SGDPerceptron]:
    """Return the steps of a pipeline as JSON that loads, and its perceptron."""
    if type(model) is SGDPerceptron:
        return encode({}), model
    steps = dict(getattr(model, "steps", {"": model}))
    name, last = steps.popitem()
    if type(last) is not SGDPerceptron:
        remedy = "end with an SGDPerceptron"
        if isinstance(last, SGDPerceptron):
            remedy = "use SGDPerceptron itself, not a subclass, whose code no file holds"
        raise CheckpointError(f"{type(last).__name__} cannot be saved: {remedy}")
    state = encode(steps | {name: None})
    _decode_steps(state)
    return state, last


def steps_from_state(state: Any) -> Steps:
    """Return the steps from the JSON of `split`, which is the only JSON that they have."""
    steps = _decode_steps(state)
    try:
        is_only = encode(steps) == state
    except RecursionError:
        raise CheckpointError("steps are nested too deeply") from None
    if not is_only:
        raise CheckpointError("steps do not form a pipeline")
    return steps


def _decode_steps(state: Any) -> Steps:
    """Return steps from their JSON, if they form a pipeline."""
    try:
        steps: Steps = decode(state)
    except RecursionError:
        raise CheckpointError("steps are nested too deeply") from None
    parts = list(steps.values()) if type(steps) is dict else [steps, steps]
    if parts and not (parts[-1] is None and all(map(is_transformer, parts[:-1]))):
        raise CheckpointError("steps do not form a pipeline")
    return steps


class EncodedColumns(NamedTuple):
    """The columns that a saved run encodes."""

    one_hot: tuple[str, ...]
    dates: tuple[str, ...]
    words: tuple[str, ...]


def find_encoded_columns(run: Any) -> EncodedColumns:
    """Return the columns that a saved run encodes."""
    selection = run.get("selection") if isinstance(run, dict) else None
    saved = selection if isinstance(selection, dict) else {}

    def columns_of(option: str) -> tuple[str, ...]:
        names = saved.get(option)
        return tuple(n for n in names if isinstance(n, str)) if isinstance(names, list) else ()

    return EncodedColumns(*map(columns_of, EncodedColumns._fields))


def pipeline(
    steps: Steps, model: SGDPerceptron, encoded: EncodedColumns
) -> SGDPerceptron | Pipeline:
    """Return a model for River: behind its steps, or behind its own scaler and encoders."""
    from river.compose import Pipeline

    scaler = model.network.scaler
    if scaler is not None:
        if steps:
            raise CheckpointError("has a pipeline and a scaler of its own")
        model.network.scaler = None
        steps = {"scaler": _of_river(scaler, model), "SGDPerceptron": None}
    named = [(name, model if step is None else step) for name, step in steps.items()]
    if not any(encoded):
        return Pipeline(*named) if named else model
    from river.compose import Discard, TransformerUnion

    from stream_perceptron.encoders import DateEncoder, WordCounter

    others: Any = Discard(*chain.from_iterable(encoded))
    for _, step in named[:-1]:
        others = others | step
    parts = [others]  # the first one wins: a column, over an encoded feature of its name
    if encoded.one_hot:
        parts.append(_one_hot_encoder(encoded.one_hot, model))
    if encoded.dates:
        parts.append(DateEncoder(*encoded.dates))
    if encoded.words:
        parts.append(WordCounter(*encoded.words))
    return Pipeline(("features", TransformerUnion(*parts)), ("SGDPerceptron", model))


def _one_hot_encoder(columns: Sequence[str], model: SGDPerceptron) -> Any:
    """Return a River encoder of columns that knows the values that the model has learned."""
    from river.compose import Select
    from river.preprocessing import OneHotEncoder

    encoder: Any = OneHotEncoder()
    for feature in map(str, model.features_):
        ends = [i for i, sign in enumerate(feature) if sign == "_" and feature[:i] in columns]
        if ends:  # the longest name of a column that it begins with
            encoder.learn_one({feature[: ends[-1]]: feature[ends[-1] + 1 :]})
    return Select(*columns) | encoder


def absorb(steps: Any, model: SGDPerceptron) -> str | None:
    """Make the scaler of a saved pipeline the model's own.

    Returns
    -------
    The name of a step that only Python can run; None if there is none.

    """
    before = [step for step in steps_from_state(steps).values() if step is not None]
    for step in before:
        if type(step).__name__ != "StandardScaler":
            return type(step).__name__
        if not step.with_std:
            return "StandardScaler(with_std=False)"
    if not before:
        return None
    if len(before) > 1:
        return "StandardScaler (twice)"
    names = model.network.feature_names
    columns = {name: i for i, name in enumerate(names)}
    statistics = np.zeros((3, len(names)))
    for name, count in before[0].counts.items():
        if name not in columns:
            return f"StandardScaler (with feature {str(name)[:50]!r}, which the model lacks)"
        numbers = count, before[0].means.get(name, 0), before[0].vars.get(name, 0)
        try:
            statistics[:, columns[name]] = numbers
        except OverflowError:
            raise CheckpointError("statistics are not finite numbers") from None
    scaler = Scaler(statistics)
    require_possible(scaler)
    model.network.scaler = scaler
    return None


def require_possible(scaler: Scaler) -> None:
    """Check that samples can produce these statistics."""
    counts, means, variances = scaler.table
    if not np.isfinite(scaler.table).all():
        raise CheckpointError("statistics are not finite numbers")
    if ((counts < -1) | (counts != np.floor(counts)) | (counts >= 2**53)).any():
        raise CheckpointError("statistics have counts that are not whole numbers")
    none = counts <= 0
    if (variances < 0).any() or (means[none] != 0).any() or (variances[none] != 0).any():
        raise CheckpointError("statistics are inconsistent")


def _of_river(scaler: Scaler, model: SGDPerceptron) -> Any:
    """Return a River scaler with the statistics of a model's own."""
    from river.preprocessing import StandardScaler

    river: Any = StandardScaler()
    for name, (count, mean, variance) in zip(
        model.features_, scaler.table.T.tolist(), strict=False
    ):
        if count > 0:
            river.counts[name], river.means[name], river.vars[name] = int(count), mean, variance
    return river
