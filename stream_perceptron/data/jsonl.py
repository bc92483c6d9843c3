"""Records of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import field, replace
from functools import cached_property, partial
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Offset, RawLines, offset_of
from stream_perceptron.data.lines import Rejected, Sample
from stream_perceptron.data.plain import (
    LABEL,
    NESTED,
    ODD,
    SKIP,
    WEIGHT,
    ObjectPlan,
    Plan,
    Reading,
    TablePlan,
    as_bytes,
)
from stream_perceptron.data.plain import text as compiled
from stream_perceptron.data.schema import (
    LABEL_NAMES,
    LIKE_MISSING,
    Described,
    Schema,
    Selection,
    column_called,
    describe,
    missing_hint,
    names_in,
    vector_names,
)
from stream_perceptron.data.source import Request
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.frozen import frozen
from stream_perceptron.model.features import Names
from stream_perceptron.model.validation import as_values, as_weight
from stream_perceptron.model.vocabulary import natural_order

_NESTED = "features"
_BARE = "x"  # says no more than no name
_FLOAT64 = np.dtype(np.float64)


class Row(NamedTuple):
    """The features in a record."""

    names: Names
    values: NDArray[np.float64]
    indicators: tuple[str, ...] = ()
    n_nulls: int = 0


class JsonFormat:
    """Lines of JSON, an object or a list each."""

    n_header_lines = 0

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records that lines make: one each."""
        return lines

    def decoder(self, request: Request, where: str, first: str) -> JsonDecoder:
        """Return what reads the records."""
        return JsonDecoder(
            request.selection,
            request.schema,
            where,
            most_features=request.most_features,
            numbers=dict.fromkeys(map(str, request.numbers)),
        )


