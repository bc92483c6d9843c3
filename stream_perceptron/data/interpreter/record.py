"""Interpretation of single records, which `interpret_record` defines for every format."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Offset, build_offset
from stream_perceptron.data.cells import UNNAMED_LIST, Cells, Kind
from stream_perceptron.data.encodings import encode_content
from stream_perceptron.data.interpreter.context import Context
from stream_perceptron.data.naming import (
    LABEL_NAMES,
    find_column,
    format_option_value,
    is_pixel,
    name_vector_elements,
    quote_names,
    suggest_options,
)
from stream_perceptron.data.notices import (
    advise_on_text,
    format_options,
    suggest_encoding,
    suggest_missing_option,
)
from stream_perceptron.data.schema import Encoding, Schema
from stream_perceptron.data.values import DECIMAL_COMMA, is_number_or_bool, require_utf8
from stream_perceptron.errors import SampleError
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.rows import Names
from stream_perceptron.model.validation import as_weight, build_row
from stream_perceptron.model.vocabulary import NamesPrefix, find_duplicates

FEATURES_KEY = "features"

_INTEGER = re.compile(r" *-?[0-9]{1,19} *")
_NUMERIC = (Kind.NUMBER, Kind.BOOL)
_KINDS: tuple[Kind, ...] = tuple(Kind)  # a lookup takes half as long as Kind(kind)


class Sample(NamedTuple):
    """A record that can be used."""

    names: Names
    # float64, with NaN for a missing feature, or uint8, to be multiplied by `scale`.
    values: Array
    label: object
    weight: float
    offset: Offset | None
    schema: Schema  # the schema after this record, if the record is learned
    encoded: Mapping[str, float] = {}  # the features that encode texts and dates
    n_nulls: int = 0  # the number of null features, which are not in `names`
    untyped: tuple[str, ...] = ()  # null columns that have had no value so far
    n_nan: int = 0  # the number of missing features among `values`
    passthrough: tuple[object, ...] = ()  # the contents of the passthrough columns
    # The features that must not be texts in later records, if this record is learned.
    number_names: tuple[str, ...] = ()
    other_label: str | None = None  # a default label name that is not the label
    scale: float = 1.0
    unknown_names: tuple[str, ...] = ()  # names of ignored numbers that the model lacks


def are_pixels(sample: Sample) -> bool:
    """Whether all numbers are pixels: whole numbers from 0 to 255, at least one of them above 1."""
    values = sample.values[~np.isnan(sample.values)] if sample.n_nan else sample.values
    return (
        all(is_pixel(str(name)) for name in sample.names)
        and bool(((values >= 0) & (values <= 255) & (values == np.floor(values))).all())
        and bool((values > 1).any())
    )


class RejectedRecord(NamedTuple):
    """A record that cannot be used."""

    reason: str
    offset: Offset | None = None  # if it can be read


def interpret_record(context: Context, cells: Cells, i: int) -> Sample | RejectedRecord:
    """Return the sample in a record, or the reason for its rejection."""
    offset = None
    try:
        if i in cells.errors:
            raise SampleError(cells.errors[i])
        if context.has_pairs:
            return _read_pairs(context, cells, i)
        record = Record(cells, i, context)
        passthrough = tuple(map(record.passthrough, context.read_options.passthrough))
        offset = record.offset()
        read = _read_table_row if context.columns is not None else _read_named_cells
        return read(context, record, offset, passthrough)
    except SampleError as error:
        return RejectedRecord(str(error), offset)


class Record:
    """The cells of one record by name.

    The IDs of list members follow those of all cells.
    """

    def __init__(self, cells: Cells, i: int, context: Context) -> None:
        self.cells, self.context = cells, context
        first, end = cells.starts[i : i + 2].tolist()
        # Lists, because looking up single items in arrays takes many times as long.
        self._first: int = first
        self._kinds: list[int] = cells.kinds[first:end].tolist()
        self._numbers = cells.numbers[first:end].tolist()
        # The ID of the cell with each name; objects and cells with roles other than feature are
        # removed.
        self.cell_ids: dict[str, int] = {}
        self.members: dict[str, range] = {}  # the members of each list
        if context.columns is not None:
            self.cell_ids = dict(zip(context.columns, range(first, end), strict=True))
            self.all_cell_ids = self.cell_ids
            self._find_members()
            return
        assert cells.name_ids is not None
        all_names = cells.names.all if isinstance(cells.names, NamesPrefix) else cells.names
        names = map(all_names.__getitem__, cells.name_ids[first:end].tolist())
        self.cell_ids = dict(zip(names, range(first, end), strict=True))
        self.all_cell_ids = dict(self.cell_ids)
        if cells.members is not None and Kind.LIST in self._kinds:
            self._find_members()
            self._require_no_bare_list()
            self._drop_objects()
        elif Kind.OBJECT in self._kinds:
            self._drop_objects()

    def _find_members(self) -> None:
        """Find the members of each list."""
        if self.cells.members is None or Kind.LIST not in self._kinds:
            return
        n, starts = len(self.cells.kinds), self.cells.members.starts
        for name, c in self.cell_ids.items():
            if self._kinds[c - self._first] == Kind.LIST:
                k = int(np.searchsorted(self.cells.list_ids, c))
                self.members[name] = range(n + int(starts[k]), n + int(starts[k + 1]))

    has_features_object = False  # whether the features are in an object of their own

    def kind_at(self, c: int) -> Kind:
        """Return the kind of a cell."""
        n = len(self.cells.kinds)
        if c < n or self.cells.members is None:
            return _KINDS[self._kinds[c - self._first]]
        return Kind(int(self.cells.members.kinds[c - n]))

    def number_at(self, c: int) -> float:
        """Return the number in a cell, or NaN if there is none."""
        n = len(self.cells.kinds)
        if c >= n and self.cells.members is not None:
            return float(self.cells.members.doubles[c - n])
        kind = self._kinds[c - self._first]
        return float(self._numbers[c - self._first]) if kind in _NUMERIC else math.nan

    def kinds_at(self, ids: list[int]) -> list[Kind]:
        """Return the kinds of cells."""
        if self.cells.members is not None:
            return list(map(self.kind_at, ids))
        return [_KINDS[self._kinds[c - self._first]] for c in ids]

    def numbers_at(self, ids: list[int]) -> list[float]:
        """Return the numbers in cells that are all numbers."""
        if self.cells.members is not None:
            return list(map(self.number_at, ids))
        return [self._numbers[c - self._first] for c in ids]

    def content_at(self, c: int) -> object:
        """Return the content of a cell."""
        n = len(self.cells.kinds)
        if c < n or self.cells.members is None:
            return self.cells.contents.get(c)
        return self.cells.members.contents.get(c - n)

    def contents_at(self, ids: Iterable[int]) -> list[object]:
        """Return the contents of cells or of members of lists."""
        numbers, n = np.fromiter(ids, np.intp), len(self.cells.kinds)
        are_members = numbers >= n
        if not are_members.any():
            return self.cells.contents.get_all(numbers)
        if are_members.all() and self.cells.members is not None:
            return self.cells.members.contents.get_all(numbers - n)
        return list(map(self.content_at, numbers.tolist()))

    def plain_numbers(self, names: Iterable[str]) -> list[float] | None:
        """Return the numbers in fields of a table; None if a field is not a number."""
        positions = [self.cell_ids[name] - self._first for name in names]
        if not all(self._kinds[position] in _NUMERIC for position in positions):
            return None
        return [self._numbers[position] for position in positions]

    def kind(self, name: str) -> Kind | None:
        """Return the kind of the cell with this name; None if there is no such cell."""
        c = self.all_cell_ids.get(name)
        return None if c is None else self.kind_at(c)

    def content(self, name: str) -> Any:
        """Return the content of the cell with this name; None if there is no such cell."""
        c = self.all_cell_ids.get(name)
        return None if c is None else self.content_at(c)

    def text(self, name: str) -> Any:
        """Return the content of a cell, with a decimal comma replaced by a point."""
        return self.context.read_options.convert_decimal_comma(
            self.content(name), self.context.is_text
        )

    def passthrough(self, name: str) -> object:
        """Return the content of a passthrough column."""
        content = self.content(name)
        is_field = self.context.is_text and content is not None
        return require_utf8(content) if is_field else content

    def offset(self) -> Offset | None:
        """Return the offset, if the user has named its columns."""
        names = self.context.read_options.position
        return parse_offset(self.context, list(map(self.text, names))) if names else None

    def weight(self) -> float:
        """Return the sample weight."""
        name, options = self.context.read_options.weight, self.context.read_options
        value = None if name is None else self.text(name)
        if not self.context.is_text:
            return 1.0 if value is None else as_weight(value)
        if value is None or value.strip() in options.null_values:
            return 1.0
        number = self.number_at(self.all_cell_ids[str(name)])
        if not 0 <= number < math.inf:
            raise SampleError(
                f"weight {name!r} is {value[:50]!r}, not a finite number greater than or equal to 0"
            )
        return float(number)

    def is_null(self, name: str) -> bool:
        """Return whether a cell is null, or a text that means a missing value."""
        if self.kind(name) in (None, Kind.NULL):
            return True
        content = self.text(name)
        return isinstance(content, str) and content.strip() in self.context.read_options.null_values

    def encode(self, cells: Iterable[tuple[Encoding, str]]) -> tuple[dict[str, float], int]:
        """Encode cells of columns as features; return these and the number of null columns."""
        features: dict[str, float] = {}
        nulls: set[str] = set()  # a column with two encodings counts once
        for encoding, path in cells:
            content, options = self.content(path), self.context.read_options
            encoded = encode_content(encoding, content, options, self.context.is_text)
            if encoded is None:
                nulls.add(path)
            for name, value in (encoded or {}).items():
                features.setdefault(name, value)
        return features, len(nulls)

    def _require_no_bare_list(self) -> None:
        """Check that a record of named columns is not a list."""
        if self.kind(UNNAMED_LIST) is Kind.LIST and self.context.schema.columns:
            raise SampleError("it is a list, but the model's columns have names: write an object")

    def _drop_objects(self) -> None:
        """Drop the members of objects with a role, and the cells of all other objects."""
        options, schema = self.context.read_options, self.context.schema
        labels = LABEL_NAMES if options.label is None else (options.label,)
        whole = {*options.roles, *labels, schema.label}
        objects = [name for name, c in self.cell_ids.items() if self.kind_at(c) is Kind.OBJECT]
        self.has_features_object = FEATURES_KEY in objects
        key = schema.key
        if self.has_features_object and key in (None, FEATURES_KEY):
            # Objects outside the features are ignored; those among the features cannot be learned.
            whole |= {name for name in objects if name != FEATURES_KEY}
        for name in objects:
            if name in whole:
                for path in [n for n in self.cell_ids if n.startswith(f"{name}.")]:
                    del self.cell_ids[path]
                    self.members.pop(path, None)
            else:
                self.cell_ids.pop(name, None)


def parse_offset(context: Context, values: Sequence[Any]) -> Offset:
    """Return the offset, given the contents of its columns.

    Raises
    ------
    SampleError
        If the contents do not form an offset.

    """
    options = context.read_options
    if context.is_text:
        name, last = options.position[-1], values[-1]
        if not _INTEGER.fullmatch(last):
            raise SampleError(f"position {name!r} is {last[:50]!r}, not a whole number")
        values = [*map(require_utf8, values[:-1]), int(last)]
    return build_offset(options, values)


class ColumnTypes(NamedTuple):
    """The names of a table's columns without a role, by type."""

    numbers: tuple[str, ...]
    texts: list[str]
    untyped: tuple[str, ...]  # the columns without a value so far


