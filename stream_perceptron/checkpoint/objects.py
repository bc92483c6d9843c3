"""Plain data and objects of listed River classes as JSON, without pickle."""

from __future__ import annotations

import datetime as dt
import inspect
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from typing import Any

import numpy as np

from stream_perceptron.errors import CheckpointError

# The classes that can be saved, by their public module in River or in this package.
_CLASSES = {
    "encoders": "RecordEncoder",
    "standardizer": "Standardizer",
    "compose": "Discard Pipeline Prefixer Renamer Select SelectType Suffixer TransformerProduct "
    "TransformerUnion",
    "feature_extraction": "BagOfWords PolynomialExtender TFIDF",
    "feature_selection": "VarianceThreshold",
    "preprocessing": "Binarizer FeatureHasher MaxAbsScaler MinMaxScaler Normalizer OneHotEncoder "
    "OrdinalEncoder PreviousImputer StandardScaler StatImputer",
    "preprocessing.impute": "Constant",
    "stats": "AbsMax Count Max Mean Min Mode Sum Var",
    "optim.losses": "Absolute BinaryFocalLoss Cauchy CrossEntropy EpsilonInsensitiveHinge Hinge "
    "Huber Log Poisson Quantile Squared",
    "optim.schedulers": "Constant InverseScaling Optimal",
}
_OWN_MODULES = ("encoders", "standardizer")
# Attributes that a constructor derives from parameters.
_DERIVED = {
    "processing_steps", "stats", "_plan", "_inference_transformers", "_last_step_cached",
    "_reserved_category_codes",
}  # fmt: skip
_STEPS = ("steps", "transformers")  # attributes that hold the steps of a composed object

_PLAIN = {type(None), bool, int, str}
_TYPES = {kind.__name__: kind for kind in (bool, bytes, dict, float, int, list, set, str)}
_DICTS = {kind.__name__: kind for kind in (dict, OrderedDict, Counter)}
# For each type that JSON lacks: its conversions to and from text.
_TEXTS: dict[type, tuple[Callable[[Any], str], Callable[[str], object]]] = {
    bytes: (bytes.hex, bytes.fromhex),
    dt.date: (dt.date.isoformat, dt.date.fromisoformat),
    dt.datetime: (dt.datetime.isoformat, dt.datetime.fromisoformat),
}
# NumPy types for which River's results differ from its results for Python numbers.
_NUMPY_TYPES = {np.dtype(code).name: np.dtype(code).type for code in "efbhiBHIL"}


def encode(value: Any) -> object:
    """Encode plain data or an object of a listed class.

    Raises
    ------
    CheckpointError
        If the value, or a part of it, has another type.

    Examples
    --------
    >>> encode([1, (2.5, b"a")])
    [1, {'tuple': [2.5, {'bytes': '61'}]}]

    """
    if isinstance(value, np.generic) and value.dtype.name in _NUMPY_TYPES:
        return {"numpy": [value.dtype.name, encode(value.item())]}
    if isinstance(value, np.float64 | np.int64 | np.bool_ | np.str_):
        value = value.item()
    kind = type(value)
    if kind in _PLAIN or (kind is float and math.isfinite(value)):
        return value
    if kind is float:
        return {"float": repr(value)}
    if kind is list:
        return encode_list(value)
    if kind is tuple:
        return {"tuple": encode_list(value)}
    if kind is set:  # its order may differ between runs
        return {"set": sorted(map(encode, value), key=repr)}
    if kind in _DICTS.values():
        return {kind.__name__: [encode_list([*value]), encode_list([*value.values()])]}
    if kind is defaultdict:
        return {"defaultdict": [encode(value.default_factory), encode(dict(value))]}
    if isinstance(value, type) and value in _TYPES.values():
        return {"type": value.__name__}
    if (name := _find_class_name(value)) is not None:
        return {"class": name}
    if kind in _TEXTS:
        return {kind.__name__: _TEXTS[kind][0](value)}
    if _find_class_name(kind) is not None:
        return {"object": encode_list([value])}
    names = sorted(name for module in [*_CLASSES][:6] for name in _CLASSES[module].split())
    raise CheckpointError(
        f"{kind.__name__} cannot be saved: use plain data, or one of {', '.join(names)}"
    )