@frozen
class JsonDecoder:
    """How records of JSON are read.

    The features are the object under "features", else the one list, which may be nested, else all
    numbers and bools; a line may also be just a list. The first usable row decides. Features that
    have names of their own may be absent from a row, and new ones may come, unless the model was
    made from columns; the first value of a key decides whether it is of numbers or of texts. A bare
    list, or one called x, has the names that the model knows. A null is a feature that is missing.
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
    # The keys that have held numbers. Rows that can be used add to it, as does the model's memory
    # of them where a run resumes.
    numbers: dict[str, None] = field(default_factory=dict)
    names: Names = ()  # the names in the first row
    ignored: tuple[tuple[str, str], ...] = ()  # why keys are not used
    seen: tuple[tuple[str, str], ...] = ()  # the first values of the keys of texts

    @property
    def outlook(self) -> Schema:
        """What is known."""
        return self.schema

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return what a record says."""
        offset = None
        try:
            value = _object_in(record)
            asked = self.selection
            if asked.position:
                offset = _offset_in(asked, value)
            kept = tuple(value.get(name) for name in asked.keep)
            key = self._label_key(value)
            label = None if key is None else self._present(value.pop(key, None))
            if isinstance(label, list | dict):
                raise SampleError(f"label {key!r} is not a number, a text or a bool")
            weight = _take_weight(asked, value)
            for name in asked.roles:
                value.pop(name, None)
            after, row = self._take(value)
            label, schema = after.schema.with_label(label, is_text=False)
        except SampleError as error:
            return Rejected(str(error), offset)
        if schema is not after.schema or (key and not self.label):
            after = replace(after, schema=schema, label=self.label or key)
        are_columns = after.is_vector
        if not are_columns:
            self.numbers.update(dict.fromkeys(map(str, row.names)))
        return Sample(
            row.names, row.values, label, weight, offset, after, row.indicators, are_columns,
            row.n_nulls, kept,
        )  # fmt: skip

    def _label_key(self, value: dict[str, Any]) -> str | None:
        wanted = self.selection.label
        if wanted is None:
            called = [name for name in LABEL_NAMES if name in value]
            if self.label in value and called in ([], [self.label]):
                return self.label
            try:
                return self.selection.label_among(value, self.where)
            except SourceError as error:
                raise SampleError(str(error).removeprefix(f"{self.where}: columns ")) from None
        return wanted if wanted in value else column_called(wanted, list(value))

    def _present(self, value: Any) -> Any:
        """Return a value, None if it is a text that means none."""
        is_blank = isinstance(value, str) and value.strip() in self.selection.missing
        return None if is_blank else value

    def _take(self, value: dict[str, Any]) -> tuple[JsonDecoder, Row]:
        """Return the decoder that knows where the features are, and what they are."""
        decoder = self if self.key is not None else self._decided(value)
        features = value.get(decoder.key) if decoder.key else value
        if not isinstance(features, list if decoder.is_vector else dict):
            kind = "list" if decoder.is_vector else "object"
            raise SampleError(f"it has no {kind} {decoder.key!r}")
        if isinstance(features, list):
            after, row = decoder._take_list(features)
        else:
            after, row = decoder._take_object(features)
        if decoder.key and self.selection.one_hot:
            beside = _indicators(self.selection, value)
            row = row._replace(indicators=(*row.indicators, *beside))
        return after, row

    def _take_object(self, x: dict[str, Any]) -> tuple[JsonDecoder, Row]:
        asked, schema = self.selection, self.schema
        texts: dict[str, str] = {}
        n_nulls = 0
        for name, cell in list(x.items()):
            if name in self._texts:
                texts[name] = cell if isinstance(cell, str) else ""
            elif cell is None or (isinstance(cell, str) and cell.strip() in asked.blanks):
                n_nulls += 1
            elif not isinstance(cell, str):
                continue
            elif name in self.numbers or name in self._known:
                raise SampleError(
                    f"feature {name!r} is {cell[:50]!r}, a text, but was a number before"
                )
            else:
                texts[name] = cell
            del x[name]
        if schema.features is not None:
            added = [name for name in x if name not in self._known]
            if added:
                raise SampleError(f"it adds {names_in(added)} to the features of the model")
        indicators = _indicators(asked, texts)
        if not x and not indicators and not n_nulls:
            raise SampleError("it has no features")
        names = tuple(x)
        row = Row(names, scaled(asked, as_values(names, x.values(), _FLOAT64)), indicators, n_nulls)
        new = [name for name in texts if name not in self._texts]
        decoder = self
        if new or (schema.features is None and schema.texts is None):
            schema = replace(schema, texts=(*(schema.texts or ()), *new))
            seen = (*self.seen, *((name, texts[name]) for name in new))
            decoder = replace(decoder, schema=schema, seen=seen)
        if not decoder.names and names:
            decoder = replace(decoder, names=tuple(map(str, natural_order(names))))
        return decoder, row

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.schema.features or ())

    @cached_property
    def _texts(self) -> frozenset[str]:
        return frozenset(self.schema.texts or ())

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
        elif lists and not self.schema.is_open:
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
        nulls: list[int] = []
        if None in cells:
            nulls = [i for i, cell in enumerate(cells) if cell is None]
            cells = [0.0 if cell is None else cell for cell in cells]
        values = scaled(self.selection, as_values(names, cells, _FLOAT64))
        values[nulls] = np.nan
        row = Row(names, values)
        if self.names:
            return self, row
        try:
            schema = self.schema.with_features(tuple(map(str, names)), self.where)
        except SourceError as error:
            raise SampleError(str(error).removeprefix(f"{self.where}: ")) from None
        return replace(self, schema=schema, names=names), row

    def plan(self, record: bytes) -> Plan | None:
        """Return how records are read that are like one that could be read; None if they are not.

        They have its keys in its order, or some of the features each.
        """
        asked = self.selection
        if asked.position or not self.names:
            return None
        value = json.loads(record.decode())
        label = None if isinstance(value, list) else self._label_key(value)
        is_by_name = asked.label in (None, label)  # else where the key stands tells
        if self.is_vector or asked.one_hot or asked.keep or not is_by_name:
            return self._table(record, value, label)
        if label not in self._plans:
            self._plans[label] = self._objects(label, self._table(record, value, label))
        plan = self._plans[label]
        plan.learn(self._numbers_in(value))
        return plan

    @cached_property
    def _plans(self) -> dict[str | None, ObjectPlan]:
        return {}

    def _numbers_in(self, value: dict[str, Any]) -> list[str]:
        inside = value[self.key] if self.key else value
        return [name for name in inside if name in self.numbers]

    def _objects(self, label: str | None, table: TablePlan | None) -> ObjectPlan:
        asked, schema = self.selection, self.schema
        beside = dict.fromkeys(LABEL_NAMES, ODD)
        beside |= dict.fromkeys([*asked.roles, *(name for name, _ in self.ignored)], SKIP)
        if asked.weight is not None:
            beside[asked.weight] = WEIGHT
        if label is not None:
            beside[label] = LABEL
        texts = dict.fromkeys(self._texts, SKIP)
        is_open = schema.features is None
        numbers = self.numbers if is_open else dict.fromkeys(schema.features or ())
        layout = compiled.Layout([b""], [], list(map(as_bytes, asked.blanks)))
        to_label = None if label is None else self._to_label
        roles, outside = texts | beside, None
        if self.key:
            roles, outside = texts, {**beside, self.key: NESTED}
        return ObjectPlan(roles, outside, numbers, layout, table, is_open, to_label, asked.scale)

    def _table(self, record: bytes, value: Any, label: str | None) -> TablePlan | None:
        """Return how records are read that have the keys of one in its order."""
        asked = self.selection
        spans = compiled.spans_of(record, True)
        names: list[str] = []
        roles = list(self._roles_in(value, label, names))
        if spans is None or len(spans) != len(roles) or not (names or asked.one_hot):
            return None
        if any(name in (label, asked.weight, *asked.one_hot) for name in asked.keep):
            return None  # a key of two roles
        if not self.is_vector and not {*self.numbers, *self._known}.issuperset(names):
            return None  # a null does not tell that numbers follow
        end = len(record.removesuffix(b"\n").removesuffix(b"\r"))
        starts, ends = [*spans[:, 0].tolist(), end], [0, *spans[:, 1].tolist()]
        literals = [record[a:b] for a, b in zip(ends, starts, strict=True)]
        # A text in a list means nothing.
        blanks = [] if self.is_vector else list(map(as_bytes, asked.blanks))
        layout = compiled.Layout(literals, roles, blanks)
        readings: list[Reading | None] = [None if label is None else self._to_label]
        readings += [partial(self._to_indicator, name) for name in asked.one_hot]
        kept = [_from_json] * len(asked.keep)
        known = self.names if self.is_vector else tuple(names)
        return TablePlan(layout, known, self.is_vector, readings, kept, asked.scale)

    def _roles_in(self, value: Any, label: str | None, names: list[str]) -> Iterator[int]:
        """Yield the role of each value in a record; `names` gets those of the features."""
        asked = self.selection
        for key, part in value.items() if isinstance(value, dict) else [(self.key or "", value)]:
            n = _n_values(part)
            if key == label:
                yield LABEL
            elif key == asked.weight:
                yield WEIGHT
            elif key in asked.keep and not isinstance(part, list | dict):
                yield LABEL - 1 - len(asked.one_hot) - asked.keep.index(key)
            elif key in asked.roles or (self.key and key != self.key):
                yield from [self._role_of_text(key)] * n
            elif self.is_vector:
                yield from range(n)
                names += map(str, self.names)
            else:
                for name in part if self.key else [key]:
                    if name in self._texts:
                        yield self._role_of_text(name)
                    else:
                        yield len(names)
                        names.append(name)

    def _role_of_text(self, name: str) -> int:
        asked = self.selection.one_hot
        return LABEL - 1 - asked.index(name) if name in asked else SKIP

    def _to_label(self, data: bytes) -> Any:
        if self.schema.label_type is None:
            raise SampleError("the first label tells of which type all are")
        return self.schema.with_label(self._present(_from_json(data)), is_text=False)[0]

    def _to_indicator(self, name: str, data: bytes) -> str | None:
        value = {name: _from_json(data)}
        return next(iter(_indicators(self.selection, value)), None)

    def describe(self) -> tuple[str, ...]:
        """Say in a few lines what is used and what is not."""
        asked = self.selection
        seen = [(name, cell) for name, cell in self.seen if name not in asked.one_hot]
        found = Described(
            tuple(map(str, self.names)),
            f" from {self.key!r}" if self.key else "",
            [1.0 if asked.scale is None else asked.scale],
            asked.label or self.label,
            dict(self.ignored) | dict.fromkeys(asked.ignore, "as asked"),
            [name for name, _ in seen],
            hints=[
                missing_hint(name, cell)
                for name, cell in seen
                if cell.strip().lower() in LIKE_MISSING
            ],
        )
        return describe(asked, self.schema, found)


def scaled(selection: Selection, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values times the scale that was asked for."""
    if selection.scale is None:
        return values
    with np.errstate(over="ignore"):
        values = values * selection.scale
    if not np.isfinite(values).all():
        raise SampleError("a feature is not finite when it is scaled")
    return values


def _from_json(data: bytes) -> Any:
    return json.loads(data.decode())


def _n_values(part: Any) -> int:
    """Return how many values there are in one that may hold others."""
    if isinstance(part, dict):
        return sum(map(_n_values, part.values()))
    return sum(map(_n_values, part)) if isinstance(part, list) else 1


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


def _indicators(selection: Selection, value: dict[str, Any]) -> tuple[str, ...]:
    """Return the features that stand for the texts of --one-hot."""
    texts = ((name, value.get(name)) for name in selection.one_hot)
    there = ((name, text.strip()) for name, text in texts if isinstance(text, str))
    return tuple(f"{name}_{text}" for name, text in there if text not in selection.blanks)


def _take_weight(selection: Selection, value: dict[str, Any]) -> float:
    weight = value.pop(selection.weight, None) if selection.weight else None
    return 1.0 if weight is None else as_weight(weight)
