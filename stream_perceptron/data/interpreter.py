"""The meaning of cells, the same in every format: labels, weights, features, rejections.

`interpret_record` is the definition, for one record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Offset, offset_of
from stream_perceptron.data.cells import Cells, Kind
from stream_perceptron.data.describe import advice_on, if_missing
from stream_perceptron.data.naming import LABEL_NAMES, column_called, names_in, vector_names
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.data.text.cells import is_value, utf8
from stream_perceptron.data.text.records import DECIMAL_COMMA
from stream_perceptron.data.text.sample import Rejected, Sample, scale_features
from stream_perceptron.errors import SampleError
from stream_perceptron.model.validation import as_weight, row_of
from stream_perceptron.model.vocabulary import doubled, natural_order

FEATURES_KEY = "features"
BARE_LIST = "x"  # the name of a list without a name

_WHOLE = re.compile(r" *-?[0-9]{1,19} *")
_NUMERIC = (Kind.NUMBER, Kind.BOOL)


@dataclass(frozen=True, eq=False)
class Context:
    """What the meaning of a record depends on, beside its cells.

    Attributes
    ----------
    selection
        How the user wants the source read, with the exact names of a table's columns.
    schema
        The column types and roles found in the learned rows.
    learns
        Whether rows are learned; if they are only predicted, unknown names are ignored.
    max_features
        A list of more values is rejected.
    is_text
        Whether numbers are written as texts, so that the text 7 may be a number.
    columns
        The columns of a table; None if records name their cells.
    are_named
        Whether the columns have names of their own, in a header.
    unused
        The columns of a table that are not used, as the model does not know them.

    """

    selection: Selection
    schema: Schema = field(default_factory=Schema)
    learns: bool = True
    max_features: int = 2**22
    is_text: bool = False
    columns: tuple[str, ...] | None = None
    are_named: bool = False
    unused: frozenset[str] = frozenset()

    @property
    def are_pairs(self) -> bool:
        """Whether records are pairs of names and numbers, with no roles but the label."""
        return self.is_text and self.columns is None

    @property
    def uses_only_known(self) -> bool:
        """Whether names that the model does not know are ignored."""
        return not self.learns and self.schema.features is None and len(self.schema.numbers) > 0


def interpret_record(context: Context, cells: Cells, i: int) -> Sample | Rejected:
    """Return the sample in a record, or why it is rejected."""
    offset = None
    try:
        if i in cells.errors:
            raise SampleError(cells.errors[i])
        record = _Record(cells, i, context)
        if context.are_pairs:
            return _read_pairs(context, record)
        kept = tuple(map(record.passthrough, context.selection.kept))
        offset = record.offset()
        read = _read_fields if context.columns is not None else _read_members
        return read(context, record, offset, kept)
    except SampleError as error:
        return Rejected(str(error), offset)


class _Record:
    """The cells of one record by name."""

    def __init__(self, cells: Cells, i: int, context: Context) -> None:
        self.cells, self.context = cells, context
        first, end = cells.starts[i : i + 2].tolist()
        self.index: dict[str, int] = {}  # the cell of each name, members of lists aside
        self.members: dict[str, list[int]] = {}  # the cells of the members of each list
        names = cells.names
        if cells.name_ids is None:
            self.index = dict(zip(names, range(first, end), strict=True))
            self.all = self.index
            return
        positions = [-1] * (end - first)
        if cells.positions is not None:
            positions = cells.positions[first:end].tolist()
        name_ids = cells.name_ids[first:end].tolist()
        for c, (name_id, position) in enumerate(zip(name_ids, positions, strict=True), first):
            name = names[name_id]
            if position >= 0:
                self.members.setdefault(name, []).append(c)
            else:
                self.index[name] = c
        self.all = dict(self.index)
        self._name_bare_list()
        self._drop_objects()

    def kind(self, name: str) -> Kind | None:
        """Return the kind of a cell; None if there is none of this name."""
        c = self.all.get(name)
        return None if c is None else Kind(self.cells.kinds[c])

    def content(self, name: str) -> Any:
        """Return the content of a cell; None if there is none of this name."""
        c = self.all.get(name)
        return None if c is None else self.cells.content(c)

    def text(self, name: str) -> Any:
        """Return the content of a cell, a decimal comma replaced by a point."""
        content = self.content(name)
        is_comma = self.context.selection.decimal == "," and isinstance(content, str)
        if is_comma and self.context.is_text and DECIMAL_COMMA.fullmatch(content):
            return content.replace(",", ".")
        return content

    def passthrough(self, name: str) -> Any:
        """Return the content of a passthrough column."""
        content = self.content(name)
        return utf8(content) if self.context.columns is not None else content

    def offset(self) -> Offset | None:
        """Return the offset, if the user has named its columns."""
        asked = self.context.selection
        if not asked.position:
            return None
        values = [self.text(name) for name in asked.position]
        if self.context.is_text:
            name, last = asked.position[-1], values[-1]
            if not _WHOLE.fullmatch(last):
                raise SampleError(f"position {name!r} is {last[:50]!r}, not a whole number")
            values = [*map(utf8, values[:-1]), int(last)]
        return offset_of(asked, values)

    def weight(self) -> float:
        """Return the sample weight."""
        name, asked = self.context.selection.weight, self.context.selection
        value = None if name is None else self.text(name)
        if not self.context.is_text:
            return 1.0 if value is None else as_weight(value)
        if value is None or value.strip() in asked.blanks:
            return 1.0
        number = self.cells.numbers[self.all[str(name)]]
        if not 0 <= number < math.inf:
            raise SampleError(f"weight {value[:50]} is not a finite number of at least 0")
        return float(number)

    def is_blank(self, name: str) -> bool:
        """Whether a cell is null, or a text that means a missing value."""
        if self.kind(name) in (None, Kind.NULL):
            return True
        content = self.text(name)
        return isinstance(content, str) and content.strip() in self.context.selection.blanks

    def one_hot(self, name: str, path: str) -> str | None:
        """Return the one-hot feature of a name for a cell; None if it is missing."""
        asked, value = self.context.selection, self.text(path)
        if self.context.is_text:
            value = roles.present(value, asked, is_text=True)
            value = None if value is None else utf8(value)
        return roles.indicator(name, value, asked, self.context.is_text)

    def _name_bare_list(self) -> None:
        """Give the members of a list without a name the names of the known columns."""
        schema = self.context.schema
        if self.kind(BARE_LIST) is not Kind.LIST or not schema.columns:
            return
        members = self.members.pop(BARE_LIST, [])
        named: dict[str, int] = {}
        for name, c in self.index.items():
            columns = schema.columns_of(len(members)) or () if name == BARE_LIST else (name,)
            twice = [column for column in columns if column in named]
            if twice:
                raise SampleError(f"it has {twice[0]!r} in its list and beside it")
            named |= zip(columns, members if name == BARE_LIST else [c], strict=True)
        self.index = named
        self.all = {**self.all, **named}

    def _drop_objects(self) -> None:
        """Leave out the members of objects that have a role as a whole, and other objects."""
        asked, schema = self.context.selection, self.context.schema
        labels = LABEL_NAMES if asked.label is None else (asked.label,)
        whole = {*asked.roles, *labels, schema.label}
        objects = [name for name, c in self.index.items() if self.cells.kinds[c] == Kind.OBJECT]
        self.has_features_object = FEATURES_KEY in objects
        key = schema.key
        if self.has_features_object and key in (None, FEATURES_KEY):
            # Of the other objects only those among the features matter, and cannot be learned.
            whole |= {name for name in objects if name != FEATURES_KEY}
        for name in objects:
            if name in whole:
                for other in [n for n in self.index if n.startswith(f"{name}.")]:
                    del self.index[other]
                    self.members.pop(other, None)
            else:
                self.index.pop(name, None)


def _read_fields(
    context: Context, record: _Record, offset: Offset | None, kept: tuple[Any, ...]
) -> Sample:
    """Return the sample in a row of a table."""
    asked, schema = context.selection, context.schema
    assert context.columns is not None
    used = {asked.label, *asked.roles, *context.unused}
    free = [name for name in context.columns if name not in used]
    known_texts = set(schema.texts or ())
    known: Sequence[str] = schema.features or ()
    if not known and (schema.is_open or not context.learns):
        known = tuple(map(str, natural_order([n for n in free if n in schema.numbers])))
    there = set(free).difference(known_texts, asked.one_hot)
    numbers = [name for name in known if name in there]
    texts = [name for name in free if name in known_texts]
    untyped = [name for name in free if name not in {*numbers, *texts}]
    # The first value of a column decides whether it has numbers or texts.
    new_numbers: list[str] = []
    new_texts: list[str] = []
    for name in untyped:
        cell = record.text(name).strip()
        if cell in asked.blanks:
            continue
        is_number = is_value(cell) and name not in asked.one_hot
        (new_numbers if is_number else new_texts).append(name)
    features = tuple(numbers)
    if new_numbers or new_texts:
        features = tuple(map(str, natural_order([*numbers, *new_numbers])))
    after = with_columns_of_table(context, features, [*texts, *new_texts], numbers, untyped, free)
    values = np.array([_number_in(record, name) for name in features], np.float64)
    for place in np.flatnonzero(np.isinf(values))[:1].tolist():
        content = record.text(features[place])
        raise SampleError(f"column {features[place]!r} is {content[:50]}, not finite")
    values = scale_features(asked, features, values)
    one_hot_names = [
        name
        for name in context.columns
        if name in asked.one_hot and name not in used - context.unused
    ]
    indicators = [record.one_hot(name, name) for name in one_hot_names]
    weight = record.weight()
    text = None
    if asked.label is not None:
        text = roles.present(record.text(asked.label), asked, is_text=True)
        text = None if text is None else utf8(text)
    label, after = after.with_label(text, is_text=True)
    ones = tuple(name for name in indicators if name is not None)
    if (label is not None or asked.joins) and after.is_open:
        present = [n for n, v in zip(features, values.tolist(), strict=True) if v == v]
        after = after.with_numbers([*present, *(() if asked.joins else ones)])
    n_nulls = len(untyped) - len(new_numbers) - len(new_texts)
    return Sample(
        features, values, label, weight, offset, after, ones, n_nulls=n_nulls, kept=kept
    )  # fmt: skip


def with_columns_of_table(
    context: Context,
    features: tuple[str, ...],
    texts: Sequence[str],
    numbers: Sequence[str],
    untyped: Sequence[str],
    free: Sequence[str],
) -> Schema:
    """Return the schema with these columns of numbers and of texts."""
    asked, schema = context.selection, context.schema
    if not context.learns or (asked.joins and not free):
        return schema
    if schema.features and not schema.is_open:
        expected = {*numbers, *schema.undecided}
        odd = [name for name in features if name not in expected]
        if odd:
            raise SampleError(f"it adds {names_in(odd)} to the features of the model")
    inferred: dict[str, Any] = {"texts": tuple(dict.fromkeys((*(schema.texts or ()), *texts)))}
    if context.are_named and not schema.columns:
        inferred |= {"columns": context.columns, "label": asked.label}
    if not schema.is_open:
        decided = {*features, *inferred["texts"]}
        left = untyped if schema.features is None else schema.undecided
        inferred["features"] = features
        inferred["undecided"] = tuple(name for name in left if name not in decided)
    after = replace(schema, **inferred)
    return schema if schema == after else after


def _number_in(record: _Record, name: str) -> float:
    """Return the number in a field of a table, NaN if it is missing."""
    c = record.all[name]
    kind, number = record.cells.kinds[c], float(record.cells.numbers[c])
    if kind in _NUMERIC and not record.context.selection.missing:
        text = ""
    else:
        text = record.text(name)
        if text.strip() in record.context.selection.blanks:
            return math.nan
    if kind in _NUMERIC:
        return number
    hint = if_missing(text)
    if DECIMAL_COMMA.fullmatch(text):
        hint = "; if that is a decimal comma: --decimal ,"
    raise SampleError(f"column {name!r} is {text[:50]!r}, not a number{hint}")


def _read_pairs(context: Context, record: _Record) -> Sample:
    """Return the sample in a record of pairs."""
    asked, schema = context.selection, context.schema
    text = record.content(str(asked.label))
    names = tuple(n for n in record.index if n != asked.label and n not in asked.ignore)
    known = schema.features
    unknown = [name for name in names if name not in known] if known else []
    if unknown:
        raise SampleError(f"it adds {names_in(unknown)} to the features of the model")
    values = record.cells.numbers[[record.index[name] for name in names]]
    for place in np.flatnonzero(~np.isfinite(values))[:1].tolist():
        raise SampleError(f"feature {names[place]!r} is not finite")
    values = scale_features(asked, names, values)
    label, schema = schema.with_label(roles.present(text, asked, is_text=True), is_text=True)
    if schema.is_new:
        schema = replace(schema, texts=())
    if label is not None:
        schema = schema.with_numbers(names)
    return Sample(names, values, label, 1.0, None, schema)


def _read_members(
    context: Context, record: _Record, offset: Offset | None, kept: tuple[Any, ...]
) -> Sample:
    """Return the sample in a record that names its cells."""
    asked, schema = context.selection, context.schema
    names = list(record.index)
    label_key, other_label = _label_key(context, names), _other_label(context, names)
    label = None
    if label_key is not None and label_key in record.index:
        label = roles.present(record.text(label_key), asked, context.is_text)
        del record.index[label_key]
    if isinstance(label, list | dict):
        raise SampleError(f"label {label_key!r} is not a number, a text or a bool")
    weight = record.weight()
    for name in asked.roles:
        record.index.pop(name, None)
    is_label = asked.joins and all(
        record.cells.kinds[c] == Kind.NULL or (name in record.members and not record.members[name])
        for name, c in record.index.items()
    )
    after, values, indicators, n_nulls = schema, {}, (), 0
    if not is_label:
        after, values, indicators, n_nulls = _read_features(context, record)
    label, after = after.with_label(label, context.is_text)
    if is_label:
        after = after if after.label else replace(after, label=label_key)
    elif label is not None or asked.joins:
        after = _with_columns(context, after, names, label_key)
        if not after.is_list:
            after = after.with_numbers((*values, *(() if asked.joins else indicators)))
    return Sample(
        tuple(values), np.fromiter(values.values(), np.float64, len(values)), label, weight, offset,
        after, tuple(indicators), n_nulls, kept, other_label,
    )  # fmt: skip


def _label_key(context: Context, names: list[str]) -> str | None:
    """Return the name of the label: the user's, else that of the first label, else a usual one."""
    asked, known = context.selection, context.schema.label
    if asked.is_label_sure and asked.label is not None:
        return asked.label if asked.label in names else column_called(asked.label, names)
    if known is not None and (context.learns or known in names):
        return known
    found = None
    if asked.label is not None:
        found = asked.label if asked.label in names else column_called(asked.label, names)
    if found is None and (asked.label is None or not context.learns):
        found = roles.label_among(asked, names)
    return found