def infer_types(context: Context, record: Record) -> ColumnTypes:
    """Infer the types of a table's columns; the first value of a column decides its type."""
    options, columns = context.read_options, context.table_columns
    new_numbers: list[str] = []
    new_texts: list[str] = []
    for name in columns.untyped:
        if record.is_null(name):
            continue
        is_number = record.kind(name) in _NUMERIC
        if context.is_text:
            is_number = is_number_or_bool(record.text(name).strip())
        is_feature = is_number and name not in options.encoded
        (new_numbers if is_feature else new_texts).append(name)
    numbers = columns.numbers
    if new_numbers or new_texts:
        known = {*numbers, *new_numbers}
        numbers = tuple(name for name in context.columns or () if name in known)
    typed = {*new_numbers, *new_texts}
    untyped = tuple(name for name in columns.untyped if name not in typed)
    return ColumnTypes(numbers, [*columns.texts, *new_texts], untyped)


def _read_table_row(
    context: Context, record: Record, offset: Offset | None, passthrough: tuple[object, ...]
) -> Sample:
    """Return the sample in a row of a table."""
    options, columns = context.read_options, context.table_columns
    if columns.vector_column is not None:
        new_schema, features, values, untyped = _read_vector(context, record, columns.vector_column)
    else:
        new_schema, features, values, untyped = _read_columns(context, record)
    encoded, n_nulls = record.encode((encoding, encoding.column) for encoding in columns.encodings)
    n_nan, scale = int(np.isnan(values).sum()), context.byte_scale
    if scale is None:
        values = scale_features(context, features, values, columns.vector_column)
    else:
        if n_nan:
            is_present = ~np.isnan(values)
            features, values = tuple(compress(features, is_present)), values[is_present]
            n_nulls, n_nan = n_nulls + n_nan, 0
        values = values.astype(np.uint8)
    weight = record.weight()
    label = None
    if options.label is not None:
        label = roles.convert_null(record.text(options.label), options, context.is_text)
        if context.is_text and label is not None:
            label = require_utf8(label)
    label, new_schema = new_schema.parse_label(label, context.is_text)
    present_names: list[str] = []
    if new_schema.is_open:
        present_names = [str(n) for n, v in zip(features, values.tolist(), strict=True) if v == v]
        present_names += [] if options.has_join else encoded
    return Sample(
        features, values, label, weight, offset, new_schema, encoded, n_nulls,
        tuple(name for name in untyped if name not in options.encoded), n_nan, passthrough,
        tuple(present_names), scale=1.0 if scale is None else scale,
    )  # fmt: skip


