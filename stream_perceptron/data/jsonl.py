"""Records of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Offset, RawLines, offset_of
from stream_perceptron.data.labels import text_of
from stream_perceptron.data.lines import Decoder, Rejected, Sample
from stream_perceptron.data.plain import (
    KEPT,
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
    layout_of,
    refused,
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
from stream_perceptron.data.source import Numbers, Request
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.frozen import frozen
from stream_perceptron.model.rows import Names
from stream_perceptron.model.validation import as_weight, row_of
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
            request.numbers,
            request.to_learn,
            request.most_features,
            float(np.finfo(request.dtype).max),
        )


@frozen
class JsonDecoder:
    """How records of JSON are read.

    The features are the object under "features", else the one list, which may be nested, else all
    numbers and bools; a line may also be just a list. The first row that is learned decides.
    Features that have names of their own may be absent from a row, and new ones may come, unless
    the model was made from columns; the first value of a key decides whether it is of numbers or of
    texts. A null is a feature that is missing. The values of a bare list, or of one called x, are
    the columns that the model knows, else they have the names of its features.
    """

    selection: Selection  # what was asked for, and what is known
    schema: Schema
    where: str  # what the source is called in messages
    numbers: Numbers
    to_learn: bool
    most_features: int
    largest: float  # that a feature may be
    names: Names = ()  # in the first row
    ignored: tuple[tuple[str, str], ...] = ()  # why keys are not used
    seen: tuple[tuple[str, str], ...] = ()  # the first values of the keys of texts

    @property
    def outlook(self) -> Schema:
        """What is known."""
        return self.schema

    @property
    def label(self) -> str | None:
        """The key of the label, once there was one."""
        return self.schema.label

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return what a record says."""
        offset = None
        try:
            value = self._named(_value_in(record))
            asked = self.selection
            if asked.position:
                offset = _offset_in(asked, value)
            kept = tuple(value.get(name) for name in asked.keep)
            inside = {} if self.schema.columns else dict(_keys_in(value))
            key = self._label_key(value)
            label = None if key is None else self._present(value.pop(key, None))
            if isinstance(label, list | dict):
                raise SampleError(f"label {key!r} is not a number, a text or a bool")
            weight = _take_weight(asked, value)
            for name in asked.roles:
                value.pop(name, None)
            after, row = self._take(value)
            label, schema = after.schema.with_label(label, is_text=False)
            if label is not None:
                schema = after._with_columns(schema, inside, key)
        except SampleError as error:
            return Rejected(str(error), offset)
        if schema is not after.schema:
            after = replace(after, schema=schema)
        return Sample(
            row.names, row.values, label, weight, offset, after, row.indicators,
            bool(schema.is_list), row.n_nulls, kept,
        )  # fmt: skip

    def _named(self, value: Any) -> dict[str, Any]:
        """Return a record as an object; the values of a bare list are columns that are known."""
        record: dict[str, Any] = {_BARE: value} if isinstance(value, list) else value
        cells = record.get(_BARE)
        if not isinstance(cells, list) or not self.schema.columns:
            return record
        named: dict[str, Any] = {}
        for key, part in record.items():
            columns = self.schema.columns_of(len(cells)) or () if key == _BARE else (key,)
            twice = [name for name in columns if name in named]
            if twice:
                raise SampleError(f"it has {twice[0]!r} in its list and beside it")
            named |= zip(columns, cells if key == _BARE else [part], strict=True)
        return named

    def _label_key(self, value: dict[str, Any]) -> str | None:
        wanted, known = self.selection.label, self.schema.label
        if wanted is None:
            called = [name for name in LABEL_NAMES if name in value]
            if known in value and called in ([], [known]):
                return known
            try:
                return self.selection.label_among(value, self.where)
            except SourceError as error:
                raise SampleError(str(error).removeprefix(f"{self.where}: columns ")) from None
        wanted = wanted if known is None else known
        return wanted if wanted in value else column_called(wanted, list(value))

    def _present(self, value: Any) -> Any:
        """Return a value, None if it is a text that means none."""
        is_blank = isinstance(value, str) and value.strip() in self.selection.missing
        return None if is_blank else value

    def _with_columns(
        self, schema: Schema, inside: dict[str, list[str]], label: str | None
    ) -> Schema:
        """Return the schema with the keys of a record that is learned, unless it has others."""
        if schema.columns or schema.is_list:
            return schema if schema.label else replace(schema, label=label)
        columns = list(inside)
        if schema.key:
            is_used = {label, schema.key, *self.selection.roles}.__contains__
            columns = [
                name
                for key, names in inside.items()
                if is_used(key)
                for name in (names if key == schema.key else [key])
            ]
        if len(set(columns)) < len(columns):
            columns = []
        return replace(schema, columns=tuple(columns), label=label)

    def _take(self, value: dict[str, Any]) -> tuple[JsonDecoder, Row]:
        """Return the decoder that knows where the features are, and what they are."""
        decoder = self if self.schema.key is not None else self._decided(value)
        key, is_list = decoder.schema.key, decoder.schema.is_list
        features = value.get(key) if key else value
        if not isinstance(features, list if is_list else dict):
            raise SampleError(f"it has no {'list' if is_list else 'object'} {key!r}")
        if isinstance(features, list):
            after, row = decoder._take_list(features)
        else:
            after, row = decoder._take_object(features)
        if key and self.selection.one_hot:
            row = row._replace(indicators=(*row.indicators, *self._indicators(value)))
        return after, row

    def _take_object(self, x: dict[str, Any]) -> tuple[JsonDecoder, Row]:
        asked, schema, numbers = self.selection, self.schema, self.numbers.names
        if not x:
            raise SampleError("it has no features")
        texts: dict[str, Any] = {}
        n_nulls = 0
        for name, cell in list(x.items()):
            if name in self._texts or name in asked.one_hot:
                texts[name] = cell
            elif self._is_only_asked and name not in numbers:
                pass
            elif cell is None or (isinstance(cell, str) and cell.strip() in asked.blanks):
                n_nulls += 1
            elif not isinstance(cell, str):
                continue
            elif name in numbers or name in self._known:
                raise SampleError(
                    f"feature {name!r} is {cell[:50]!r}, a text, but was a number before"
                )
            else:
                texts[name] = cell
            del x[name]
        schema = self._decided_columns(x, texts)
        indicators = self._indicators(texts)
        names = tuple(x)
        row = Row(
            names, scaled(asked, row_of(names, x.values(), _FLOAT64).values), indicators, n_nulls
        )
        new = [name for name in texts if name not in self._texts]
        decoder = self
        if new or schema.is_new:
            schema = replace(schema, texts=(*(schema.texts or ()), *new))
            first = ((name, texts[name]) for name in new)
            seen = (*self.seen, *((name, text) for name, text in first if isinstance(text, str)))
            decoder = replace(decoder, seen=seen)
        if schema is not decoder.schema:
            decoder = replace(decoder, schema=schema)
        if not decoder.names and names:
            decoder = replace(decoder, names=tuple(map(str, natural_order(names))))
        return decoder, row

    @cached_property
    def _is_only_asked(self) -> bool:
        """Whether a model is asked about what it knows, whatever else there is."""
        return not self.to_learn and self.schema.features is None and bool(self.numbers.names)

    def _decided_columns(self, x: dict[str, Any], texts: dict[str, Any]) -> Schema:
        """Return the schema that knows what columns of a table are that were undecided.

        Where the features are those of columns, there are no others.
        """
        schema = self.schema
        if schema.features is None:
            return schema
        decided = [name for name in schema.undecided if name in x or name in texts]
        added = [name for name in x if name not in self._known and name not in decided]
        if added:
            raise SampleError(f"it adds {names_in(added)} to the features of the model")
        if not decided:
            return schema
        new = (name for name in decided if name in x)
        return replace(
            schema,
            features=tuple(map(str, natural_order([*schema.features, *new]))),
            undecided=tuple(name for name in schema.undecided if name not in decided),
        )

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
            key, is_list = _NESTED, False
        elif len(lists) > 1:
            raise SampleError(
                f"lists {names_in(lists)} could each be the features: drop all but one with "
                "--ignore"
            )
        elif lists and not self.schema.is_open:
            key, is_list = lists[0], True
        elif value:
            key, is_list = "", False
        else:
            raise SampleError("it has no features")
        known = self.schema.features
        if is_list and known is not None and key != _BARE:
            try:
                self.schema.with_features(vector_names(key, len(known)), self.where)
            except SourceError as error:
                raise SampleError(str(error).removeprefix(f"{self.where}: ")) from None
        others = [name for name in value if name != key] if key else []
        ignored = tuple((name, type(value[name]).__name__) for name in others)
        return replace(self, schema=replace(self.schema, key=key, is_list=is_list), ignored=ignored)

    def _take_list(self, cells: list[Any]) -> tuple[JsonDecoder, Row]:
        while cells and all(isinstance(cell, list) for cell in cells):
            cells = list(chain.from_iterable(cells))
        known, key = self.schema.features, self.schema.key
        if known is not None and len(cells) != len(known):
            raise SampleError(f"list {key!r} has {len(cells):,} values, not {len(known):,}")
        if not cells:
            raise SampleError(f"list {key!r} is empty")
        if len(cells) > self.most_features:
            raise SampleError(f"list {key!r} has {len(cells):,} values, more than a model may have")
        names = known or vector_names(key or "", len(cells))
        nulls: list[int] = []
        if None in cells:
            nulls = [i for i, cell in enumerate(cells) if cell is None]
            cells = [0.0 if cell is None else cell for cell in cells]
        values = scaled(self.selection, row_of(names, cells, _FLOAT64).values)
        values[nulls] = np.nan
        row = Row(names, values)
        if self.names:
            return self, row
        schema = self.schema if known is not None else replace(self.schema, features=names)
        return replace(self, schema=schema, names=names), row

    def take_note(self, sample: Sample) -> None:
        """Take note of the keys of numbers in a record that is learned."""
        if not sample.are_columns:
            names = (*map(str, sample.names), *sample.indicators)
            self.numbers.names.update(dict.fromkeys(names))

    def plan(self, record: bytes, before: Decoder) -> Plan | None:
        """Return how records are read that are like one that could be read; None if they are not.

        They have its keys in its order, or some of the features each.
        """
        asked, schema = self.selection, self.schema
        is_tentative = self.to_learn and schema is not before.schema
        tells_texts = (schema.texts or ()) != (before.schema.texts or ())
        if asked.position or (is_tentative and tells_texts):
            return None
        raw = json.loads(record.decode())
        value = self._named(raw)
        label = self._label_key(value)
        to_label = refused if is_tentative else self._to_label
        # Else where the key stands tells.
        is_by_name = asked.label in (None, label) or schema.label is not None
        is_bare = isinstance(raw, list) or (_BARE in raw and _BARE not in value)
        if schema.is_list or asked.one_hot or asked.keep or not is_by_name or is_bare:
            return self._table(record, value, label, to_label)
        if is_tentative:
            return self._objects(label, self._table(record, value, label, to_label), to_label)
        if label not in self._plans:
            table = self._table(record, value, label, to_label)
            self._plans[label] = self._objects(label, table, to_label)
        plan = self._plans[label]
        inside = value[schema.key] if schema.key else value
        plan.learn([name for name in inside if name in self.numbers.names])
        if self._is_only_asked:
            plan.pass_over([name for name in inside if name not in self.numbers.names])
        return plan

    @cached_property
    def _plans(self) -> dict[str | None, ObjectPlan]:
        return {}

    def _objects(self, label: str | None, table: TablePlan | None, to_label: Reading) -> ObjectPlan:
        asked, schema = self.selection, self.schema
        beside = dict.fromkeys(LABEL_NAMES, ODD)
        beside |= dict.fromkeys([*asked.roles, *(name for name, _ in self.ignored)], SKIP)
        if asked.weight is not None:
            beside[asked.weight] = WEIGHT
        if label is not None:
            beside[label] = LABEL
        texts = dict.fromkeys(self._texts, SKIP)
        numbers = self.numbers.names if schema.features is None else dict.fromkeys(schema.features)
        layout = compiled.Layout([b""], [], list(map(as_bytes, asked.blanks)))
        roles, outside = texts | beside, None
        if schema.key:
            roles, outside = texts, {**beside, schema.key: NESTED}
        return ObjectPlan(
            roles, outside, numbers, layout, table,
            schema.features is None and self.to_learn,
            None if label is None else to_label, asked.scale, self.largest,
        )  # fmt: skip

    def _table(
        self, record: bytes, value: dict[str, Any], label: str | None, to_label: Reading
    ) -> TablePlan | None:
        """Return how records are read that have the keys of one in its order."""
        asked, schema = self.selection, self.schema
        spans = compiled.spans_of(record, True)
        names: list[str] = []
        roles = list(self._roles_in(value, label, names))
        if spans is None or len(spans) != len(roles) or not (names or asked.one_hot):
            return None
        if any(isinstance(value.get(name), list | dict) for name in asked.keep):
            return None
        if not schema.is_list and not all(
            n in self.numbers.names or n in self._known for n in names
        ):
            return None  # a null does not tell that numbers follow
        end = len(record.removesuffix(b"\n").removesuffix(b"\r"))
        starts, ends = [*spans[:, 0].tolist(), end], [0, *spans[:, 1].tolist()]
        literals = [record[a:b] for a, b in zip(ends, starts, strict=True)]
        # A text in a list means nothing.
        blanks = [] if schema.is_list else list(map(as_bytes, asked.blanks))
        readings: list[Reading | None] = [None if label is None else to_label]
        readings += [partial(self._to_indicator, name) for name in asked.one_hot]
        kept = {name: KEPT - len(readings) - i for i, name in enumerate(asked.keep)}
        layout = layout_of([(role, kept.get(key)) for key, role in roles], literals, blanks)
        known = schema.features or () if schema.is_list else tuple(names)
        return TablePlan(
            layout, known, schema.is_list, readings, [_from_json] * len(kept), asked.scale
        )

    def _roles_in(
        self, value: dict[str, Any], label: str | None, names: list[str]
    ) -> Iterator[tuple[str, int]]:
        """Yield the key and the role of each value in a record; `names` gets the features'."""
        asked, schema = self.selection, self.schema
        for key, part in value.items():
            n = _n_values(part)
            if key == label:
                yield key, LABEL
            elif key == asked.weight:
                yield key, WEIGHT
            elif key in asked.roles or (schema.key and key != schema.key):
                yield from [(key, self._role_of_text(key))] * n
            elif schema.is_list:
                yield from (("", i) for i in range(n))
                names += map(str, schema.features or ())
            else:
                for name in part if schema.key else [key]:
                    is_unknown = self._is_only_asked and name not in self.numbers.names
                    if name in self._texts or name in asked.one_hot or is_unknown:
                        yield name if not schema.key else "", self._role_of_text(name)
                    else:
                        yield name if not schema.key else "", len(names)
                        names.append(name)

    def _role_of_text(self, name: str) -> int:
        asked = self.selection.one_hot
        return LABEL - 1 - asked.index(name) if name in asked else SKIP

    def _to_label(self, data: bytes) -> Any:
        if self.schema.label_type is None:
            raise SampleError("the first label tells of which type all are")
        return self.schema.with_label(self._present(_from_json(data)), is_text=False)[0]

    def _to_indicator(self, name: str, data: bytes) -> str | None:
        return next(iter(self._indicators({name: _from_json(data)})), None)

    def _indicators(self, value: dict[str, Any]) -> tuple[str, ...]:
        """Return the features that stand for the texts of --one-hot."""
        found = []
        for name in self.selection.one_hot:
            cell = value.get(name)
            if isinstance(cell, list | dict):
                raise SampleError(f"{name!r} is not a text, a number or a bool")
            if cell is None:
                continue
            text = text_of(cell, is_text=False)
            if text not in self.selection.blanks or not isinstance(cell, str):
                found.append(f"{name}_{text}")
        return tuple(found)

    def describe(self) -> tuple[str, ...]:
        """Say in a few lines what is used and what is not."""
        asked, schema = self.selection, self.schema
        seen = [(name, cell) for name, cell in self.seen if name not in asked.one_hot]
        found = Described(
            tuple(map(str, self.names)),
            f" from {schema.key!r}" if schema.key else "",
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
        return describe(asked, schema, found)


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


def _keys_in(value: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the keys of a record, each with those in it if it holds an object."""
    for key, part in value.items():
        yield key, list(part) if isinstance(part, dict) else []


def _value_in(record: bytes) -> dict[str, Any] | list[Any]:
    """Return the object or the list in a record."""
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
    if not isinstance(value, list | dict):
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


def _take_weight(selection: Selection, value: dict[str, Any]) -> float:
    weight = value.pop(selection.weight, None) if selection.weight else None
    return 1.0 if weight is None else as_weight(weight)
