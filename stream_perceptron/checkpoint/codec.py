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

    Integers outside dicts must be at least `least` (0 by default) and less than `below` (2^62 by
    default), which are given in the field's metadata.
    """
    hints, values = _get_field_types(cls), {}  # type: ignore[arg-type]
    for field in _list_saved_fields(cls):  # type: ignore[arg-type]
        rules, name = field.metadata, field.name
        numbers = range(rules.get("least", 0), rules.get("below", 2**62))
        values[name] = _convert_value(hints[name], value[name], f"{where}.{name}", numbers)
    return cls(**values)


def _convert_value(hint: object, value: Any, where: str, numbers: range) -> object:
    """Convert a value to the type given by `hint`; an integer must lie in `numbers`."""
    kind, kinds = get_origin(hint), get_args(hint)
    if kind is UnionType:  # a type or None
        return None if value is None else _convert_value(kinds[0], value, where, numbers)
    if is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if kind in (list, tuple) and type(value) is list:
        if kinds[0] is object or (kinds[0] is str and all(type(part) is str for part in value)):
            return kind(value)
        return kind(_convert_value(kinds[0], part, where, numbers) for part in value)
    if kind is dict and type(value) is list:
        key, part = kinds
        if all(type(pair) is list and len(pair) == 2 for pair in value):
            int64 = range(-(2**63), 2**63)
            pairs = [
                (_convert_value(key, a, where, int64), _convert_value(part, b, where, int64))
                for a, b in value
            ]
            return dict(pairs)
    if type(value) is float and not math.isfinite(value):
        raise CheckpointError(f"{where} is not finite")
    if hint is object or (type(value) is hint and (hint is not int or value in numbers)):
        return value
    raise CheckpointError(f"{where} has an invalid value")
