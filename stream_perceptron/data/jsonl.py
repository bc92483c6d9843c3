"""Records of JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Offset, offset_of
from stream_perceptron.data.lines import Rejected, Sample
from stream_perceptron.data.schema import (
    LABEL_NAMES,
    Schema,
    Selection,
    describe,
    names_in,
    vector_names,
)
from stream_perceptron.data.source import Request
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.features import Names
from stream_perceptron.model.validation import as_values, as_weight
from stream_perceptron.model.vocabulary import natural_order

_NESTED = "features"
_BARE = "x"  # says no more than no name
_FLOAT64 = np.dtype(np.float64)

Row = tuple[Names, NDArray[np.float64]]


class JsonFormat:
    """Lines of JSON, an object or a list each."""

    n_header_lines = 0

    def decoder(self, request: Request, where: str, first: str) -> JsonDecoder:
        """Return what reads the records."""
        most = request.most_features
        return JsonDecoder(request.selection, request.schema, where, most_features=most)


@dataclass(frozen=True)
class JsonDecoder:
    """How records of JSON are read.

    The features are the object under "features", else the one list, which may be nested, else all
    numbers and bools; a line may also be just a list. The first usable row decides, also which keys
    hold texts. Features that have names of their own may be absent from a row, and new ones may
    come, unless the model was made from columns. A bare list, or one called x, has the names that
    the model knows.
    """

    selection: Selection  # what was asked for, and what is known
    schema: Schema
    where: str  # what the source is called in messages
    label: str | None = None  # the key of the label, once there was one
    # The key of the object or the list that holds the features; "" if the record itself does, None
    # before the first row.
    key: str | None = None
    is_vector: bool = False
    most_features: int = 2**22
    names: Names = ()  # the names in the first row
    ignored: tuple[tuple[str, str], ...] = ()  # why keys are not used

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return what a record says."""
        offset = None
        try:
            value = _object_in(record)
            if self.selection.position:
                offset = _offset_in(self.selection, value)
            key = _label_key(self.selection, value)
            label = None if key is None else value.pop(key, None)
            if isinstance(label, list | dict):
                raise SampleError(f"label {key!r} is not a number, a text or a bool")
            weight = _take_weight(self.selection, value)
            for name in self.selection.roles:
                value.pop(name, None)
            after, (names, values) = self._take(value)
            label, schema = after.schema.with_label(label, is_text=False)
        except SampleError as error:
            return Rejected(str(error), offset)
        if schema is not after.schema or (key and not self.label):
            after = replace(after, schema=schema, label=self.label or key)
        return Sample(names, values, label, weight, offset, after)

    def _take(self, value: dict[str, Any]) -> tuple[JsonDecoder, Row]:
        """Return the decoder that knows where the features are, and what they are."""
        decoder = self if self.key is not None else self._decided(value)
        features = value.get(decoder.key) if decoder.key else value
        if not isinstance(features, list if decoder.is_vector else dict):
            kind = "list" if decoder.is_vector else "object"
            raise SampleError(f"it has no {kind} {decoder.key!r}")
        if isinstance(features, list):
            return decoder._take_list(features)
        texts, row = take_features(self.selection, self.schema, self._known, features)
        schema = decoder.schema
        if schema.features is None and schema.texts is None:
            schema = replace(schema, texts=texts)
        if schema is not decoder.schema or not decoder.names:
            names = tuple(map(str, natural_order(row[0])))
            ignored = (*decoder.ignored, *((name, "str") for name in texts))
            decoder = replace(decoder, schema=schema, names=names, ignored=ignored)
        return decoder, row

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.schema.features or ())

    def _decided(self, value: dict[str, Any]) -> JsonDecoder:
        """Return the decoder that knows from the first row where the features are."""
        lists = [name for name, part in value.items() if isinstance(part, list)]
        if isinstance(value.get(_NESTED), dict):
            key, is_vector = _NESTED, False
        elif len(lists) > 1:
            raise SampleError(
                f"lists {names_in(lists)} could each be the features: drop all but one with "
                "--ignore"
            )
        elif lists and self.schema.texts is None:
            key, is_vector = lists[0], True
        elif value:
            key, is_vector = "", False
        else:
            raise SampleError("it has no features")
        others = [name for name in value if name != key] if key else []
        ignored = tuple((name, type(value[name]).__name__) for name in others)
        return replace(self, key=key, is_vector=is_vector, ignored=ignored)

    def _take_list(self, cells: list[Any]) -> tuple[JsonDecoder, Row]:
        while cells and all(isinstance(cell, list) for cell in cells):
            cells = list(chain.from_iterable(cells))
        known = self.schema.features
        if known is not None and len(cells) != len(known):
            raise SampleError(f"list {self.key!r} has {len(cells):,} values, not {len(known):,}")
        if not cells:
            raise SampleError(f"list {self.key!r} is empty")
        if len(cells) > self.most_features:
            raise SampleError(
                f"list {self.key!r} has {len(cells):,} values, more than a model may have"
            )
        names = self.names
        if not names:
            names = vector_names(self.key or "", len(cells))
            if known is not None and self.key == _BARE:
                names = known
        values = scaled(self.selection, as_values(names, cells, _FLOAT64))
        if self.names:
            return self, (names, values)
        try:
            schema = self.schema.with_features(tuple(map(str, names)), self.where)
        except SourceError as error:
            raise SampleError(str(error).removeprefix(f"{self.where}: ")) from None
        return replace(self, schema=schema, names=names), (names, values)

    def describe(self) -> tuple[str, ...]:
        """Say in a few lines what is used and what is not."""
        source = f" from {self.key!r}" if self.key else ""
        scale = 1.0 if self.selection.scale is None else self.selection.scale
        names = tuple(map(str, self.names))
        label = self.selection.label or self.label
        return describe(
            self.selection, self.schema, names, source, [scale], label, dict(self.ignored)
        )


