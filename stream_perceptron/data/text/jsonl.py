"""JSON Lines: the format and its reference parser."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from stream_perceptron.data import roles
from stream_perceptron.data.batch import offset_of
from stream_perceptron.data.describe import Described, Note, advice_on, describe, json_hints
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.naming import (
    LABEL_NAMES,
    column_called,
    is_position,
    names_in,
    vector_names,
)
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.data.source import Request
from stream_perceptron.data.text.scanning import JsonScanner
from stream_perceptron.data.text.records import RawLines, leaves, objects_in, value_in
from stream_perceptron.data.text.sample import NO_FEATURES, Rejected, Row, Sample, scale_features
from stream_perceptron.errors import SampleError
from stream_perceptron.model.validation import as_weight, row_of
from stream_perceptron.model.vocabulary import doubled, natural_order

_NESTED = "features"
_BARE = "x"  # a list with this key counts as one without a name


class JsonFormat:
    """JSON Lines: an object or a list in each line."""

    has_comments = False
    n_header_lines = 0

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records of lines: one each."""
        return lines

    def decoder(self, request: Request, where: str, first: bytes) -> JsonDecoder:
        """Return the decoder of the records, given the first one."""
        asked = request.selection
        if asked.join is not None and is_position(asked.join):
            keys = next(objects_in([first], dict), {})
            asked = replace(asked, join=column_called(asked.join, list(keys)) or asked.join)
        return JsonDecoder(asked, request.schema, request.to_learn, request.most_features)