class _Values(NamedTuple):
    """The features in a row of a table, or in a list."""

    schema: Schema  # after the record
    names: Names
    values: NDArray[np.float64]  # NaN for a missing feature
    untyped: tuple[str, ...] = ()  # the columns without a value so far


def _read_columns(context: Context, record: Record) -> _Values:
    """Return the features of a row, each of which has a column of its own."""
    columns, types = context.table_columns, infer_types(context, record)
    features = types.numbers
    if features is columns.numbers and len(types.texts) == len(columns.texts):
        new_schema = context.schema_of_known_columns
    else:
        new_schema = context.infer_columns(features, types.texts)
    numbers = None if context.read_options.missing else record.plain_numbers(features)
    if numbers is None:
        numbers = [_read_number(record, name) for name in features]
    values = np.array(numbers, np.float64)
    if not np.isfinite(values).all():
        _require_finite(record, features, values)
    return _Values(new_schema, features, values, types.untyped)


def _require_finite(record: Record, features: Names, values: NDArray[np.float64]) -> None:
    """Check that the values of features are finite or missing."""
    for name, value in zip(features, values.tolist(), strict=True):
        is_missing = value != value and record.is_null(str(name))
        if not (math.isfinite(value) or is_missing):
            content = str(record.text(str(name)))
            raise SampleError(f"column {name!r} is {content[:50]}, not finite")