def take_features(
    selection: Selection, schema: Schema, known: frozenset[str], x: dict[str, Any]
) -> tuple[tuple[str, ...], Row]:
    """Return the keys of an object that hold texts, and names and scaled values of its features."""
    texts = schema.texts
    if schema.features is not None:
        others = [name for name in x if name not in known]
        texts = tuple(name for name in others if isinstance(x[name], str))
        if len(texts) < len(others):
            added = [name for name in others if name not in texts]
            raise SampleError(f"it adds {names_in(added)} to the features of the model")
    elif texts is None:
        texts = tuple(name for name, cell in x.items() if isinstance(cell, str))
    for name in texts or ():
        x.pop(name, None)
    if None in x.values():
        x = {name: cell for name, cell in x.items() if cell is not None}
    if not x:
        raise SampleError("it has no features")
    names = tuple(x)
    return texts or (), (names, scaled(selection, as_values(names, x.values(), _FLOAT64)))


def scaled(selection: Selection, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values times the scale that was asked for."""
    if selection.scale is None:
        return values
    with np.errstate(over="ignore"):
        values = values * selection.scale
    if not np.isfinite(values).all():
        raise SampleError("a feature is not finite when it is scaled")
    return values


def _object_in(record: bytes) -> dict[str, Any]:
    """Return the object in a record, a bare list as the value of a key."""
    try:
        text = record.decode()
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object_of)
        if "\\u" in text:
            # Half of a surrogate pair can be escaped, but not written anywhere.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        raise SampleError("it is not UTF-8") from None
    except RecursionError:
        raise SampleError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise SampleError(f"it is not JSON from character {error.pos + 1:,} on") from None
    except SampleError:
        raise
    except ValueError:
        raise SampleError("it holds a number that JSON does not have, or one too long") from None
    if isinstance(value, list):
        return {_BARE: value}
    if not isinstance(value, dict):
        raise SampleError(f"it is {text.strip()[:50]}, not an object or a list")
    return value


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise SampleError(f"it has the key {twice[:50]!r} twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _offset_in(selection: Selection, value: dict[str, Any]) -> Offset:
    return offset_of(selection, [value.get(name) for name in selection.position])


def _label_key(selection: Selection, value: dict[str, Any]) -> str | None:
    if selection.label is not None:
        return selection.label
    roles = selection.roles
    names = [name for name in LABEL_NAMES if name in value and name not in roles]
    if len(names) > 1:
        raise SampleError(
            f"{names_in(names)} could each be the label: choose with --label, and --ignore the "
            "others"
        )
    return names[0] if names else None


def _take_weight(selection: Selection, value: dict[str, Any]) -> float:
    weight = value.pop(selection.weight, None) if selection.weight else None
    return 1.0 if weight is None else as_weight(weight)
