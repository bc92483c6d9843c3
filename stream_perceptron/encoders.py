"""What the cells of records mean: numbers, categories, words, and parts of dates."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from river.base import Transformer

from stream_perceptron.errors import SampleError
from stream_perceptron.model.frames import FeatureFrame, as_frame

if TYPE_CHECKING:
    from narwhals.stable.v2.typing import IntoDataFrame

_text: Any = import_module("stream_perceptron._text")

_NUMBERS = (int, float, Decimal)
_LISTS = (list, tuple, bytes, np.ndarray)
PIXEL_COLUMNS = ("pixels", "pixel", "image")


def is_date(text: str) -> bool:
    """Whether a string spells a date, with or without a time."""
    return ".days" in encode_string("", text)


def encode_string(name: str, text: str) -> dict[str, float]:
    """Return the features of a string, which has no spaces around it.

    The features of a date are the hour as written, the weekday, the month, and the number of days
    since 1 January 2020, divided by 365. Any other string of at most three words is a category; a
    longer one has a feature for each of its words. Words are runs of Unicode letters and digits, in
    lower case.

    Examples
    --------
    >>> encode_string("at", "2021-01-01T09:30+02:00")
    {'at.hour=9': 1.0, 'at.weekday=friday': 1.0, 'at.month=1': 1.0, 'at.days': 1.0027397260273974}
    >>> encode_string("note", "Late, late refund, refused!"), encode_string("note", "a late refund")
    ({'note=late': 1.0, 'note=refund': 1.0, 'note=refused': 1.0}, {'note=a late refund': 1.0})

    """
    return dict(_text.encode_string(name, text))


def format_category(value: str | float | bool | Decimal) -> str:
    """Return the shortest string that represents a value, for the name of its category.

    Examples
    --------
    >>> values = 200, 200.0, Decimal("1.50"), True, "007", " 1.0"
    >>> [format_category(value) for value in values]
    ['200', '200', '1.5', 'true', '007', '1.0']

    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        is_whole = value.is_finite() and value == value.to_integral_value()
        value = int(value) if is_whole else float(value)
    return name_number_category(str(value), value)


def name_number_category(spelling: str, number: float) -> str:
    """Return the name of a number as a category: by its shortest decimal, or by its digits.

    Examples
    --------
    >>> [name_number_category(text, float(text)) for text in ("+200", "2.50", "007")]
    ['200', '2.5', '007']

    """
    try:
        return str(_text.name_number_category(spelling, number))
    except OverflowError:  # a whole number of more than 308 digits
        return spelling


def name_vector_elements(name: str, n_features: int) -> tuple[str, ...]:
    """Return names for the elements of a vector: pixel0, pixel1, ... or name0, name1, ...

    Examples
    --------
    >>> name_vector_elements("pixels", 2), name_vector_elements("x", 2)
    (('pixel0', 'pixel1'), ('x0', 'x1'))

    """
    stem = "pixel" if name in PIXEL_COLUMNS else name
    return tuple(f"{stem}{i}" for i in range(n_features))


def flatten_list(values: Sequence[Any]) -> Sequence[Any]:
    """Return the elements of a list, flattened repeatedly while all of its elements are lists.

    Examples
    --------
    >>> flatten_list([[1, 2], [3, 4]]), flatten_list([1, [2]])
    ([1, 2, 3, 4], [1, [2]])

    """
    while values and all(isinstance(value, list | tuple) for value in values):
        values = list(chain.from_iterable(values))
    return values


def is_vector(values: Sequence[Any]) -> bool:
    """Whether a list holds numbers, and nothing but numbers and nulls; it may be evenly nested."""
    flat = flatten_list(values)
    return not all(map(is_missing, flat)) and all(
        isinstance(value, int | float) or value is None for value in flat
    )


