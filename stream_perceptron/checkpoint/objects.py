"""Objects of River as JSON: a class that is on a list, and its plain data. Nothing is unpickled."""

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

# Classes by the module of River that people import them from.
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
_COMPOSED = {"steps", "transformers"}  # parameters *NAME that are kept by their names
_SEVERAL = {"imputers", "keys", "types"}  # other parameters *NAME
_DERIVED = {"processing_steps"}  # functions, which a class derives from its parameters


def encode(value: Any, learned: bool = True) -> Any:
    """Return plain data, or an object whose class is on the list, as JSON.

    With `learned=False`, save only the object's parameters. Anything else is a CheckpointError.

    Examples
    --------
    >>> from river import preprocessing
    >>> scaler = preprocessing.MaxAbsScaler()
    >>> scaler.learn_one({"a": -3.0})
    >>> saved = encode(scaler)
    >>> saved["class"]
    'preprocessing.MaxAbsScaler'
    >>> decode(saved).transform_one({"a": 1.5})
    {'a': 0.5}

    """
    value = value.item() if isinstance(value, np.generic) else value
    kind: Any = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return value
    if kind is float:
        return {"float": repr(value)}
    if kind in (list, tuple, set):
        parts = [encode(part, learned) for part in value]
        if kind is set:  # in an order that does not depend on its inside
            parts.sort(key=repr)
        return parts if kind is list else {kind.__name__: parts}
    if isinstance(value, dict):
        encode(_default(value, None))  # what comes later can be saved, too
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
    """Return what `encode` was given; an object has the attributes of its class, and no others."""
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
                raise CheckpointError(f"a saved {tag} does not hold what it can hold") from None
            if tag != "tuple" and any(hasattr(key, "__dict__") for key in made):
                raise CheckpointError(f"a saved {tag} has a key that is no plain data")
            return made
        return decode_name(value)
    return _object(value)


@cache
def _name_of(cls: type) -> str | None:
    """Return the name of a class with its module of River, if it is on the list."""
    for module, names in _CLASSES.items():
        of_river = getattr(sys.modules.get(f"river.{module}"), cls.__name__, None)
        if cls is of_river and cls.__name__ in names.split():
            return f"{module}.{cls.__name__}"
    return None


def _state(value: Any, learned: bool) -> dict[str, Any]:
    """Return the attributes of an object as JSON; of one that consists of steps, the steps."""
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
            # An imputer learns in its parameters, but what is made with them starts anew.
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
        raise CheckpointError(f"{name} does not fit together") from None
    return made


@cache
def _parameters(cls: Any) -> dict[str, tuple[Any, ...]]:
    """Return the types that each parameter of a class takes, by its annotation or its default."""
    hints, kinds = get_type_hints(cls.__init__), {}
    for name, parameter in inspect.signature(cls).parameters.items():
        default = parameter.default
        hint = hints.get(name, Any if default is parameter.empty else type(default))
        several = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
        kinds[name] = tuple(get_origin(kind) or kind for kind in several)
    return kinds


def _made(cls: Any, attributes: dict[str, Any]) -> Any:
    """Return a new object of a class, with the parameters that are among some attributes."""
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
            raise CheckpointError(f"{cls.__name__} with such {name} cannot be saved")
    made = cls(*positional, **named)
    for name in _parameters(cls).keys() & attributes.keys():
        if not isinstance(vars(made)[name], type(attributes[name])):
            raise TypeError
    return made


def _is_of(value: Any, *kinds: Any) -> bool:
    """Whether a value is of one of some types; any number is of each type of numbers."""
    return Any in kinds or isinstance(value, (*kinds, *(_NUMBER if {*kinds} & {*_NUMBER} else ())))


def _set(made: Any, attribute: str, part: Any) -> None:
    """Set an attribute that an object has to what is of the same type, down to a dict's values."""
    fresh = vars(made)[attribute]
    kind = dict if isinstance(fresh, dict) else type(fresh)
    if attribute in _DERIVED or not (fresh is None or _is_of(part, kind)):
        raise TypeError
    if not isinstance(fresh, dict):
        setattr(made, attribute, part)
        return
    if fresh and part.keys() != fresh.keys():  # keys that a parameter names
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
    """Return the value that a table has for a new key, or another if it has none."""
    factory = int if isinstance(table, Counter) else getattr(table, "default_factory", None)
    return other if factory is None else factory()


def encode_lr(lr: Any) -> Any:
    """Return a learning rate or one of River's schedulers as JSON."""
    if isinstance(lr, int | float):
        return float(lr)
    try:
        return encode(lr)
    except CheckpointError:
        raise CheckpointError(
            f"{type(lr).__name__} cannot be saved as lr: use a number or a scheduler of river.optim"
        ) from None


def decode_lr(value: Any) -> Any:
    """Return what `encode_lr` was given: a number, or a scheduler, which may have a loss."""
    if isinstance(value, bool | int | float):
        if not 0 <= value <= sys.float_info.max:
            raise CheckpointError("lr is not a finite number of at least 0")
        return value
    lr = _object(value, "lr")
    try:
        float(lr.get(1))
    except ArithmeticError:
        pass  # it may have a rate for other updates
    except Exception:
        raise CheckpointError("lr is a schedule that gives no rate") from None
    return lr