def _read_vector(context: Context, record: Record, column: str) -> _Values:
    """Return the features in a column of lists."""
    if record.kind(column) is not Kind.NULL:
        return _read_list(context, record, context.schema, column)
    if context.read_options.has_join:
        return _Values(context.schema, (), np.empty(0))
    raise SampleError(f"column {column!r} is null")


def _read_number(record: Record, name: str) -> float:
    """Return the number in a field of a table, or NaN if it is missing."""
    c = record.all_cell_ids[name]
    kind = record.kind_at(c)
    has_null_texts = record.context.is_text and record.context.read_options.missing
    if kind in _NUMERIC and not has_null_texts:
        return record.number_at(c)
    if record.is_null(name):
        return math.nan
    if kind in _NUMERIC:
        return record.number_at(c)
    text = str(record.text(name))
    hint = suggest_missing_option(text)
    if DECIMAL_COMMA.fullmatch(text):
        hint = f"; {suggest_options({'to read a decimal comma': '--decimal ,'})}"
    raise SampleError(f"column {name!r} is {text[:50]!r}, not a number{hint}")


def _read_pairs(context: Context, cells: Cells, i: int) -> Sample:
    """Return the sample in a record that consists of a label and pairs."""
    options, schema, members = context.read_options, context.schema, cells.members
    assert members is not None
    assert members.name_ids is not None
    label_id = int(cells.starts[i])
    text = None if cells.kinds[label_id] == Kind.NULL else cells.contents.get(label_id)
    pairs = slice(*members.starts[i : i + 2].tolist())
    numbers = members.numbers[pairs].astype(np.float64).tolist()
    named_numbers = zip(
        map(members.names.__getitem__, members.name_ids[pairs].tolist()), numbers, strict=True
    )
    features = {name: number for name, number in named_numbers if name not in options.ignore}
    names = tuple(features)
    unknown_names: list[str] = []
    if schema.features is not None:
        known = {*schema.features, *schema.untyped}
        unknown_names = [name for name in names if name not in known]
        names = tuple(name for name in names if name in known)
        if unknown_names and not names:
            raise SampleError("it has none of the model's features")
    values = np.array([features[name] for name in names], np.float64)
    for i in np.flatnonzero(~np.isfinite(values))[:1].tolist():
        raise SampleError(f"feature {names[i]!r} is not finite")
    values = scale_features(context, names, values)
    label, schema = schema.parse_label(
        roles.convert_null(text, options, is_text=True), is_text=True
    )
    if schema.is_new:
        schema = replace(schema, texts=())
    number_names = names if schema.is_open else ()
    return Sample(
        names,
        values,
        label,
        1.0,
        None,
        schema,
        number_names=number_names,
        unknown_names=tuple(unknown_names),
    )


