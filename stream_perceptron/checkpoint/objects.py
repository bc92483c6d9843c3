"""River objects as JSON, without pickle: a listed class and its plain data."""

from __future__ import annotations

import datetime as dt
import inspect
import math
import sys
from collections import Counter
from functools import cache
from importlib import import_module
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from stream_perceptron.checkpoint.codec import Fields, decode_name, encode_name
from stream_perceptron.errors import CheckpointError

# The classes that can be saved, by their public module in River.
_CLASSES = {
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
_STEPS = ("compose", "feature_extraction", "feature_selection", "preprocessing")
_TYPES = {kind.__name__: kind for kind in (bool, bytes, float, int, str)}
_NUMBER = (bool, int, float)
_NOT_FINITE = ("inf", "-inf", "nan")
_COMPOSED = {"steps", "transformers"}  # parameters *NAME that are stored as dicts
_SEVERAL = {"imputers", "keys", "types"}  # other parameters *NAME
_DERIVED = {"processing_steps"}  # attributes that a class derives from its parameters


def encode(value: Any, learned: bool = True) -> Any:
    """Return plain data or an object of a listed class as JSON, or raise a CheckpointError.

    With `learned=False`, save only the object's parameters.
    """
    value = value.item() if isinstance(value, np.generic) else value
    kind: Any = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return value
    if kind is float:
        return {"float": repr(value)}
    if kind in (list, tuple, set):
        parts = [encode(part, learned) for part in value]
        if kind is set:  # its own order may differ between runs
            parts.sort(key=repr)
        return parts if kind is list else {kind.__name__: parts}
    if isinstance(value, dict):
        encode(_default(value, None))  # check that values of new keys can be saved
        return {"dict": [encode([key, part], learned) for key, part in value.items()]}
    if kind is type and value in _TYPES.values():
        return {"type": value.__name__}
    if kind in (bytes, dt.date, dt.datetime):
        return encode_name(value)
    name = _name_of(kind)
    if name is not None:
        return {"class": name, "state": _state(value, learned)}
    steps = sorted(" ".join(_CLASSES[module] for module in _STEPS).split())
    raise CheckpointError(f"{kind.__name__} cannot be saved: use {', '.join(steps)} of River")


def decode(value: Any) -> Any:
    """Return the data or object from the JSON of `encode`; refuse attributes its class lacks."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [decode(part) for part in value]
    if type(value) is dict and len(value) == 1:
        ((tag, content),) = value.items()
        if tag == "float" and content in _NOT_FINITE:
            return float(content)
        if tag == "type" and type(content) is str and content in _TYPES:
            return _TYPES[content]
        if tag in ("tuple", "set", "dict") and type(content) is list:
            parts = decode(content)
            try:
                made = {"tuple": tuple, "set": set, "dict": dict}[tag](parts)
            except (TypeError, ValueError):
                raise CheckpointError(f"a saved {tag} has invalid contents") from None
            if tag != "tuple" and any(hasattr(key, "__dict__") for key in made):
                raise CheckpointError(f"a saved {tag} has a key that is not plain data")
            return made
        return decode_name(value)
    return _object(value)


@cache
def _name_of(cls: type) -> str | None:
    """Return the name of a listed class with its River module, or None."""
    for module, names in _CLASSES.items():
        of_river = getattr(sys.modules.get(f"river.{module}"), cls.__name__, None)
        if cls is of_river and cls.__name__ in names.split():
            return f"{module}.{cls.__name__}"
    return None


def _state(value: Any, learned: bool) -> dict[str, Any]:
    """Return an object's attributes as JSON, or its steps if it is composed."""
    cls: Any = type(value)
    attributes, parameters = vars(value), _parameters(cls)
    for name in parameters.keys() & _COMPOSED:
        return {name: encode(attributes[name])}
    if parameters:
        _made(cls, attributes)
    state = {}
    for name in attributes:
        is_parameter = name in parameters
        try:
            # An imputer learns in the objects it has as parameters: save these as new.
            if is_parameter or (learned and name not in _DERIVED):
                state[name] = encode(attributes[name], learned and not is_parameter)
        except CheckpointError as error:
            raise CheckpointError(f"{cls.__name__}.{name}: {error}") from None
    return state


def _object(value: Any, where: str = "step") -> Any:
    fields = Fields(value, where)
    name, saved = fields.take("class", str), fields.take("state", dict)
    fields.finish()
    module, _, short = name.rpartition(".")
    if short not in _CLASSES.get(module, "").split():
        raise CheckpointError(f"{name[:50]!r} is no class of River that can be saved")
    cls = getattr(import_module(f"river.{module}"), short)
    state = {attribute: decode(part) for attribute, part in saved.items()}
    try:
        made = _made(cls, state)
        for attribute in state.keys() - _parameters(cls).keys():
            _set(made, attribute, state[attribute])
    except CheckpointError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise CheckpointError(f"{name} is inconsistent") from None
    return made


@cache
def _parameters(cls: Any) -> dict[str, tuple[Any, ...]]:
    """Return the types of a class's parameters, by annotation or default."""
    hints, kinds = get_type_hints(cls.__init__), {}
    for name, parameter in inspect.signature(cls).parameters.items():
        default = parameter.default
        hint = hints.get(name, Any if default is parameter.empty else type(default))
        several = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
        kinds[name] = tuple(get_origin(kind) or kind for kind in several)
    return kinds


def _made(cls: Any, attributes: dict[str, Any]) -> Any:
    """Return a new object, with its parameters taken from attributes."""
    positional, named = [], {}
    for name in _parameters(cls).keys() & attributes.keys():
        part, kinds = attributes[name], _parameters(cls)[name]
        if name in _COMPOSED:
            positional = list(part.items())
            fits = all(hasattr(step, "transform_one") for step in part.values())
        elif name in _SEVERAL:
            positional = list(part)
            fits = all(_is_of(value, *kinds) for value in positional)
        else:
            named[name] = part
            fits = _is_of(part, *kinds)
        if not fits:
            raise CheckpointError(f"{cls.__name__} with this {name} cannot be saved")
    made = cls(*positional, **named)
    for name in _parameters(cls).keys() & attributes.keys():
        if not isinstance(vars(made)[name], type(attributes[name])):
            raise TypeError
    return made


def _is_of(value: Any, *kinds: Any) -> bool:
    """Whether a value is of one of these types; number types are interchangeable."""
    return Any in kinds or isinstance(value, (*kinds, *(_NUMBER if {*kinds} & {*_NUMBER} else ())))


def _set(made: Any, attribute: str, part: Any) -> None:
    """Set an existing attribute to a value of its type; check the values of a dict too."""
    fresh = vars(made)[attribute]
    kind = dict if isinstance(fresh, dict) else type(fresh)
    if attribute in _DERIVED or not (fresh is None or _is_of(part, kind)):
        raise TypeError
    if not isinstance(fresh, dict):
        setattr(made, attribute, part)
        return
    if fresh and part.keys() != fresh.keys():  # a parameter sets these keys
        raise TypeError
    for key, value in part.items():
        like = fresh.get(key, _default(fresh, value))
        if not _is_of(value, type(like)) or (
            fresh and like != value and not hasattr(like, "__dict__")
        ):
            raise TypeError
    fresh.clear()
    fresh.update(part)


def _default(table: Any, other: Any) -> Any:
    """Return a table's default value, or `other` if it has none."""
    factory = int if isinstance(table, Counter) else getattr(table, "default_factory", None)
    return other if factory is None else factory()


def encode_lr(lr: Any) -> Any:
    """Return a learning rate or River scheduler as JSON."""
    if isinstance(lr, int | float):
        return float(lr)
    try:
        return encode(lr)
    except CheckpointError:
        raise CheckpointError(
            f"{type(lr).__name__} cannot be saved as lr: use a number or a scheduler of river.optim"
        ) from None


def decode_lr(value: Any) -> Any:
    """Return the learning rate or scheduler from the JSON of `encode_lr`."""
    if isinstance(value, bool | int | float):
        if not 0 <= value <= sys.float_info.max:
            raise CheckpointError("lr is not a finite number of at least 0")
        return value
    lr = _object(value, "lr")
    try:
        float(lr.get(1))
    except ArithmeticError:
        pass  # other updates may have a rate
    except Exception:
        raise CheckpointError("lr is a scheduler that returns no rate") from None
    return lr