class RecordEncoder(Transformer):
    """Encodes records as features, by the rules by which `learn` reads JSON.

    A number or a bool is a feature. A date becomes its hour, weekday, month and days; any other
    string of at most three words is a category, `name=string`; a longer string becomes its words,
    `name=word`. A nested dict contributes its members, which are named by their paths, such as
    `http.status`. Spaces around names are removed. None, NaN and empty strings have no features.

    In a list with a string, and in a list of whole numbers, each element is a category; a list
    with a float has a feature for each element, `name0`, `name1` and so on. A list of numbers is a
    vector if it is called pixels, pixel or image, if it holds bytes, or if the record has no other
    feature; its elements are then the only features. Other lists have no features.

    Parameters
    ----------
    categorical
        Paths whose values are all categories, even numbers; a string is one path.
    ignore
        Paths that are left out.
    missing
        Strings that mean a missing value, besides the empty string.
    scale
        The factor for numbers; categories, words and parts of dates are not scaled. With None, only
        bytes are scaled, by 1/255.
    vectors
        Whether a list of numbers at the top level is a vector; None to let each record decide. With
        True, only the elements of vectors are scaled, so that the model also takes elements that
        `iter_source` has scaled. `load` sets it to what the model has decided.

    Raises
    ------
    SampleError
        If a value has another type or is not finite, or a path or a feature has two values.

    Examples
    --------
    >>> encoder = RecordEncoder(categorical=["zip"])
    >>> encoder.transform_one({"plan": "pro", "cart": [101, 7], "embedding": [0.5, 2]})
    {'plan=pro': 1.0, 'cart=101': 1.0, 'cart=7': 1.0, 'embedding0': 0.5, 'embedding1': 2.0}
    >>> encoder.transform_one({"plan": "pro", "zip": 98101, "on": "2020-03-01", "a": {"b": True}})
    {'plan=pro': 1.0, 'zip=98101': 1.0, 'on.weekday=sunday': 1.0, 'on.month=3': 1.0, \
'on.days': 0.1643835616438356, 'a.b': 1.0}

    """

    def __init__(
        self,
        categorical: str | Sequence[str] | None = None,
        ignore: str | Sequence[str] | None = None,
        missing: str | Sequence[str] | None = None,
        scale: float | None = None,
        vectors: bool | None = None,
    ) -> None:
        self.categorical, self.ignore, self.missing = categorical, ignore, missing
        self.scale, self.vectors = scale, vectors

    def transform_one(self, x: Mapping[Hashable, Any]) -> dict[Hashable, float]:
        """Return the features of a record."""
        key = self._find_vector_name(x)
        if key is None:
            return self._encode(x)
        values = flatten_list(_to_list(x[key]))
        names = name_vector_elements(str(key).strip(), len(values))
        scale = self.scale
        if scale is None:
            scale = 1 / 255 if isinstance(x[key], bytes) else 1.0
        return {
            name: _to_float(name, value, scale)
            for name, value in zip(names, values, strict=True)
            if not is_missing(value)
        }

    def learn_many(self, X: IntoDataFrame) -> None:
        """Do nothing: the encoder has no state."""

    def transform_many(self, X: IntoDataFrame) -> FeatureFrame:
        """Return the features of the rows of a pandas, polars or pyarrow frame.

        A row may have any features, in any order, so the result is not a frame of columns. A
        `Standardizer` and an `SGDPerceptron` accept it.
        """
        frame = as_frame(X)
        records: Iterable[Any] = frame.iter_rows(named=True)
        return FeatureFrame.build(map(self.transform_one, records), frame)

    def _find_vector_name(self, x: Mapping[Hashable, Any]) -> Hashable | None:
        """Return the name of the vector in a record, or None."""
        if self.vectors is False:
            return None
        named = {*to_names(self.ignore), *to_names(self.categorical)}
        lists = [
            name
            for name, value in x.items()
            if isinstance(value, _LISTS)
            and str(name).strip() not in named
            and isinstance(values := _to_list(value), list | tuple)
            and is_vector(values)
        ]
        images = [
            name
            for name in lists
            if isinstance(x[name], bytes) or str(name).strip() in PIXEL_COLUMNS
        ]
        vectors = images or lists
        if len(vectors) > 1 and (images or self.vectors):
            raise SampleError(f"lists {', '.join(map(repr, vectors))} could each be the features")
        if len(vectors) != 1:
            return None
        key = vectors[0]
        is_decided = images or self.vectors
        others = {name: value for name, value in x.items() if name != key}
        return key if is_decided or not self._encode(others) else None

    def _encode(self, x: Mapping[Hashable, Any]) -> dict[Hashable, float]:
        features: dict[Hashable, float] = {}
        for name, value in self._encode_members("", x, set()):
            if features.setdefault(name, value) != value:
                raise SampleError(f"it has two values for feature {name!r}")
        return features

    def _encode_members(
        self, prefix: str, members: Mapping[Hashable, Any], paths: set[str]
    ) -> Iterator[tuple[str, float]]:
        """Yield the features of the members of a dict, whose paths begin with `prefix`.

        `paths` has the paths that the record has had, and gets further ones.
        """
        for name, value in members.items():
            stripped = str(name).strip()
            path = f"{prefix}{stripped}" if prefix else stripped  # the same object where possible
            if path in paths:
                raise SampleError(f"it has {path!r} twice", code="duplicate")
            paths.add(path)
            if path not in to_names(self.ignore):
                yield from self._encode_cell(path, _to_list(value), paths)

    def _encode_cell(self, path: str, value: Any, paths: set[str]) -> Iterator[tuple[str, float]]:
        """Yield the features of a value."""
        is_categorical = path in to_names(self.categorical)
        if isinstance(value, _NUMBERS) and not is_categorical:
            if value == value:  # it is not NaN
                yield path, self._scale(path, value)
        elif isinstance(value, Mapping):
            yield from self._encode_members(f"{path}.", value, paths)
        elif self._is_missing(value):
            return
        elif isinstance(value, list | tuple):
            yield from self._encode_list(path, value, is_categorical)
        elif is_categorical and isinstance(value, (str, *_NUMBERS, dt.date)):
            yield f"{path}={_format_category(value)}", 1.0
        elif isinstance(value, str | dt.date):
            yield from encode_string(path, str(value).strip()).items()
        else:
            raise SampleError(f"{path!r} is {str(value)[:50]}, a {type(value).__name__}")

    def _encode_list(
        self, path: str, values: Sequence[Any], is_categorical: bool
    ) -> Iterator[tuple[str, float]]:
        """Yield the features of the elements of a list."""
        has_texts = any(isinstance(value, str | dt.date) for value in values)
        elements = values if has_texts else flatten_list(values)
        odd = (list, tuple, Mapping) if elements is values else (list, tuple, Mapping, str, dt.date)
        if any(isinstance(value, odd) for value in elements):
            return
        present = [(i, value) for i, value in enumerate(elements) if not self._is_missing(value)]
        is_numbered = any(isinstance(value, float | Decimal) for _, value in present)
        for i, value in present:
            if is_categorical or has_texts or not is_numbered:
                yield f"{path}={_format_category(value)}", 1.0
            else:
                yield f"{path}{i}", self._scale(f"{path}{i}", value)

    def _scale(self, path: str, value: Any) -> float:
        return _to_float(path, value, 1.0 if self.scale is None or self.vectors else self.scale)

    def _is_missing(self, value: object) -> bool:
        return is_missing(value, {"", *to_names(self.missing)})


