"""Names, learning rates and dataclasses as JSON, without pickle."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import Field, fields, is_dataclass
from functools import cache
from importlib import import_module
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from stream_perceptron.errors import CheckpointError

T = TypeVar("T")

# The learning rates that can be saved, and the losses of schedules, by module.
_CLASSES = {
    "stream_perceptron.model.rates": "FallingRate",
    "river.optim.schedulers": "Constant InverseScaling Optimal",
    "river.optim.losses": "Absolute BinaryFocalLoss Cauchy CrossEntropy EpsilonInsensitiveHinge "
    "Hinge Huber Log Poisson Quantile Squared",
}
_PLAIN = {type(None), bool, int, str}


def encode(value: Any) -> object:
    """Encode plain data or a scheduler.

    Raises
    ------
    CheckpointError
        If the value, or a part of it, has another type.

    Examples
    --------
    >>> encode([1, (2.5, b"a")])
    [1, {'tuple': [2.5, {'bytes': '61'}]}]

    """
    if isinstance(value, np.generic):
        value = value.item()
    kind = type(value)
    if kind in _PLAIN or (kind is float and math.isfinite(value)):
        return value
    if kind is float:
        return {"float": repr(value)}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is list:
        return [encode(part) for part in value]
    if kind is tuple:
        return {"tuple": [encode(part) for part in value]}
    if isinstance(value, dict):
        return {"dict": [encode([*value]), encode([*value.values()])]}
    if kind is _find_class(kind.__name__):
        parameters = {n: encode(getattr(value, n)) for n in inspect.signature(kind).parameters}
        return {"object": [kind.__name__, parameters]}
    raise CheckpointError(f"{kind.__name__} cannot be saved: use plain data")


def decode(value: Any) -> Any:
    """Decode JSON produced by `encode`.

    Other JSON may raise any error, or give values that cannot be used.
    """
    if type(value) is list:
        return [decode(part) for part in value]
    if type(value) is not dict:
        return value
    ((tag, content),) = value.items()
    return _DECODERS[tag](content)


def _decode_object(content: Any) -> object:
    name, state = content
    cls = _find_class(name)
    if cls is None:
        raise CheckpointError(f"{name[:50]!r} is not a class that can be saved")
    return cls(**{each: decode(state[each]) for each in inspect.signature(cls).parameters})


@cache
def _find_class(name: str) -> Any:
    """Return the class with a name that can be saved; None if there is none."""
    modules = (module for module, names in _CLASSES.items() if name in names.split())
    return next((getattr(import_module(module), name) for module in modules), None)


# For each tag, a function that decodes its content.
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "bytes": bytes.fromhex,
    "tuple": lambda content: tuple(decode(content)),
    "dict": lambda content: dict(zip(*decode(content), strict=True)),
    "object": _decode_object,
}


def encode_lr(lr: object) -> object:
    """Encode a learning rate or a River scheduler as JSON."""
    if isinstance(lr, int | float):
        return float(lr)
    try:
        return encode(lr)
    except CheckpointError:
        raise CheckpointError(
            f"{type(lr).__name__} cannot be saved as lr: use a number or a scheduler from "
            "river.optim"
        ) from None


_get_field_types = cache(get_type_hints)  # the types of a dataclass's fields


def convert_to_json_value(value: object) -> object:
    """Convert a dataclass, or the value of a field, to JSON.

    Fields with `metadata={"saved": False}` are omitted. A field with `{"is_json": True}` already
    holds JSON. A dict becomes a sorted list of pairs.
    """
    if isinstance(value, list | tuple):
        return [part if type(part) is str else convert_to_json_value(part) for part in value]
    if isinstance(value, dict):
        return [
            [convert_to_json_value(key), convert_to_json_value(part)]
            for key, part in sorted(value.items())
        ]
    if value is None or isinstance(value, str | int | float):
        return value
    cls: Any = type(value)
    parts = {}
    for field in _list_saved_fields(cls):
        part = getattr(value, field.name)
        parts[field.name] = part if field.metadata.get("is_json") else convert_to_json_value(part)
    return parts


@cache
def _list_saved_fields(cls: Any) -> list[Field[Any]]:
    return [field for field in fields(cls) if field.metadata.get("saved", True)]


def convert_from_json_value(cls: type[T], value: Any, where: str) -> T:
    """Build a dataclass from its JSON; check each value against the type of its field.

    JSON that `convert_to_json_value` has not produced may raise any error.
    """
    hints, values = _get_field_types(cls), {}  # type: ignore[arg-type]
    for field in _list_saved_fields(cls):  # type: ignore[arg-type]
        name = field.name
        values[name] = value[name]
        if hints[name] is not Any:
            values[name] = _convert_value(hints[name], value[name], f"{where}.{name}")
    return cls(**values)


def _convert_value(hint: object, value: Any, where: str) -> object:
    """Convert a value to the type given by `hint`."""
    kind, kinds = get_origin(hint), get_args(hint)
    if kind is UnionType:  # a type or None
        return None if value is None else _convert_value(kinds[0], value, where)
    if is_dataclass(hint):
        return convert_from_json_value(hint, value, where)  # type: ignore[arg-type]
    if kind in (list, tuple) and type(value) is list:
        if kinds[0] is object or (kinds[0] is str and all(type(part) is str for part in value)):
            return kind(value)
        return kind(_convert_value(kinds[0], part, where) for part in value)
    if kind is dict and type(value) is list:
        key, part = kinds
        return {_convert_value(key, a, where): _convert_value(part, b, where) for a, b in value}
    if type(value) is float and not math.isfinite(value):
        raise CheckpointError(f"{where} is not finite")
    if hint in (object, type(value)):
        return value
    raise CheckpointError(f"{where} has an invalid value")