def _other_label(context: Context, names: list[str]) -> str | None:
    """Return the first usual name of a label that is not the label here."""
    label = context.schema.label
    if label is None or not context.learns:
        return None
    return next((name for name in LABEL_NAMES if name in names and name != label), None)


def _with_columns(
    context: Context, schema: Schema, names: list[str], label: str | None
) -> Schema:
    """Return the schema with the names of a learned record as columns, unless it has columns."""
    if schema.columns or schema.is_list:
        return schema if schema.label else replace(schema, label=label)
    columns = names
    if schema.key:
        used, prefix = {label, *context.selection.roles}, f"{schema.key}."
        columns = [
            name.removeprefix(prefix) for name in names if name in used or name.startswith(prefix)
        ]
    if doubled(columns):
        columns = []
    return replace(schema, columns=tuple(columns), label=label)


def _read_features(
    context: Context, record: _Record
) -> tuple[Schema, dict[str, float], list[str], int]:
    """Return the schema with the place of features, the features, and the number of nulls."""
    schema = context.schema
    if schema.key is None:
        schema = _with_key(context, record)
    key, asked = schema.key or "", context.selection
    kind = Kind.LIST if schema.is_list else Kind.OBJECT
    if key and record.kind(key) is not kind:
        raise SampleError(f"it has no {'list' if schema.is_list else 'object'} {key!r}")
    if schema.is_list:
        schema, values = _read_list(context, record, schema, key)
        indicators, n_nulls = [], 0
    else:
        prefix = f"{key}." if key else ""
        names = {
            name.removeprefix(prefix): name for name in record.index if name.startswith(prefix)
        }
        schema, values, indicators, n_nulls = _read_object(context, record, schema, names)
    if key:
        beside = [record.one_hot(name, name) for name in asked.one_hot if name in record.index]
        indicators = [*indicators, *filter(None, beside)]
    return schema, values, indicators, n_nulls