def _read_named_cells(
    context: Context, record: Record, offset: Offset | None, passthrough: tuple[object, ...]
) -> Sample:
    """Return the sample in a record that names its cells."""
    options, schema = context.read_options, context.schema
    names = list(record.cell_ids)
    label_key, other_label = find_label_key(context, names), _find_other_label(context, names)
    label = None
    if label_key is not None and label_key in record.cell_ids:
        label = roles.convert_null(record.text(label_key), options, context.is_text)
        del record.cell_ids[label_key]
    if isinstance(label, list | dict):
        raise SampleError(f"label {label_key!r} is not a number, a text or a bool")
    weight = record.weight()
    for name in options.roles:
        record.cell_ids.pop(name, None)
    has_only_label = options.has_join and all(
        record.kind_at(c) is Kind.NULL or (name in record.members and not record.members[name])
        for name, c in record.cell_ids.items()
    )
    features = _Features(schema, {})
    if not has_only_label:
        features = _read_features(context, record)
    if label is not None and features.ignored_texts and context.learns and not context.has_features:
        texts = features.ignored_texts
        encodings = {
            name: suggest_encoding(name, [record.content(path)]) or "one_hot"
            for name, path in texts.items()
        }
        predicate, pronoun = ("is a text", "it") if len(texts) == 1 else ("are texts", "them")
        advice = suggest_options({f"to encode {pronoun}": format_options(encodings)})
        raise SampleError(
            f"it has no feature, because {quote_names(list(texts))} {predicate}; {advice}"
        )
    new_schema, values = features.schema, features.values
    label, new_schema = new_schema.parse_label(label, context.is_text)
    if has_only_label:
        new_schema = new_schema if new_schema.label else replace(new_schema, label=label_key)
    elif label is not None or options.has_join:
        new_schema = _with_columns(context, new_schema, names, label_key)
    number_names: tuple[str, ...] = ()
    if new_schema.is_open and not has_only_label:
        number_names = (*values, *(() if options.has_join else features.encoded))
    n_nan = sum(map(math.isnan, values.values()))
    return Sample(
        tuple(values), np.fromiter(values.values(), np.float64, len(values)), label, weight, offset,
        new_schema, features.encoded, features.n_nulls, features.untyped, n_nan, passthrough,
        number_names, other_label, unknown_names=features.unknown_names,
    )  # fmt: skip