def to_names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return names as a tuple; a string is one name."""
    return (names,) if isinstance(names, str) else tuple(names or ())


def _to_float(name: str, value: Any, scale: float) -> float:
    """Return a number, multiplied by a scale; raise a SampleError if the result is not finite."""
    try:
        number = float(value) * scale
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SampleError(f"feature {name!r} is {str(value)[:50]}, not finite")
    return number


def _to_list(value: Any) -> Any:
    """Return arrays, bytes and scalars of NumPy as Python values; other values are unchanged."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return list(value) if isinstance(value, bytes) else value


def _format_category(value: str | float | bool | Decimal | dt.date) -> str:
    """Return the name of a value as a category."""
    return format_date_or_time(value) if isinstance(value, dt.date) else format_category(value)


def format_date_or_time(value: dt.date) -> str:
    """Return the name of a date or time as a category: ISO 8601 with the fewest digits, in UTC.

    Examples
    --------
    >>> zone = dt.timezone(dt.timedelta(hours=1))
    >>> times = [dt.datetime(2024, 3, 5, 13), dt.datetime(2024, 3, 5, 13, 20, 0, 500_000, zone)]
    >>> [format_date_or_time(value) for value in (dt.date(2024, 3, 5), *times)]
    ['2024-03-05', '2024-03-05T13:00:00', '2024-03-05T12:20:00.5Z']

    """
    if not isinstance(value, dt.datetime):
        return value.isoformat()
    has_zone = value.tzinfo is not None
    if has_zone:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    text = value.isoformat()
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "Z" * has_zone


def is_missing(value: object, null_texts: Collection[str] = ("",)) -> bool:
    """Whether a value is None, NaN or pandas.NA, or a string that means a missing value.

    Whitespace around a string is ignored.
    """
    if isinstance(value, str):
        return value.strip() in null_texts
    if value is None or isinstance(value, list | tuple | np.ndarray):
        return value is None
    try:
        return bool(value != value)
    except TypeError:  # the truth value of pandas.NA is undefined
        return True
