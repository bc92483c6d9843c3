"""River objects as JSON, without pickle: the name of a listed class, and plain data."""

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

# The classes that can be saved, by their public module in River or in this package.
_CLASSES = {
    "encoders": "DateEncoder WordEncoder",
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
_STEP_MODULES = (
    *_OWN_MODULES, "compose", "feature_extraction", "feature_selection", "preprocessing"
)  # fmt: skip
_TYPES = {kind.__name__: kind for kind in (bool, bytes, float, int, str)}
_NUMBER_TYPES = (bool, int, float, np.number, np.bool_)
# NumPy types for which River's results differ from its results for Python numbers.
_NUMPY_TYPES = {np.dtype(code).name: np.dtype(code).type for code in "efbhiBHIL"}
_DEFAULT_FACTORIES = {
    kind.__name__: kind for kind in (dict, float, int, list, set, str)
}  # the default factories that can be saved
_STEP_PARAMETERS = {"steps", "transformers"}  # variadic parameters that are stored as dicts
_VARIADIC_PARAMETERS = {"columns", "imputers", "keys", "types"}  # other variadic parameters
# Bounds on parameters. Without them, hashing into 0 features would crash the process, and a
# sample with products of many features or n-grams of many words would take minutes and exhaust
# memory.
_BOUNDS = {"n_features": (1, math.inf), "degree": (-math.inf, 10), "ngram_range": (-math.inf, 100)}
_MAX_COUNT = 2**53
_MIN_TABLE_SIZE = 8  # keys
_MAX_INTEGER_BITS = 1023  # the limit for integers, so that River can combine them with floats
# Attributes that a class derives from its parameters.
_DERIVED_ATTRIBUTES = {"processing_steps", "_reserved_category_codes"}


def encode(value: Any, learned: bool = True) -> object:
    """Encode plain data or an object of a listed class.

    Unless `learned` is true, only the parameters of objects are encoded.
    """
    if isinstance(value, np.generic):
        if value.dtype.name in _NUMPY_TYPES:
            return {"numpy": [value.dtype.name, encode(value.item())]}
        if isinstance(value, np.float64 | np.int64 | np.bool_ | np.str_):
            value = value.item()
    kind: Any = type(value)
    if kind is float and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or kind in (bool, int, float, str):
        return _require_float_range(value)
    if kind in (list, tuple, set):
        parts = [encode(part, learned) for part in value]
        if kind is set:  # the order of a set may differ between runs
            parts.sort(key=repr)
        return parts if kind is list else {kind.__name__: parts}
    if kind in (dict, OrderedDict, Counter, defaultdict):
        if learned and (table := _encode_table(value)) is not None:
            encode(_get_default_value(value))  # check that values for new keys can be saved
            return {"table": table}
        pairs = [encode([key, part], learned) for key, part in value.items()]
        if learned or kind is not defaultdict:
            encode(_get_default_value(value))  # check that values for new keys can be saved
            return {"dict": pairs}
        if value.default_factory in _DEFAULT_FACTORIES.values():
            return {"defaultdict": [value.default_factory.__name__, pairs]}
    if kind is type and value in _TYPES.values():
        return {"type": value.__name__}
    if kind in (bytes, dt.date, dt.datetime):
        return encode_name(value)
    name = _find_class_name(kind)
    if name is not None:
        return {"class": name, "state": _encode_state(value, learned)}
    steps = sorted(" ".join(_CLASSES[module] for module in _STEP_MODULES).split())
    raise CheckpointError(f"{kind.__name__} cannot be saved: use one of {', '.join(steps)}")


def _require_float_range(value: object) -> object:
    """Return a value; reject an integer beyond the largest float."""
    if type(value) is int and value.bit_length() > _MAX_INTEGER_BITS:
        raise CheckpointError("an integer with more than 307 digits cannot be saved")
    return value


def _encode_table(table: dict[object, object]) -> list[object] | None:
    """Encode a dict as lists of keys and values; return None if it is small or of mixed types.

    If the values are objects, each of their attributes becomes a list.
    """
    keys, values = list(table), list(table.values())
    if len(keys) < _MIN_TABLE_SIZE or not _are_homogeneous(keys):
        return None
    if _are_homogeneous(values):
        return [keys, values]
    cls: object = type(values[0])
    name = _find_class_name(cls)
    if name is None or set(map(type, values)) != {cls} or _get_parameter_types(cls):
        return None
    attributes = _encode_state(values[0], learned=True)
    columns = {attribute: list(map(attrgetter(attribute), values)) for attribute in attributes}
    if not all(map(_are_homogeneous, columns.values())):
        return None
    return [keys, {"class": name, "columns": columns}]


def _are_homogeneous(values: list[Any]) -> bool:
    """Return whether values are all strings, all finite floats, or all integers with |n| < 2^53."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return all(map(math.isfinite, values))
    if kinds == {int}:
        return bool(max(map(abs, values)) < _MAX_COUNT)
    return kinds == {str}


def decode(value: object) -> Any:
    """Decode JSON produced by `encode`; reject attributes that an object's class lacks."""
    if value is None or type(value) in (bool, int, float, str):
        return _require_float_range(value)
    if type(value) is list:
        return [decode(part) for part in value]
    if type(value) is not dict or len(value) != 1:
        return _decode_object(value)
    ((tag, content),) = value.items()
    if tag not in _DECODERS:
        return decode_name(value)
    return _DECODERS[tag](content)


def _decode_table(content: Any) -> dict[object, object]:
    """Decode JSON produced by `_encode_table`."""
    keys, values = content
    if type(values) is dict:
        fields = Fields(values, "table")
        values = _decode_objects(fields.take("class", str), fields.take("columns", dict))
        fields.require_empty()
    return dict(zip(keys, values, strict=True))


def _decode_objects(name: str, columns: dict[str, list[Any]]) -> list[object]:
    """Build objects with these attributes."""
    template = _decode_object({"class": name, "state": {}})
    (n,) = set(map(len, columns.values()))
    objects = [object.__new__(type(template)) for _ in range(n)]
    for attribute, default in vars(template).items():
        column = columns.get(attribute, [default] * n)
        for instance, value in zip(objects, column, strict=True):
            setattr(instance, attribute, value)
    return objects


# For each tag, a function that decodes its content.
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "float": {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}.__getitem__,
    "type": _TYPES.__getitem__,
    "numpy": lambda content: _NUMPY_TYPES[content[0]](decode(content[1])),
    "tuple": lambda content: tuple(decode(content)),
    "set": lambda content: set(decode(content)),
    "dict": lambda content: dict(decode(content)),
    "table": _decode_table,
    "defaultdict": lambda content: defaultdict(_DEFAULT_FACTORIES[content[0]], decode(content[1])),
}