def find_label_key(context: Context, names: list[str]) -> str | None:
    """Return the label key: the user's choice, else the first label's key, else a default."""
    options, known = context.read_options, context.schema.label
    if options.is_label_required and options.label is not None:
        return options.label if options.label in names else find_column(options.label, names)
    if known is not None and (context.learns or known in names):
        return known
    key = None
    if options.label is not None:
        key = options.label if options.label in names else find_column(options.label, names)
    if key is None and (options.label is None or not context.learns):
        key = roles.find_default_label(options, names)
    return key


def _find_other_label(context: Context, names: list[str]) -> str | None:
    """Return the first default label name in a record that is not the name of its label."""
    label = context.schema.label
    if label is None or not context.learns:
        return None
    known = {label, *context.read_options.encoded}
    return next((name for name in LABEL_NAMES if name in names and name not in known), None)


def _with_columns(context: Context, schema: Schema, names: list[str], label: str | None) -> Schema:
    """Return the schema with a learned record's names as columns, unless it already has columns."""
    if schema.columns or schema.is_list:
        return schema if schema.label else replace(schema, label=label)
    columns = names
    if schema.key:
        used, prefix = {label, *context.read_options.roles}, f"{schema.key}."
        columns = [
            name.removeprefix(prefix) for name in names if name in used or name.startswith(prefix)
        ]
    if find_duplicates(columns):
        columns = []
    return replace(schema, columns=tuple(columns), label=label)


class _Features(NamedTuple):
    """The features in a record."""

    schema: Schema  # with the key of the features
    values: dict[str, float]  # NaN for a missing feature
    encoded: Mapping[str, float] = {}  # as in `Sample`
    n_nulls: int = 0  # the number of null features, which are not among the values
    untyped: tuple[str, ...] = ()  # null names that have had no value so far
    unknown_names: tuple[str, ...] = ()  # as in `Sample`
    # The paths of all cells by name, if all are texts without a role.
    ignored_texts: Mapping[str, str] = {}


def _read_features(context: Context, record: Record) -> _Features:
    """Return the features in a record that names its cells."""
    schema = context.schema
    if schema.key is None:
        schema = _with_key(context, record)
    key, options = schema.key or "", context.read_options
    kind = Kind.LIST if schema.is_list else Kind.OBJECT
    if key and record.kind(key) is not kind:
        raise SampleError(f"it has no {'list' if schema.is_list else 'object'} {key!r}")
    if schema.is_list:
        vector = _read_list(context, record, schema, key)
        numbers = scale_features(context, vector.names, vector.values).tolist()
        features = _Features(vector.schema, dict(zip(map(str, vector.names), numbers, strict=True)))
    else:
        cells = {name: name for name in record.cell_ids}
        if key:
            prefix = f"{key}."
            cells = {n.removeprefix(prefix): n for n in record.cell_ids if n.startswith(prefix)}
        features = _read_object(context, record, schema, cells)
    if key:
        outer_encoded, n_nulls = record.encode(
            (encoding, encoding.column)
            for encoding in options.encodings
            if encoding.column in record.cell_ids
        )
        encoded = dict(features.encoded)
        encoded |= {name: value for name, value in outer_encoded.items() if name not in encoded}
        features = features._replace(encoded=encoded, n_nulls=features.n_nulls + n_nulls)
    return features