def encode_list(values: Sequence[Any]) -> object:
    """Encode a list; for objects of one class, encode one list per attribute."""
    kinds = set(map(type, values))
    if kinds <= _PLAIN or (kinds == {float} and all(map(math.isfinite, values))):
        return values
    name = _find_class_name(*kinds) if len(kinds) == 1 else None
    if name is None or not (len(values) == 1 or vars(values[0])):
        return [encode(value) for value in values]
    attributes = [attribute for attribute in vars(values[0]) if attribute not in _DERIVED]
    attributes = [steps for steps in _STEPS if steps in attributes] or attributes
    columns = [[_get_attribute(value, attribute) for value in values] for attribute in attributes]
    return {"objects": [name, attributes, list(map(encode_list, columns))]}


def _get_attribute(value: Any, attribute: str) -> object:
    # An imputer updates the statistics in `stats`, which may be copies of its parameters.
    return tuple(value.stats.items()) if attribute == "imputers" else getattr(value, attribute)


def decode(value: Any) -> Any:
    """Decode JSON produced by `encode`.

    Other JSON may raise any error, or give values that cannot be used.
    """
    if type(value) is list:
        return [decode(part) if type(part) in (list, dict) else part for part in value]
    if type(value) is not dict:
        return value
    ((tag, content),) = value.items()
    return _DECODERS[tag](content)


def _decode_objects(content: Any) -> list[object]:
    """Decode objects of one class from one list per attribute."""
    name, attributes, columns = content
    cls = _find_class(name)
    rows = zip(*map(decode, columns), strict=True) if attributes else [()]
    return [_build_object(cls, dict(zip(attributes, row, strict=True))) for row in rows]


def _build_object(cls: Any, state: dict[str, Any]) -> object:
    """Build an object from its attributes, some of which are the parameters of its class."""
    for steps in state.keys() & set(_STEPS):
        composed = cls()  # River would copy steps that are passed to a union
        getattr(composed, steps).update(state[steps])
        return composed
    positional, named = [], {}
    for name, parameter in _get_parameters(cls).items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional = state[name]  # also kept as an attribute, so that a set keeps its order
        else:
            named[name] = state.pop(name)
    instance = cls(*positional, **named)
    vars(instance).update(state)
    return instance


def _decode_dict(kind: Any, content: Any) -> Any:
    return kind(dict(zip(*decode(content), strict=True)))


@cache
def _get_parameters(cls: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(cls).parameters)


def _find_class(name: str) -> Any:
    """Return the listed class with a name."""
    module, _, short = name.rpartition(".")
    if short not in _CLASSES.get(module, "").split():
        raise CheckpointError(f"{name[:50]!r} is not a class that can be saved")
    return getattr(_import(module), short)


def _import(module: str) -> object:
    return import_module(f"{'stream_perceptron' if module in _OWN_MODULES else 'river'}.{module}")


# For each tag, a function that decodes its content.
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "tuple": lambda content: tuple(decode(content)),
    "set": lambda content: set(decode(content)),
    "defaultdict": lambda content: defaultdict(*decode(content)),
    "type": _TYPES.__getitem__,
    "class": _find_class,
    "numpy": lambda content: _NUMPY_TYPES[content[0]](decode(content[1])),
    "objects": _decode_objects,
    "object": lambda content: decode(content)[0],
}
_DECODERS |= {kind.__name__: from_text for kind, (_, from_text) in _TEXTS.items()}
_DECODERS |= {name: partial(_decode_dict, kind) for name, kind in _DICTS.items()}


def _find_class_name(cls: object) -> str | None:
    """Return the name of a listed class, prefixed with its module; None for anything else."""
    short = getattr(cls, "__name__", None)
    for module, names in _CLASSES.items():
        if short in names.split() and cls is getattr(_import(module), short):
            return f"{module}.{short}"
    return None


def encode_lr(lr: object) -> object:
    """Encode a learning rate or a River scheduler as JSON."""
    if isinstance(lr, int | float):
        return float(lr)
    with suppress(CheckpointError):
        return encode(lr)
    raise CheckpointError(
        f"{type(lr).__name__} cannot be saved as lr: use a number or a scheduler from river.optim"
    )
