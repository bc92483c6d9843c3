"""Names, learning rates and transformers as JSON, without pickle."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from stream_perceptron.errors import CheckpointError

# The objects that can be saved, by module, and the learned attributes of those that learn.
_CLASSES = {
    "stream_perceptron.encoders": "RecordEncoder",
    "stream_perceptron.standardizer": "Standardizer",
    "river.preprocessing": "StandardScaler",
    "river.optim.schedulers": "Constant InverseScaling Optimal",
    "river.optim.losses": "Absolute BinaryFocalLoss Cauchy CrossEntropy EpsilonInsensitiveHinge "
    "Hinge Huber Log Poisson Quantile Squared",
}
_LEARNED = {
    "StandardScaler": ("counts", "means", "vars"),
    "Standardizer": ("counts", "means", "vars", "standardized"),
}
_PLAIN = {type(None), bool, int, str}


def encode(value: Any) -> object:
    """Encode plain data, a scheduler or a transformer.

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
    if kind is set:  # its order may differ between runs
        return {"set": sorted(map(encode, value), key=repr)}
    is_listed = any(kind.__name__ in names.split() for names in _CLASSES.values())
    if is_listed and kind is _find_class(kind.__name__):
        attributes = [*inspect.signature(kind).parameters, *_LEARNED.get(kind.__name__, ())]
        return {
            "object": [kind.__name__, {name: encode(getattr(value, name)) for name in attributes}]
        }
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
    attributes = {attribute: decode(part) for attribute, part in state.items()}
    cls = _find_class(name)
    instance = cls(**{each: attributes[each] for each in inspect.signature(cls).parameters})
    for attribute in _LEARNED.get(name, ()):
        getattr(instance, attribute).update(attributes[attribute])
    return instance


@cache
def _find_class(name: str) -> Any:
    """Return the class with a name."""
    for module, names in _CLASSES.items():
        if name in names.split():
            return getattr(import_module(module), name)
    raise CheckpointError(f"{name[:50]!r} is not a class that can be saved")


# For each tag, a function that decodes its content.
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "bytes": bytes.fromhex,
    "tuple": lambda content: tuple(decode(content)),
    "dict": lambda content: dict(zip(*decode(content), strict=True)),
    "set": lambda content: set(decode(content)),
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