def _with_key(context: Context, record: Record) -> Schema:
    """Return the schema with the key of the features, which the first record determines."""
    schema = context.schema
    encoded = context.read_options.encoded
    lists = [
        name for name in record.cell_ids if name not in encoded and record.kind(name) is Kind.LIST
    ]
    for name in lists:
        _require_no_texts(record, name)
    key, is_list = "", False
    if record.has_features_object:
        key = FEATURES_KEY
    elif len(lists) > 1:
        raise SampleError(
            f"lists {quote_names(lists)} could each be the features: drop all but one with --ignore"
        )
    elif lists and not schema.is_open:
        key, is_list = lists[0], True
    elif not record.cell_ids:
        raise SampleError("it has no features")
    known = schema.features
    if is_list and known is not None and key != UNNAMED_LIST:
        difference = schema.describe_difference(name_vector_elements(key, len(known)))
        if difference:
            raise SampleError(difference)
    return replace(schema, key=key, is_list=is_list)


def _require_no_texts(record: Record, name: str) -> None:
    """Check that a list without a role contains no texts.

    Raises
    ------
    SampleError
        If it contains any; the message names the options for encoding or ignoring the list.

    """
    members = record.members.get(name, range(0))
    if name != UNNAMED_LIST and any(record.kind_at(c) is Kind.TEXT for c in members):
        option = format_option_value([name])
        options = {
            "to encode them": f"--one-hot {option}",
            "to leave it out": f"--ignore {option}",
        }
        raise SampleError(f"{name!r} is a list of texts; {suggest_options(options)}")


class _Members(NamedTuple):
    """The members of an object by their use; the cells are keyed by name."""

    cells: dict[str, str]  # of numbers, and of values that cannot be learned
    texts: dict[str, str]
    new_texts: list[str]  # names of texts that the schema lacks
    n_nulls: int  # features that are null
    untyped: tuple[str, ...]  # null names that have had no value so far
    unknown_names: tuple[str, ...]  # names of numbers that a model trained on a table lacks
    are_numbers: bool  # whether all cells are numbers


def _group_members(
    context: Context, record: Record, schema: Schema, names: dict[str, str]
) -> _Members:
    """Group the members of an object, given the cell of each name."""
    options, ignores_new = context.read_options, context.is_vocabulary_fixed
    known, known_texts = set(schema.features or ()), set(schema.texts or ())
    expected = {*known, *known_texts, *schema.untyped, *options.encoded}
    texts: dict[str, str] = {}
    cells: dict[str, str] = {}
    unknown_names: list[str] = []
    untyped: list[str] = []
    n_nulls, are_numbers = 0, True
    kinds = record.kinds_at(list(map(record.all_cell_ids.__getitem__, names.values())))
    for (name, cell), kind in zip(names.items(), kinds, strict=True):
        if name in known_texts or name in options.encoded:
            texts[name] = cell
        elif ignores_new and not context.is_known_feature(name):
            continue
        elif schema.features is not None and name not in expected:
            unknown_names += [name] if kind in _NUMERIC else []
        elif kind in _NUMERIC:
            cells[name] = cell
        elif record.is_null(cell):
            if context.is_known_feature(name) or name in known:
                n_nulls += 1
            else:
                untyped.append(name)
        elif kind is not Kind.TEXT:
            if kind is Kind.LIST:
                _require_no_texts(record, cell)
            cells[name] = cell
            are_numbers = False
        elif context.is_known_feature(name) or name in known:
            content = record.content(cell)
            raise SampleError(
                f"feature {name!r} is {content[:50]!r}, a text, but was a number before"
                f"{advise_on_text(content)}"
            )
        else:
            texts[name] = cell
    new_texts = [name for name in texts if name not in known_texts]
    return _Members(
        cells, texts, new_texts, n_nulls, tuple(untyped), tuple(unknown_names), are_numbers
    )


