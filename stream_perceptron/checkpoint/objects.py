"""River objects as JSON, without pickle: a listed class and its plain data."""

from __future__ import annotations

import datetime as dt
import inspect
import math
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from operator import attrgetter
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from stream_perceptron.checkpoint.codec import Fields, decode_name, encode_name
from stream_perceptron.errors import CheckpointError

# The classes that can be saved, by their public module in River, or here.
_CLASSES = {
    "encoders": "DateEncoder WordCounter",
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
_STEPS = ("encoders", "compose", "feature_extraction", "feature_selection", "preprocessing")
_TYPES = {kind.__name__: kind for kind in (bool, bytes, float, int, str)}
_NUMBER = (bool, int, float, np.number, np.bool_)
# Types of numbers with which River computes otherwise than with Python's.
_NUMPY = {np.dtype(code).name: np.dtype(code).type for code in "efbhiBHIL"}
_TABLES = {kind.__name__: kind for kind in (dict, float, int, list, set, str)}  # default factories
_COMPOSED = {"steps", "transformers"}  # parameters *NAME that are stored as dicts
_SEVERAL = {"columns", "imputers", "keys", "types"}  # other parameters *NAME
# The bounds of parameters. Without them, hashing to no feature would end the process, and products
# of many features or n-grams of many words would take minutes and all memory for a sample.
_BOUNDS = {"n_features": (1, math.inf), "degree": (-math.inf, 10), "ngram_range": (-math.inf, 100)}
_COUNTS = {"counts", "dfs", "n"}  # learned attributes that count samples
_MAX_COUNT = 2**53
_MIN_TABLE = 8  # keys
_LONGEST = 1023  # bits of an integer, so that River can compute with it and floats
# Attributes that a class derives from its parameters.
_DERIVED = {"processing_steps", "_reserved_category_codes"}


def encode(value: Any, learned: bool = True) -> Any:
    """Return plain data or a listed class's object as JSON; only parameters if not `learned`."""
    if isinstance(value, np.generic):
        if value.dtype.name in _NUMPY:
            return {"numpy": [value.dtype.name, encode(value.item())]}
        if isinstance(value, np.float64 | np.int64 | np.bool_ | np.str_):
            value = value.item()
    kind: Any = type(value)
    if kind is float and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or kind in (bool, int, float, str):
        return _require_short(value)
    if kind in (list, tuple, set):
        parts = [encode(part, learned) for part in value]
        if kind is set:  # its own order may differ between runs
            parts.sort(key=repr)
        return parts if kind is list else {kind.__name__: parts}
    if kind in (dict, OrderedDict, Counter, defaultdict):
        if learned and (table := _encode_table(value)) is not None:
            encode(_default(value, None))  # check that values of new keys can be saved
            return {"table": table}
        pairs = [encode([key, part], learned) for key, part in value.items()]
        if learned or kind is not defaultdict:
            encode(_default(value, None))  # check that values of new keys can be saved
            return {"dict": pairs}
        if value.default_factory in _TABLES.values():
            return {"defaultdict": [value.default_factory.__name__, pairs]}
    if kind is type and value in _TYPES.values():
        return {"type": value.__name__}
    if kind in (bytes, dt.date, dt.datetime):
        return encode_name(value)
    name = _name_of(kind)
    if name is not None:
        return {"class": name, "state": _state(value, learned)}
    steps = sorted(" ".join(_CLASSES[module] for module in _STEPS).split())
    raise CheckpointError(f"{kind.__name__} cannot be saved: use {', '.join(steps)}")


def _require_short(value: Any) -> Any:
    """Return a value, which is not an integer beyond the largest float."""
    if type(value) is int and value.bit_length() > _LONGEST:
        raise CheckpointError("an integer of more than 307 digits cannot be saved")
    return value


def _encode_table(table: dict[Any, Any]) -> list[Any] | None:
    """Return keys and values as two JSON lists; None if there are few, or of several types.

    The values of a table of objects are one list for each of their attributes.
    """
    keys, values = list(table), list(table.values())
    if len(keys) < _MIN_TABLE or not _are_plain(keys):
        return None
    if _are_plain(values):
        return [keys, values]
    cls: Any = type(values[0])
    name = _name_of(cls)
    if name is None or set(map(type, values)) != {cls} or _parameters(cls):
        return None
    attributes = _state(values[0], learned=True)
    columns = {attribute: list(map(attrgetter(attribute), values)) for attribute in attributes}
    if not all(map(_are_plain, columns.values())):
        return None
    return [keys, {"class": name, "columns": columns}]


def _are_plain(values: list[Any]) -> bool:
    """Whether values are all texts, or all numbers of one type that JSON has."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return all(map(math.isfinite, values))
    if kinds == {int}:
        return bool(max(map(abs, values)) < _MAX_COUNT)
    return kinds == {str}


def decode(value: Any) -> Any:
    """Return the data or object from the JSON of `encode`; refuse attributes its class lacks."""
    if value is None or type(value) in (bool, int, float, str):
        return _require_short(value)
    if type(value) is list:
        return [decode(part) for part in value]
    if type(value) is not dict or len(value) != 1:
        return _object(value)
    ((tag, content),) = value.items()
    if tag not in _TAGGED:
        return decode_name(value)
    try:
        with np.errstate(all="ignore"):
            made = _TAGGED[tag](content)
    except CheckpointError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError):
        raise CheckpointError(f"a saved {tag} has invalid contents") from None
    keys = made if tag in ("set", "dict", "defaultdict") else ()
    if any(hasattr(key, "__dict__") and type(key) is not type for key in keys):
        raise CheckpointError(f"a saved {tag} has a key that is not plain data")
    return made


def _decode_table(content: Any) -> dict[Any, Any]:
    """Return the table from the JSON of `_encode_table`."""
    keys, values = content
    if type(values) is dict:
        fields = Fields(values, "table")
        values = _objects(fields.take("class", str), fields.take("columns", dict))
        fields.finish()
    elif not _are_plain(values):
        raise TypeError
    if not _are_plain(keys):
        raise TypeError
    return dict(zip(keys, values, strict=True))


def _objects(name: str, columns: dict[str, list[Any]]) -> list[Any]:
    """Return objects with these attributes, as copies of one whose attributes are checked."""
    first = _object({"class": name, "state": {}})
    for attribute, column in columns.items():
        if not _are_plain(column):
            raise TypeError
        for value in (max(column), min(column)):
            with _checking(name):
                _set(first, attribute, value)
    (n,) = set(map(len, columns.values()))
    every = [columns.get(attribute, [part] * n) for attribute, part in vars(first).items()]
    objects = [object.__new__(type(first)) for _ in range(n)]
    for name, column in zip(vars(first), every, strict=True):
        for new, value in zip(objects, column, strict=True):
            setattr(new, name, value)
    return objects


# Return what each tag stands for, given its content.
_TAGGED: dict[str, Callable[[Any], Any]] = {
    "float": {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}.__getitem__,
    "type": _TYPES.__getitem__,
    "numpy": lambda content: _NUMPY[content[0]](decode(content[1])),
    "tuple": lambda content: tuple(decode(content)),
    "set": lambda content: set(decode(content)),
    "dict": lambda content: dict(decode(content)),
    "table": _decode_table,
    "defaultdict": lambda content: defaultdict(_TABLES[content[0]], decode(content[1])),
}


def _resolve_module(module: str) -> str:
    """Return the full name of a module of `_CLASSES`."""
    return f"{'stream_perceptron' if module == 'encoders' else 'river'}.{module}"


@cache
def _name_of(cls: type) -> str | None:
    """Return the name of a listed class with its River module, or None."""
    for module, names in _CLASSES.items():
        listed = getattr(sys.modules.get(_resolve_module(module)), cls.__name__, None)
        if cls is listed and cls.__name__ in names.split():
            return f"{module}.{cls.__name__}"
    return None


def _state(value: Any, learned: bool) -> dict[str, Any]:
    """Return an object's attributes as JSON, or its steps if it is composed."""
    cls: Any = type(value)
    attributes, parameters = vars(value), _parameters(cls)
    for name in parameters.keys() & _COMPOSED:
        return {name: encode(attributes[name])}
    with _checking(cls.__name__):
        if parameters:
            _made(cls, attributes)
        # An imputer learns in the objects it has as parameters: save these as new.
        return {
            name: encode(part, learned and name not in parameters)
            for name, part in attributes.items()
            if name in parameters or (learned and name not in _DERIVED)
        }


def _object(value: Any, where: str = "step") -> Any:
    fields = Fields(value, where)
    name, saved = fields.take("class", str), fields.take("state", dict)
    fields.finish()
    module, _, short = name.rpartition(".")
    if short not in _CLASSES.get(module, "").split():
        raise CheckpointError(f"{name[:50]!r} is no class that can be saved")
    cls = getattr(import_module(_resolve_module(module)), short)
    with _checking(short):
        state = {attribute: decode(part) for attribute, part in saved.items()}
        if _parameters(cls).keys() & _COMPOSED:
            ((parameter, steps),) = state.items()
            if parameter not in _COMPOSED or not all(map(is_transformer, steps.values())):
                raise TypeError
            made = cls()  # given its steps, a union would copy them
            getattr(made, parameter).update(steps)
            return made
        made = _made(cls, state)
        for attribute in state.keys() - _parameters(cls).keys():
            _set(made, attribute, state[attribute])
        return made


def is_transformer(step: Any) -> bool:
    """Whether an object can be a step before a model."""
    return hasattr(step, "transform_one")


@contextmanager
def _checking(name: str) -> Iterator[None]:
    """Turn errors of a River class, given data that it cannot have, into a CheckpointError."""
    try:
        yield
    except CheckpointError as error:
        before = "" if str(error).startswith(name) else f"{name}: "
        raise CheckpointError(f"{before}{error}") from None
    except RecursionError:
        raise CheckpointError(f"{name} is nested too deeply") from None
    except Exception:
        raise CheckpointError(f"{name} is inconsistent") from None


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
    given = {name: attributes[name] for name in _parameters(cls) if name in attributes}
    several = [part for name in given.keys() & _SEVERAL for part in given[name]]
    for name, part in given.items():
        parts = several if name in _SEVERAL else [part]
        if not all(_is_of(each, *_parameters(cls)[name]) for each in parts):
            raise CheckpointError(f"{cls.__name__} with this {name} cannot be saved")
    for name in given.keys() & _BOUNDS.keys():
        lower, upper = _BOUNDS[name]
        parts = given[name] if isinstance(given[name], tuple) else [given[name]]
        if not all(lower <= part <= upper for part in parts):
            raise CheckpointError(f"{cls.__name__} with {name} {given[name]} cannot be saved")
    made = cls(*several, **{name: given[name] for name in given.keys() - _SEVERAL})
    if not all(isinstance(vars(made)[name], type(part)) for name, part in given.items()):
        raise TypeError
    for part in vars(made).values():
        encode(_default(part, None))
    return made


def _is_of(value: Any, *kinds: Any) -> bool:
    """Whether a value is of one of these types; number types are interchangeable."""
    return Any in kinds or isinstance(value, (*kinds, *(_NUMBER if {*kinds} & {*_NUMBER} else ())))


def _set(made: Any, attribute: str, part: Any) -> None:
    """Set an existing attribute to a value of its type; check the values of a dict too."""
    fresh = vars(made)[attribute]
    kind = dict if isinstance(fresh, dict) else type(fresh)
    if not (fresh is None or _is_of(part, kind)) or (attribute in _DERIVED and part != fresh):
        raise TypeError
    if attribute == "_seed" and type(part) is not int:  # unlike other numbers, never a float
        raise TypeError
    numbers = part.values() if isinstance(part, dict) else [part]
    if attribute in _COUNTS and not all(0 <= number < _MAX_COUNT for number in numbers):
        raise CheckpointError(f"{type(made).__name__} has impossible {attribute}")
    if attribute == "vars" and not all(number >= 0 for number in numbers):
        raise CheckpointError(f"{type(made).__name__} has negative variances")
    if not isinstance(fresh, dict):
        setattr(made, attribute, part)
        return
    is_given = bool(fresh) or fresh in [vars(made)[name] for name in _parameters(made.__class__)]
    if is_given and part.keys() != fresh.keys():  # a parameter sets these keys
        raise TypeError
    # A table without keys of its own takes any values of its type: one of each type is enough.
    items = part if fresh else {type(value): value for value in part.values()}
    for key, value in items.items():
        like = fresh.get(key, _default(fresh, value))
        is_same = not fresh or hasattr(like, "__dict__") or encode(like) == encode(value)
        if not (is_same and _is_of(value, type(like))):
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
    with suppress(CheckpointError):
        return encode(lr)
    raise CheckpointError(
        f"{type(lr).__name__} cannot be saved as lr: use a number or a scheduler of river.optim"
    )


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
