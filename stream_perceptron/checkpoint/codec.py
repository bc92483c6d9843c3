"""Names, schedulers and dataclasses as JSON, each with its type; nothing is ever unpickled."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Hashable
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.vocabulary import first_doubled

T = TypeVar("T")

_DEEPEST = 8  # tuples within tuples
_DATES = {"date": dt.date, "datetime": dt.datetime}


def encode_name(name: Hashable, depth: int = 0) -> Any:
    """Return a label or feature name as JSON that `decode_name` takes back.

    Examples
    --------
    >>> encode_name(("a", b"b", 1.0))
    {'tuple': ['a', {'bytes': '62'}, 1.0]}

    """
    if isinstance(name, np.generic):
        name = name.item()
    kind = type(name)
    if kind in (str, bool, int) or (kind is float and math.isfinite(name)):  # type: ignore[arg-type]
        return name
    if kind is bytes:
        return {"bytes": name.hex()}  # type: ignore[attr-defined]
    if kind in (dt.date, dt.datetime):
        return {kind.__name__: name.isoformat()}  # type: ignore[attr-defined]
    if kind is tuple and depth < _DEEPEST:
        return {"tuple": [encode_name(part, depth + 1) for part in name]}  # type: ignore[attr-defined]
    raise CheckpointError(
        f"name {name!r} of type {kind.__name__} cannot be saved: use strings, numbers, dates, "
        "bytes or tuples of them"
    )


def decode_name(value: Any, depth: int = 0) -> Hashable:
    """Return the name that `encode_name` was given."""
    if type(value) in (str, bool, int) or (type(value) is float and math.isfinite(value)):
        return value  # type: ignore[no-any-return]
    if isinstance(value, dict) and len(value) == 1:
        ((tag, content),) = value.items()
        try:
            if tag == "bytes":
                return bytes.fromhex(content)
            if tag in _DATES:
                return _DATES[tag].fromisoformat(content)
            if tag == "tuple" and isinstance(content, list) and depth < _DEEPEST:
                return tuple(decode_name(part, depth + 1) for part in content)
        except (ValueError, TypeError):
            pass
    raise CheckpointError(f"{str(value)[:50]!r} is not a saved name")


def decode_names(values: list[Any]) -> list[Hashable]:
    """Return the different names that `encode_name` was given."""
    names = [decode_name(value) for value in values]
    if first_doubled(names) is not None:
        raise CheckpointError("model has a name twice")
    return names


def encode_lr(lr: Any) -> Any:
    """Return a learning rate or one of River's schedulers as JSON."""
    if isinstance(lr, int | float):
        return float(lr)
    from river.optim import losses, schedulers

    for module, names in ((schedulers, schedulers.__all__), (losses, losses.__all__)):
        name = type(lr).__name__
        if name in names and type(lr) is getattr(module, name):
            parameters = {key: getattr(lr, key) for key in lr._get_params()}
            return {
                "class": name,
                "parameters": {
                    key: value if value is None or isinstance(value, bool) else encode_lr(value)
                    for key, value in parameters.items()
                },
            }
    raise CheckpointError(
        f"{type(lr).__name__} cannot be saved as lr: use a number or a scheduler of river.optim"
    )


def decode_lr(value: Any) -> Any:
    """Return what `encode_lr` was given: a number, or a scheduler, which may have a loss."""
    if isinstance(value, bool | int | float):
        return value
    from river.optim import losses, schedulers

    lr = _decode_class(value, [schedulers, losses])
    try:
        float(lr.get(1))
    except ArithmeticError:
        pass  # it may have a rate for other updates
    except Exception:
        raise CheckpointError("lr is a schedule that gives no rate") from None
    return lr


def _decode_class(value: Any, modules: list[Any]) -> Any:
    """Return an object of the first module, whose parameters may be objects of the others."""
    if value is None or isinstance(value, bool | int | float):
        return value
    fields = Fields(value, "lr")
    name, parameters = fields.take("class", str), fields.take("parameters", dict)
    fields.finish()
    if modules and name in modules[0].__all__:
        try:
            decoded = {key: _decode_class(part, modules[1:]) for key, part in parameters.items()}
            return getattr(modules[0], name)(**decoded)
        except (TypeError, ValueError, ArithmeticError):
            pass
    raise CheckpointError(f"lr is not one of River's schedulers: {name[:50]!r}")