def _resolve_module(module: str) -> str:
    """Return the full name of a module in `_CLASSES`."""
    return f"{'stream_perceptron' if module in _OWN_MODULES else 'river'}.{module}"


@cache
def _find_class_name(cls: type) -> str | None:
    """Return the name of a listed class, prefixed with its module, or None."""
    for module, names in _CLASSES.items():
        listed = getattr(sys.modules.get(_resolve_module(module)), cls.__name__, None)
        if cls is listed and cls.__name__ in names.split():
            return f"{module}.{cls.__name__}"
    return None


def _encode_state(value: object, learned: bool) -> dict[str, object]:
    """Encode an object's attributes, or only its steps if it is composed of steps."""
    cls: Any = type(value)
    attributes, parameters = vars(value), _get_parameter_types(cls)
    for name in parameters.keys() & _STEP_PARAMETERS:
        return {name: encode(attributes[name])}
    with _translate_errors(cls.__name__):
        if parameters:
            _construct_object(cls, attributes)
        # An imputer stores what it learns in its parameter objects, so save them as if untrained.
        return {
            name: encode(part, learned and name not in parameters)
            for name, part in attributes.items()
            if name in parameters or (learned and name not in _DERIVED_ATTRIBUTES)
        }


def _decode_object(value: object, where: str = "step") -> Any:
    """Build an object from its encoded class and state; only known classes are allowed."""
    fields = Fields(value, where)
    name, saved = fields.take("class", str), fields.take("state", dict)
    fields.require_empty()
    module, _, short = name.rpartition(".")
    if short not in _CLASSES.get(module, "").split():
        raise CheckpointError(f"{name[:50]!r} is not a class that can be saved")
    cls = getattr(import_module(_resolve_module(module)), short)
    with _translate_errors(short):
        state = {attribute: decode(part) for attribute, part in saved.items()}
        if _get_parameter_types(cls).keys() & _STEP_PARAMETERS:
            ((parameter, steps),) = state.items()
            if parameter not in _STEP_PARAMETERS or not all(map(is_transformer, steps.values())):
                raise TypeError
            instance = cls()  # a union would copy steps that are passed to it
            getattr(instance, parameter).update(steps)
            return instance
        instance = _construct_object(cls, state)
        for attribute in state.keys() - _get_parameter_types(cls).keys():
            _set_attribute(instance, attribute, state[attribute])
        return instance


