"""Scalers of River before a perceptron, saved, and as the model's own scaler."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from stream_perceptron.checkpoint.codec import Fields, decode_name, encode_name
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.scaler import CentringScaler, RangeScaler, Scaler
from stream_perceptron.perceptron import SGDPerceptron

if TYPE_CHECKING:
    from river.compose import Pipeline

Steps = list[tuple[Any, Any]]


def split(model: SGDPerceptron | Pipeline) -> tuple[list[Any], SGDPerceptron]:
    """Return the saved scalers before a perceptron, and the perceptron."""
    if isinstance(model, SGDPerceptron) and not hasattr(model, "steps"):
        return [], model
    *before, (_, last) = getattr(model, "steps", {"": model}).items()
    if type(last) is not SGDPerceptron:
        raise CheckpointError(f"{type(last).__name__} cannot be saved: end with an SGDPerceptron")
    return [[encode_name(name), *_scaler_state(step)] for name, step in before], last


def steps_from_state(steps: Any) -> Steps:
    """Return the scalers that `split` saved, by their names in the pipeline."""
    if not isinstance(steps, list) or not all(isinstance(s, list) and len(s) == 3 for s in steps):
        raise CheckpointError("steps are not those of a pipeline")
    return [(decode_name(name), _river_scaler(kind, state)) for name, kind, state in steps]


def one_hot_of(run: Any) -> tuple[str, ...]:
    """Return the text columns that a saved run makes features of."""
    selection = run.get("selection") if isinstance(run, dict) else None
    names = selection.get("one_hot", []) if isinstance(selection, dict) else []
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def pipeline(
    steps: Steps, model: SGDPerceptron, one_hot: tuple[str, ...]
) -> SGDPerceptron | Pipeline:
    """Return a model as River runs it: behind the scalers of its pipeline, or behind its own."""
    from river.compose import Pipeline

    scaler = model.network.scaler
    if scaler is not None:
        model.network.scaler = None
        steps = [("scaler", _of_river(scaler, model))]
    if not one_hot:
        return Pipeline(*steps, ("SGDPerceptron", model)) if steps else model
    from river.compose import Discard, Select, TransformerUnion
    from river.preprocessing import OneHotEncoder

    encoder = OneHotEncoder()
    for feature in map(str, model.features_):
        columns = [name for name in one_hot if feature.startswith(f"{name}_")]
        if columns:
            column = max(columns, key=len)
            encoder.values[column].add(feature.removeprefix(f"{column}_"))
    others: Any = Discard(*one_hot)
    for _, step in steps:
        others = others | step
    return Pipeline(
        ("features", TransformerUnion(others, Select(*one_hot) | encoder)),
        ("SGDPerceptron", model),
    )


def absorb(steps: Steps, model: SGDPerceptron) -> None:
    """Make the scaler before a model its own.

    Raises
    ------
    CheckpointError
        If there are several, or it knows features that the model does not.

    """
    if not steps:
        return
    if len(steps) > 1:
        raise CheckpointError("holds a pipeline of several scalers, which only Python code can run")
    ((_, river),) = steps
    is_range = type(river).__name__ == "MinMaxScaler"
    kind = RangeScaler if is_range else Scaler if river.with_std else CentringScaler
    names = model.network.feature_names
    columns = {name: i for i, name in enumerate(names)}
    table = np.zeros((3, len(names)))
    for name in river.min if is_range else river.counts:
        if name not in columns:
            raise CheckpointError(
                f"holds a scaler with feature {str(name)[:50]!r}, which its model does not have"
            )
        if is_range:
            statistics = max(model.n_seen, 1), river.min[name].get(), river.max[name].get()
        else:
            statistics = river.counts[name], river.means[name], river.vars[name]
        try:
            table[:, columns[name]] = statistics
        except OverflowError:
            raise CheckpointError("statistics are not finite numbers") from None
    scaler = kind(table)
    require_possible(scaler)
    model.network.scaler = scaler


def require_possible(scaler: Scaler) -> None:
    """Require that statistics are some that samples can lead to."""
    counts, middle, last = scaler.table
    if not np.isfinite(scaler.table).all():
        raise CheckpointError("statistics are not finite numbers")
    if ((counts < -1) | (counts != np.floor(counts)) | (counts >= 2**53)).any():
        raise CheckpointError("statistics have counts that are not whole numbers")
    none = counts <= 0
    wrong = last < (middle if isinstance(scaler, RangeScaler) else 0.0)
    if wrong.any() or (middle[none] != 0).any() or (last[none] != 0).any():
        raise CheckpointError("statistics do not fit together")


def _of_river(scaler: Scaler, model: SGDPerceptron) -> Any:
    """Return the scaler of River with the statistics of a model's own."""
    from river.preprocessing import MinMaxScaler, StandardScaler

    is_range = isinstance(scaler, RangeScaler)
    river: Any
    river = MinMaxScaler() if is_range else StandardScaler(with_std=type(scaler) is Scaler)
    for name, (count, middle, last) in zip(model.features_, scaler.table.T.tolist(), strict=False):
        if count <= 0:
            continue
        if is_range:
            river.min[name].min, river.max[name].max = middle, last
        else:
            river.counts[name] = int(count)
            river.means[name], river.vars[name] = middle, last
    return river


def _scaler_state(scaler: Any) -> tuple[str, dict[str, Any]]:
    from river.preprocessing import MinMaxScaler, StandardScaler

    if type(scaler) not in (StandardScaler, MinMaxScaler):
        raise CheckpointError(
            f"{type(scaler).__name__} cannot be saved: use StandardScaler or MinMaxScaler"
        )
    if scaler.window_size is not None:
        raise CheckpointError(f"{type(scaler).__name__} with a window_size cannot be saved")
    if type(scaler) is StandardScaler:
        tables = {"counts": scaler.counts, "means": scaler.means, "vars": scaler.vars}
        state: dict[str, Any] = {"with_std": scaler.with_std}
    else:
        tables = {
            side: {name: stat.get() for name, stat in getattr(scaler, side).items()}
            for side in ("min", "max")
        }
        state = {}
    for side, table in tables.items():
        state[side] = [[encode_name(name), _number_state(value)] for name, value in table.items()]
    return type(scaler).__name__, state


def _river_scaler(kind: Any, state: Any) -> Any:
    from river.preprocessing import MinMaxScaler, StandardScaler

    fields = Fields(state, "scaler")
    scaler: Any
    if kind == "StandardScaler":
        scaler = StandardScaler(with_std=fields.take("with_std", bool))
        for side in ("counts", "means", "vars"):
            getattr(scaler, side).update(_numbers(fields.take(side, list)))
    elif kind == "MinMaxScaler":
        scaler = MinMaxScaler()
        for side in ("min", "max"):
            for name, value in _numbers(fields.take(side, list)).items():
                # River's statistic of one value, the attribute bearing the side's name.
                setattr(getattr(scaler, side)[name], side, value)
    else:
        raise CheckpointError(f"{str(kind)[:50]!r} is not a scaler that can be saved")
    fields.finish()
    return scaler


def _number_state(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def _numbers(pairs: list[Any]) -> dict[Any, Any]:
    table = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise CheckpointError("scaler does not hold pairs of name and number")
        name, value = pair
        if value == "inf" or value == "-inf":
            value = float(value)
        if type(value) not in (int, float, bool):
            raise CheckpointError("scaler does not hold pairs of name and number")
        table[decode_name(name)] = value
    return table