def _with_key(context: Context, record: _Record) -> Schema:
    """Return the schema with the place of the features, found in the first record."""
    schema = context.schema
    lists = [name for name in record.index if record.kind(name) is Kind.LIST]
    key, is_list = "", False
    if record.has_features_object:
        key = FEATURES_KEY
    elif len(lists) > 1:
        raise SampleError(
            f"lists {names_in(lists)} could each be the features: drop all but one with --ignore"
        )
    elif lists and not schema.is_open:
        key, is_list = lists[0], True
    elif not record.index:
        raise SampleError("it has no features")
    known = schema.features
    if is_list and known is not None and key != BARE_LIST:
        difference = schema.difference(vector_names(key, len(known)))
        if difference:
            raise SampleError(difference)
    return replace(schema, key=key, is_list=is_list)


def _read_object(
    context: Context, record: _Record, schema: Schema, names: dict[str, str]
) -> tuple[Schema, dict[str, float], list[str], int]:
    """Return the features among the members of an object, given the cell of each name."""
    asked, numbers = context.selection, context.schema.numbers
    known, known_texts = set(schema.features or ()), set(schema.texts or ())
    if not names:
        raise SampleError("it has no features")
    texts: dict[str, str] = {}
    cells: dict[str, str] = {}
    n_nulls = 0
    for name, cell in names.items():
        if name in known_texts or name in asked.one_hot:
            texts[name] = cell
        elif context.uses_only_known and name not in numbers:
            continue
        elif record.is_blank(cell):
            n_nulls += 1
        elif record.kind(cell) is not Kind.TEXT:
            cells[name] = cell
        elif name in numbers or name in known:
            content = record.content(cell)
            raise SampleError(
                f"feature {name!r} is {content[:50]!r}, a text, but was a number before"
                f"{advice_on(schema.key, name, content)}"
            )
        else:
            texts[name] = cell
    schema = _with_decided(context, schema, cells, texts)
    indicators = [record.one_hot(name, texts[name]) for name in asked.one_hot if name in texts]
    contents = [record.content(cell) for cell in cells.values()]
    values = row_of(tuple(cells), contents).values
    values = scale_features(asked, tuple(cells), values)
    new = [name for name in texts if name not in known_texts]
    if new or schema.is_new:
        schema = replace(schema, texts=(*(schema.texts or ()), *new))
    features = dict(zip(cells, values.tolist(), strict=True))
    return schema, features, [name for name in indicators if name is not None], n_nulls