def is_transformer(step: object) -> bool:
    """Return whether an object can be a step before a model."""
    return hasattr(step, "transform_one")


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Turn the errors that a River class raises for invalid data into a CheckpointError."""
    try:
        yield
    except CheckpointError as error:
        prefix = "" if str(error).startswith(name) else f"{name}: "
        raise CheckpointError(f"{prefix}{error}") from None
    except RecursionError:
        raise CheckpointError(f"{name} is nested too deeply") from None
    except Exception:
        raise CheckpointError(f"{name} is inconsistent") from None


@cache
def _get_parameter_types(cls: Any) -> dict[str, tuple[object, ...]]:
    """Return the types of a class's parameters, from their annotations or defaults."""
    hints, kinds = get_type_hints(cls.__init__), {}
    for name, parameter in inspect.signature(cls).parameters.items():
        default = parameter.default
        hint = hints.get(name, Any if default is parameter.empty else type(default))
        members = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
        kinds[name] = tuple(get_origin(member) or member for member in members)
    return kinds


def _construct_object(cls: Any, attributes: dict[str, Any]) -> object:
    """Construct an object with parameters taken from its saved attributes."""
    arguments = {name: attributes[name] for name in _get_parameter_types(cls) if name in attributes}
    positional = [
        value for name in arguments.keys() & _VARIADIC_PARAMETERS for value in arguments[name]
    ]
    for name, argument in arguments.items():
        values = positional if name in _VARIADIC_PARAMETERS else [argument]
        if not all(_is_instance(value, *_get_parameter_types(cls)[name]) for value in values):
            raise CheckpointError(f"{cls.__name__} with this {name} cannot be saved")
    for name in arguments.keys() & _BOUNDS.keys():
        argument, (lower, upper) = arguments[name], _BOUNDS[name]
        numbers = argument if isinstance(argument, tuple) else [argument]
        if not all(lower <= number <= upper for number in numbers):
            raise CheckpointError(f"{cls.__name__} with {name} {argument} cannot be saved")
    instance = cls(
        *positional, **{name: arguments[name] for name in arguments.keys() - _VARIADIC_PARAMETERS}
    )
    if not all(isinstance(vars(instance)[name], type(value)) for name, value in arguments.items()):
        raise TypeError
    for value in vars(instance).values():
        encode(_get_default_value(value))
    return instance


def _is_instance(value: object, *kinds: Any) -> bool:
    """Return whether a value has one of these types; number types are interchangeable."""
    return Any in kinds or isinstance(
        value, (*kinds, *(_NUMBER_TYPES if {*kinds} & {*_NUMBER_TYPES} else ()))
    )


def _set_attribute(instance: Any, attribute: str, part: Any) -> None:
    """Set an existing attribute; a dict keeps its type."""
    initial = vars(instance)[attribute]
    if isinstance(initial, dict):
        initial.clear()
        initial.update(part)
    else:
        setattr(instance, attribute, part)


def _get_default_value(table: object) -> object:
    """Return the value that a dict gives a new key, or None if the dict has no default."""
    factory = int if isinstance(table, Counter) else getattr(table, "default_factory", None)
    return None if factory is None else factory()


def encode_lr(lr: object) -> object:
    """Encode a learning rate or a River scheduler as JSON."""
    if isinstance(lr, int | float):
        return float(lr)
    with suppress(CheckpointError):
        return encode(lr)
    raise CheckpointError(
        f"{type(lr).__name__} cannot be saved as lr: use a number or a scheduler from river.optim"
    )


def decode_lr(value: object) -> Any:
    """Decode a learning rate or scheduler from JSON produced by `encode_lr`."""
    if isinstance(value, bool | int | float):
        if not 0 <= value <= sys.float_info.max:
            raise CheckpointError("lr is not a finite number greater than or equal to 0")
        return value
    return _decode_object(value, "lr")