class JsonDecoder:
    """Reads JSON records.

    The features are the object under "features", else the only list, which may be nested, else all
    numbers and bools, those in objects by path, such as http.status. A line may also be just a
    list. The first learned row decides which.

    Features with names of their own may be absent from a row, and new ones may come, unless the
    model was made from columns. The first value of a key decides whether it has numbers or texts.
    A null is a missing feature. The values of a bare list, or of one under x, are those of the
    model's columns, if it has any. A list of more than `most_features` values is rejected.
    """

    def __init__(
        self, selection: Selection, schema: Schema, to_learn: bool, most_features: int
    ) -> None:
        self.selection, self.schema = selection, schema
        self.label = schema.label  # None before the first label
        self._to_learn, self._most_features = to_learn, most_features
        self._known = frozenset(schema.features or ())
        self._texts = frozenset(schema.texts or ())
        # Whether to ignore unknown keys, because rows are only predicted.
        self._is_only_asked = not to_learn and schema.features is None and len(schema.numbers) > 0

    @property
    def context(self) -> Context:
        """What the meaning of a record depends on."""
        return Context(self.selection, self.schema, self._to_learn, self._most_features)

    def scanner(self) -> JsonScanner:
        """Return a scanner of the records."""
        return JsonScanner()

    def with_schema(self, schema: Schema) -> JsonDecoder:
        """Return the decoder for a later schema."""
        return JsonDecoder(self.selection, schema, self._to_learn, self._most_features)

    def outlook(self, first: bytes) -> Schema:
        """Return the schema before the first record."""
        return self.schema

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return the sample in a record, or why it is rejected."""
        offset, asked = None, self.selection
        try:
            whole = self._named(value_in(record))
            value = self._flat(whole)
            if asked.position:
                offset = offset_of(asked, [value.get(name) for name in asked.position])
            kept = tuple(value.get(name, whole.get(name)) for name in asked.kept)
            # The keys, each with the keys inside if its value is an object.
            inside = {
                key: list(part) if isinstance(part, dict) else []
                for key, part in ([] if self.schema.columns else value.items())
            }
            key, other_label = self._label_key(value), self._other_label(value)
            label = None if key is None else roles.present(value.pop(key, None), asked, False)
            if isinstance(label, list | dict):
                raise SampleError(f"label {key!r} is not a number, a text or a bool")
            weight = value.pop(asked.weight, None) if asked.weight else None
            weight = 1.0 if weight is None else as_weight(weight)
            for name in asked.roles:
                value.pop(name, None)
            is_label = asked.joins and all(part in (None, {}, []) for part in value.values())
            schema, row = (self.schema, NO_FEATURES) if is_label else self._take(value)
            label, schema = schema.with_label(label, is_text=False)
        except SampleError as error:
            return Rejected(str(error), offset)
        if is_label:
            schema = schema if schema.label else replace(schema, label=key)
        elif label is not None or asked.joins:
            schema = self._with_columns(schema, inside, key)
            if not schema.is_list:
                ones = () if asked.joins else row.indicators
                schema = schema.with_numbers((*row.names, *ones))
        return Sample(
            row.names, row.values, label, weight, offset, schema, row.indicators,
            row.n_nulls, kept, other_label,
        )  # fmt: skip

    def _named(self, value: Any) -> dict[str, Any]:
        """Return a record as an object; a bare list gets the names of the known columns."""
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

    def _flat(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return a record with nested values by path, unless an object has the features."""
        asked, key = self.selection, self.schema.key
        is_nested = key == _NESTED or (key is None and isinstance(value.get(_NESTED), dict))
        if is_nested or not any(isinstance(part, dict) for part in value.values()):
            return value
        labels = LABEL_NAMES if asked.label is None else (asked.label,)
        whole = {*asked.roles, *labels, self.schema.label}
        flat: dict[str, Any] = {}
        for name, part in value.items():
            for path, leaf in leaves(name, part, whole):
                if path in flat:
                    raise SampleError(f"it has {path[:50]!r} twice: as a key, and as a path")
                flat[path] = leaf
        return flat

    def _label_key(self, value: dict[str, Any]) -> str | None:
        """Return the key of the label: the one asked for, else that of the first label."""
        asked, known = self.selection, self.schema.label
        if asked.is_label_sure and asked.label is not None:
            return asked.label if asked.label in value else column_called(asked.label, list(value))
        if known is not None and (self._to_learn or known in value):
            return known
        found = None
        if asked.label is not None:
            found = asked.label if asked.label in value else column_called(asked.label, list(value))
        if found is None and (asked.label is None or not self._to_learn):
            found = roles.label_among(asked, value)
        return found

    def _other_label(self, value: dict[str, Any]) -> str | None:
        """Return the first usual name of a label that is not the label's key here."""
        if self.schema.label is None or not self._to_learn:
            return None
        names = (name for name in LABEL_NAMES if name in value)
        return next((name for name in names if name != self.schema.label), None)

    def _with_columns(
        self, schema: Schema, inside: dict[str, list[str]], label: str | None
    ) -> Schema:
        """Return the schema with the keys of a learned record as columns, unless it has columns."""
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
        if doubled(columns):
            columns = []
        return replace(schema, columns=tuple(columns), label=label)

    def _take(self, value: dict[str, Any]) -> tuple[Schema, Row]:
        """Return the schema with the place of the features, and the features."""
        schema = self.schema if self.schema.key is not None else self._placed(value)
        key, is_list = schema.key, schema.is_list
        features = value.get(key) if key else value
        if not isinstance(features, list if is_list else dict):
            raise SampleError(f"it has no {'list' if is_list else 'object'} {key!r}")
        take = self._take_list if is_list else self._take_object
        schema, row = take(schema, features)  # type: ignore[arg-type]
        if key and self.selection.one_hot:
            row = row._replace(indicators=(*row.indicators, *self._indicators(value)))
        return schema, row

    def _placed(self, value: dict[str, Any]) -> Schema:
        """Return the schema with the place of the features, found in the first row."""
        lists = [name for name, part in value.items() if isinstance(part, list)]
        key, is_list = "", False
        if isinstance(value.get(_NESTED), dict):
            key = _NESTED
        elif len(lists) > 1:
            raise SampleError(
                f"lists {names_in(lists)} could each be the features: drop all but one with "
                "--ignore"
            )
        elif lists and not self.schema.is_open:
            key, is_list = lists[0], True
        elif not value:
            raise SampleError("it has no features")
        known = self.schema.features
        if is_list and known is not None and key != _BARE:
            difference = self.schema.difference(vector_names(key, len(known)))
            if difference:
                raise SampleError(difference)
        return replace(self.schema, key=key, is_list=is_list)

    def _take_object(self, schema: Schema, x: dict[str, Any]) -> tuple[Schema, Row]:
        asked, numbers = self.selection, self.schema.numbers
        if not x:
            raise SampleError("it has no features")
        texts: dict[str, Any] = {}
        values: dict[str, Any] = {}
        n_nulls = 0
        for name, cell in x.items():
            if name in self._texts or name in asked.one_hot:
                texts[name] = cell
            elif self._is_only_asked and name not in numbers:
                continue
            elif cell is None or (isinstance(cell, str) and cell.strip() in asked.blanks):
                n_nulls += 1
            elif not isinstance(cell, str):
                values[name] = cell
            elif name in numbers or name in self._known:
                raise SampleError(
                    f"feature {name!r} is {cell[:50]!r}, a text, but was a number before"
                    f"{advice_on(schema.key, name, cell)}"
                )
            else:
                texts[name] = cell
        schema = self._decided(schema, values, texts)
        names = tuple(values)
        indicators = self._indicators(texts)
        row = scale_features(asked, names, row_of(names, values.values()).values)
        new = [name for name in texts if name not in self._texts]
        if new or schema.is_new:
            schema = replace(schema, texts=(*(schema.texts or ()), *new))
        return schema, Row(names, row, indicators, n_nulls)

    def _decided(self, schema: Schema, values: dict[str, Any], texts: dict[str, Any]) -> Schema:
        """Return the schema with undecided columns of a table decided by these values.

        If features are columns, a record may not add others.
        """
        if schema.features is None:
            return schema
        decided = {name for name in schema.undecided if name in values or name in texts}
        added = [name for name in values if name not in self._known and name not in decided]
        if added:
            raise SampleError(f"it adds {names_in(added)} to the features of the model")
        if not decided:
            return schema
        new = [name for name in decided if name in values]
        features = tuple(map(str, natural_order([*schema.features, *new])))
        return schema.with_decided(features, decided)

    def _take_list(self, schema: Schema, cells: list[Any]) -> tuple[Schema, Row]:
        while cells and all(isinstance(cell, list) for cell in cells):
            cells = list(chain.from_iterable(cells))
        known, key = schema.features, schema.key
        if known is not None and len(cells) != len(known):
            raise SampleError(f"list {key!r} has {len(cells):,} values, not {len(known):,}")
        if not cells:
            raise SampleError(f"list {key!r} is empty")
        if len(cells) > self._most_features:
            raise SampleError(f"list {key!r} has {len(cells):,} values, more than a model may have")
        names = known or vector_names(key or "", len(cells))
        nulls: list[int] = []
        if None in cells:
            nulls = [i for i, cell in enumerate(cells) if cell is None]
            cells = [0.0 if cell is None else cell for cell in cells]
        values = scale_features(self.selection, names, row_of(names, cells).values)
        values[nulls] = np.nan
        return schema if known is not None else replace(schema, features=names), Row(names, values)

    def _indicators(self, value: dict[str, Any]) -> tuple[str, ...]:
        """Return the features for the texts of --one-hot."""
        asked = self.selection
        found = [roles.indicator(n, value.get(n), asked, is_text=False) for n in asked.one_hot]
        return tuple(name for name in found if name is not None)

    def describe(
        self, told: Sequence[tuple[bytes, Sample]], first: Sequence[bytes | None]
    ) -> tuple[Note, ...]:
        """Return notes on the used and ignored keys."""
        asked, schema = self.selection, self.schema
        told = [each for each in told if each[1].schema.key == schema.key]
        values = [self._flat(self._named(value_in(record))) for record, _ in told]
        names = next((sample.names for _, sample in told if sample.names), ())
        used = {schema.key, self._label_key(values[0]), *asked.roles}
        beside = [name for name in values[0] if name not in used] if schema.key else []
        seen: dict[str, list[str]] = {}
        for value in (*values, *objects_in(first if self._texts else (), self._flat)):
            inside = value.get(schema.key) if schema.key else value
            for name, cell in inside.items() if isinstance(inside, dict) else ():
                if name in self._texts and isinstance(cell, str) and name not in asked.one_hot:
                    seen.setdefault(name, []).append(cell)
        begin = {name: texts[0] for name, texts in seen.items()}
        found = Described(
            (schema.features or () if schema.is_list else tuple(map(str, natural_order(names)))),
            f" from {schema.key!r}" if schema.key else "",
            [1.0 if asked.scale is None else asked.scale],
            asked.label or self.label,
            {n: type(values[0][n]).__name__ for n in beside}
            | dict.fromkeys(asked.ignore, "as asked"),
            seen,
            hints=json_hints(schema.key, begin),
        )
        return describe(asked, schema, found)