def _with_decided(
    context: Context, schema: Schema, cells: dict[str, str], texts: dict[str, str]
) -> Schema:
    """Return the schema with untyped columns of a table decided; a record may not add others."""
    if schema.features is None:
        return schema
    decided = {name for name in schema.undecided if name in cells or name in texts}
    added = [name for name in cells if name not in schema.features and name not in decided]
    if added:
        raise SampleError(f"it adds {names_in(added)} to the features of the model")
    if not decided:
        return schema
    new = [name for name in decided if name in cells]
    features = tuple(map(str, natural_order([*schema.features, *new])))
    return schema.with_decided(features, decided)


def _read_list(
    context: Context, record: _Record, schema: Schema, key: str
) -> tuple[Schema, dict[str, float]]:
    """Return the features in a list."""
    known, members = schema.features, record.members.get(key, [])
    n = len(members)
    if known is not None and n != len(known):
        raise SampleError(f"list {key!r} has {n:,} values, not {len(known):,}")
    if not members:
        raise SampleError(f"list {key!r} is empty")
    if n > context.max_features:
        raise SampleError(f"list {key!r} has {n:,} values, more than a model may have")
    names = known or vector_names(key, n)
    kinds = record.cells.kinds[members]
    contents = [
        0.0 if kind == Kind.NULL else record.cells.content(c)
        for c, kind in zip(members, kinds.tolist(), strict=True)
    ]
    values = scale_features(context.selection, names, row_of(names, contents).values)
    values[kinds == Kind.NULL] = np.nan
    schema = schema if known is not None else replace(schema, features=names)
    return schema, dict(zip(names, values.tolist(), strict=True))
