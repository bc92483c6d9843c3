"""What stands before a perceptron in a pipeline of River, as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stream_perceptron.checkpoint.codec import Fields, decode_name, encode_name
from stream_perceptron.errors import CheckpointError
from stream_perceptron.perceptron import SGDPerceptron

if TYPE_CHECKING:
    from river.compose import Pipeline

Steps = list[tuple[Any, Any]]


def split(model: SGDPerceptron | Pipeline) -> tuple[list[Any], SGDPerceptron]:
    """Return the saved steps before a perceptron, and the perceptron."""
    if isinstance(model, SGDPerceptron) and not hasattr(model, "steps"):
        return [], model
    *before, (_, last) = getattr(model, "steps", {"": model}).items()
    if type(last) is not SGDPerceptron:
        raise CheckpointError(f"{type(last).__name__} cannot be saved: end with an SGDPerceptron")
    return _steps_state(before), last


def steps_from_state(steps: Any) -> Steps:
    """Return the steps that `split` saved, by their names in the pipeline."""
    try:
        return [(decode_name(name), _step(kind, state)) for name, kind, state in checked(steps)]
    except RecursionError:
        raise CheckpointError("steps are not those of a pipeline") from None


def checked(steps: Any) -> list[list[Any]]:
    """Return saved steps, a name, a kind and a state for each."""
    if not isinstance(steps, list) or not all(isinstance(s, list) and len(s) == 3 for s in steps):
        raise CheckpointError("steps are not those of a pipeline")
    return steps


class _Codec(NamedTuple):
    """How steps of one class are saved."""

    encode: Callable[[Any], dict[str, Any]]
    decode: Callable[[type, Fields], Any]  # given the class


def _steps_state(steps: Iterable[tuple[Any, Any]]) -> list[Any]:
    state = []
    for name, step in steps:
        kind = type(step).__name__
        if type(step) is not _river_class(kind):
            raise CheckpointError(
                f"{kind} cannot be saved: use {', '.join(list(_CODECS)[:-1])} or "
                f"{list(_CODECS)[-1]} of River"
            )
        if getattr(step, "window_size", None) is not None:
            raise CheckpointError(f"{kind} with a window_size cannot be saved")
        state.append([encode_name(name), kind, _CODECS[kind].encode(step)])
    return state


def _step(kind: Any, state: Any) -> Any:
    of_river = _river_class(kind) if isinstance(kind, str) else None
    if of_river is None:
        raise CheckpointError(f"{str(kind)[:50]!r} is no step that can be saved")
    fields = Fields(state, "step")
    try:
        step = _CODECS[kind].decode(of_river, fields)
    except CheckpointError:
        raise
    except (TypeError, ValueError):  # of River, given what it would never be given
        raise CheckpointError(f"{kind} does not fit together") from None
    fields.finish()
    return step


def _river_class(kind: str) -> type | None:
    """Return the class of River of this name, if its steps can be saved."""
    if kind not in _CODECS:
        return None
    from river import compose, preprocessing

    found: type = getattr(compose, kind, None) or getattr(preprocessing, kind)
    return found


def _encode_standard(scaler: Any) -> dict[str, Any]:
    tables = {side: _table_state(getattr(scaler, side)) for side in ("counts", "means", "vars")}
    return {"with_std": scaler.with_std, **tables}


def _decode_standard(of_river: type, fields: Fields) -> Any:
    scaler = of_river(with_std=fields.take("with_std", bool))
    for side in ("counts", "means", "vars"):
        getattr(scaler, side).update(table(fields.take(side, list)))
    return scaler


def _of_statistics(*sides: str) -> _Codec:
    """Return how scalers are saved that keep a statistic of River for each feature."""

    def encode(scaler: Any) -> dict[str, Any]:
        return {
            side: _table_state({name: stat.get() for name, stat in getattr(scaler, side).items()})
            for side in sides
        }

    def decode(of_river: type, fields: Fields) -> Any:
        scaler = of_river()
        for side in sides:
            for name, value in table(fields.take(side, list)).items():
                # River's statistic of one value, the attribute bearing the side's name.
                setattr(getattr(scaler, side)[name], side, value)
        return scaler

    return _Codec(encode, decode)


def _encode_one_hot(encoder: Any) -> dict[str, Any]:
    return {
        "drop_zeros": encoder.drop_zeros,
        "drop_first": encoder.drop_first,
        "is_fixed": encoder.categories is not None,
        "values": [[encode_name(name), _names(values)] for name, values in encoder.values.items()],
        "zeros": [encode_name(name) for name in encoder._zero_dict],
    }


def _decode_one_hot(of_river: type, fields: Fields) -> Any:
    values = {}
    for pair in fields.take("values", list):
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], list):
            raise CheckpointError("step does not hold pairs of name and values")
        values[decode_name(pair[0])] = {decode_name(value) for value in pair[1]}
    is_fixed = fields.take("is_fixed", bool)
    encoder = of_river(
        categories=values if is_fixed else None,
        drop_zeros=fields.take("drop_zeros", bool),
        drop_first=fields.take("drop_first", bool),
    )
    if not is_fixed:
        encoder.values.update(values)
    # In their order, which is that of the features in a sample.
    encoder._zero_dict = {decode_name(name): 0 for name in fields.take("zeros", list)}
    return encoder


_KEYS = _Codec(
    lambda step: {"keys": _names(step.keys)},
    lambda of_river, fields: of_river(*map(decode_name, fields.take("keys", list))),
)


def _of_steps(attribute: str) -> _Codec:
    """Return how steps are saved that consist of others."""
    return _Codec(
        lambda step: {"steps": _steps_state(getattr(step, attribute).items())},
        lambda of_river, fields: of_river(*steps_from_state(fields.take("steps", list))),
    )


_CODECS = {
    "StandardScaler": _Codec(_encode_standard, _decode_standard),
    "MinMaxScaler": _of_statistics("min", "max"),
    "MaxAbsScaler": _of_statistics("abs_max"),
    "OneHotEncoder": _Codec(_encode_one_hot, _decode_one_hot),
    "Select": _KEYS,
    "Discard": _KEYS,
    "TransformerUnion": _of_steps("transformers"),
    "Pipeline": _of_steps("steps"),
}


def _names(names: Iterable[Any]) -> list[Any]:
    """Return names of a set as JSON, in an order that does not depend on its inside."""
    return sorted(map(encode_name, names), key=repr)


def _table_state(table: Mapping[Any, Any]) -> list[Any]:
    return [[encode_name(name), _number_state(value)] for name, value in table.items()]


def _number_state(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def table(pairs: list[Any]) -> dict[Any, Any]:
    """Return the numbers of features, by name, that were saved as pairs."""
    numbers = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise CheckpointError("step does not hold pairs of name and number")
        name, value = pair
        if value == "inf" or value == "-inf":
            value = float(value)
        if type(value) not in (int, float, bool):
            raise CheckpointError("step does not hold pairs of name and number")
        numbers[decode_name(name)] = value
    return numbers
