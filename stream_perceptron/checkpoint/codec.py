"""Dataclasses as typed JSON, without pickle."""

from __future__ import annotations

import math
from dataclasses import Field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from stream_perceptron.errors import CheckpointError

T = TypeVar("T")

_get_field_types = cache(get_type_hints)  # the types of a dataclass's fields


def to_json(value: object) -> object:
    """Convert a dataclass, or the value of a field, to JSON; `from_json` is the inverse.

    Fields with `metadata={"saved": False}` are omitted. A field with `{"is_json": True}` already
    holds JSON. A dict becomes a sorted list of pairs.
    """
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    if isinstance(value, dict):
        return [[to_json(key), to_json(part)] for key, part in sorted(value.items())]
    if value is None or isinstance(value, str | int | float):
        return value
    cls: Any = type(value)
    parts = {}
    for field in _list_saved_fields(cls):
        part = getattr(value, field.name)
        parts[field.name] = part if field.metadata.get("is_json") else to_json(part)
    return parts


@cache
def _list_saved_fields(cls: Any) -> list[Field[Any]]:
    return [field for field in fields(cls) if field.metadata.get("saved", True)]


def from_json(cls: type[T], value: Any, where: str) -> T:
    """Build a dataclass from JSON produced by `to_json`; check each value against its field's type.

    Other JSON may raise any error.
    """
    hints, values = _get_field_types(cls), {}  # type: ignore[arg-type]
    for field in _list_saved_fields(cls):  # type: ignore[arg-type]
        name = field.name
        values[name] = value[name]
        if not field.metadata.get("is_json"):
            values[name] = _convert_value(hints[name], value[name], f"{where}.{name}")
    return cls(**values)


def _convert_value(hint: object, value: Any, where: str) -> object:
    """Convert a value to the type given by `hint`."""
    kind, kinds = get_origin(hint), get_args(hint)
    if kind is UnionType:  # a type or None
        return None if value is None else _convert_value(kinds[0], value, where)
    if is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
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