class Fields:
    """Checked access to a JSON object from a file that may be forged.

    Examples
    --------
    >>> fields = Fields({"rows": 3}, "progress")
    >>> fields.take("rows", int, check=lambda rows: rows >= 0)
    3
    >>> fields.take("samples", int)
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.CheckpointError: progress has no right value for 'samples'

    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise CheckpointError(f"{where} is not a JSON object")
        self._value = dict(value)
        self._where = where

    def take(self, name: str, *kinds: Any, check: Callable[[Any], bool] | None = None) -> Any:
        """Return a value of one of some types that passes a check."""
        value = self._value.pop(name, self)
        if type(value) not in kinds or (check is not None and not check(value)):
            raise CheckpointError(f"{self._where} has no right value for {name!r}")
        return value

    def has(self, name: str) -> bool:
        """Whether there is such a value still to be taken."""
        return name in self._value

    def finish(self) -> None:
        """Require that everything was taken."""
        if self._value:
            raise CheckpointError(f"{self._where} has {min(self._value)[:50]!r}, which is unknown")


def to_json(value: Any) -> Any:
    """Return a dataclass, or what its fields hold, as JSON that `from_json` takes back.

    Fields with `metadata={"saved": False}` are left out, and so are those with `{"optional": True}`
    that have their default.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Point:
    ...     names: tuple[str, ...]
    ...     at: dict[tuple[str, ...], int]
    >>> to_json(Point(("a",), {("p", "q"): 3}))
    {'names': ['a'], 'at': [[['p', 'q'], 3]]}

    """
    if is_dataclass(value):
        return {
            field.name: to_json(getattr(value, field.name))
            for field in fields_of(value)
            if field.metadata.get("saved", True)
            and not (field.metadata.get("optional") and getattr(value, field.name) == field.default)
        }
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    if isinstance(value, dict):
        return [[to_json(key), to_json(part)] for key, part in sorted(value.items())]
    return value


def from_json(cls: type[T], value: Any, where: str) -> T:
    """Return the dataclass that `to_json` was given, checked by the types of its fields.

    A whole number is from 0 to before 2^62, or what the field's metadata has for "least" and
    "below", unless it is the value of a dict.
    """
    given = Fields(value, where)
    hints = get_type_hints(cls)
    parts = {}
    for field in fields_of(cls):  # type: ignore[arg-type]
        is_left_out = field.metadata.get("optional", False) and not given.has(field.name)
        if field.metadata.get("saved", True) and not is_left_out:
            least, below = field.metadata.get("least", 0), field.metadata.get("below", 2**62)
            part = given.take(field.name, dict, list, str, int, float, bool, type(None))
            place = f"{where}.{field.name}"
            if part is not None and part not in field.metadata.get("one_of", [part]):
                raise CheckpointError(f"{place} has no right value")
            parts[field.name] = _part(hints[field.name], part, place, range(least, below))
    given.finish()
    return cls(**parts)


def _part(hint: Any, value: Any, where: str, numbers: range) -> Any:
    """Return a value as the type that a hint names, a whole number if it is one of some."""
    kind, kinds = get_origin(hint), get_args(hint)
    if kind is UnionType:
        if value is None and type(None) in kinds:
            return None
        (hint,) = (each for each in kinds if each is not type(None))
        return _part(hint, value, where, numbers)
    if is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if kind in (list, tuple) and type(value) is list:
        if kinds[0] is Any or (kinds[0] is str and all(type(part) is str for part in value)):
            return kind(value)
        return kind(_part(kinds[0], part, where, numbers) for part in value)
    if kind is dict and type(value) is list and all(_is_pair(pair) for pair in value):
        key, part = kinds
        any_ = range(-(2**63), 2**63)
        found = {_part(key, a, where, any_): _part(part, b, where, any_) for a, b in value}
        if len(found) == len(value):
            return found
    if hint is Any or (type(value) is hint and (hint is not int or value in numbers)):
        return value
    raise CheckpointError(f"{where} has no right value")


def _is_pair(value: Any) -> bool:
    return type(value) is list and len(value) == 2