def _read_object(
    context: Context, record: Record, schema: Schema, names: dict[str, str]
) -> _Features:
    """Return the features among the members of an object, given the cell of each name.

    Members that a model trained on a table does not know are ignored.
    """
    if not names:
        raise SampleError("it has no features")
    options = context.read_options
    members = _group_members(context, record, schema, names)
    cells, texts, has_nulls = members.cells, members.texts, bool(members.n_nulls or members.untyped)
    if members.unknown_names and not (cells or texts or has_nulls):
        raise SampleError("it has none of the model's features")
    schema = _with_inferred_types(schema, cells, texts)
    encodings = [
        (encoding, texts[encoding.column])
        for encoding in options.encodings
        if encoding.column in texts
    ]
    encoded, n_encoded_nulls = record.encode(encodings)
    ids = list(map(record.all_cell_ids.__getitem__, cells.values()))
    numbers = record.numbers_at(ids) if members.are_numbers else []
    if members.are_numbers and math.isfinite(sum(numbers)):
        values = np.array(numbers, np.float64)
    else:
        values = build_row(tuple(cells), record.contents_at(ids)).values  # raises the error
    values = scale_features(context, tuple(cells), values)
    if members.new_texts or schema.is_new:
        schema = replace(schema, texts=(*(schema.texts or ()), *members.new_texts))
    features = dict(zip(cells, values.tolist(), strict=True))
    ignored_texts = {} if cells or has_nulls or members.unknown_names or encodings else texts
    return _Features(
        schema,
        features,
        encoded,
        members.n_nulls + n_encoded_nulls,
        members.untyped,
        members.unknown_names,
        ignored_texts,
    )


def _with_inferred_types(schema: Schema, cells: dict[str, str], texts: dict[str, str]) -> Schema:
    """Return the schema with the types inferred for a table's untyped columns."""
    if schema.features is None:
        return schema
    decided = {name for name in schema.untyped if name in cells or name in texts}
    if not decided:
        return schema
    new = [name for name in cells if name in decided]
    return schema.with_inferred_types((*schema.features, *new), decided)


def _read_list(context: Context, record: Record, schema: Schema, name: str) -> _Values:
    """Return the features in a list."""
    known, members = schema.features, record.members.get(name, range(0))
    n = len(members)
    subject = f"{'list' if context.columns is None else 'column'} {name!r}"
    if known is not None and n != len(known):
        raise SampleError(f"{subject} has {n:,} value{'s' * (n != 1)}, not {len(known):,}")
    if not members:
        raise SampleError(f"{subject} is empty")
    if n > context.max_features:
        raise SampleError(f"{subject} has {n:,} values, more than a model may have")
    names = known or name_vector_elements(name, n)
    cells, before = record.cells.members, len(record.cells.kinds)
    assert cells is not None
    span = slice(members[0] - before, members[-1] + 1 - before)
    kinds, values = cells.kinds[span], cells.numbers[span].astype(np.float64)
    is_null = kinds == Kind.NULL
    values[is_null] = 0.0
    are_numbers = is_null | (kinds == Kind.NUMBER) | (kinds == Kind.BOOL)
    if not (are_numbers.all() and np.isfinite(values).all()):
        contents = [0.0 if content is None else content for content in record.contents_at(members)]
        values = build_row(names, contents).values  # raises the error
    values[is_null] = np.nan
    if known is None and not schema.is_open:
        schema = replace(schema, features=names)
    return _Values(schema, names, values)


def scale_features(
    context: Context, names: Names, values: NDArray[np.float64], column: str | None = None
) -> NDArray[np.float64]:
    """Return values multiplied by their scale; missing values stay NaN.

    Parameters
    ----------
    context
        The context of the record.
    names, values
        The features, shape (d,).
    column
        The column of lists that holds all features; None if each has a column of its own.

    Raises
    ------
    SampleError
        If a product is infinite.

    """
    scales: Any = context.read_options.factor
    if context.types and context.read_options.scale is None:
        columns = map(str, names) if column is None else [column]
        scales = np.array([context.find_scale(column) for column in columns])
    if scales is None:
        return values
    with np.errstate(over="ignore"):
        scaled: NDArray[np.float64] = values * scales
    for i in np.flatnonzero(np.isinf(scaled))[:1].tolist():
        feature = f"feature {names[i]!r} is {values[i]:g}"
        raise SampleError(f"{feature}, too large for --scale {context.read_options.scale:g}")
    return scaled
