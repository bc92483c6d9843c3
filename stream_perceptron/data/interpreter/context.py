"""The context in which records are interpreted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from stream_perceptron.data.batch import Redeliveries
from stream_perceptron.data.cells import Kind
from stream_perceptron.data.lazy import lazy_property
from stream_perceptron.data.schema import Encoding, ReadOptions, Schema
from stream_perceptron.model.vocabulary import Vocabulary

BYTE_SCALE = 1 / 255  # the default factor for 8-bit features


class ColumnType(NamedTuple):
    """The type that a source declares for a column."""

    name: str  # as shown in messages
    kind: Kind  # of the values: NUMBER, TEXT, LIST of numbers, or OBJECT for any other type
    is_8_bit: bool = False


class TableColumns(NamedTuple):
    """The columns of a table that may be features, and those that are encoded as features."""

    candidates: list[str]  # the columns without another role
    # The columns of numbers, the columns of texts, and the columns without a value so far.
    numbers: tuple[str, ...]
    texts: list[str]
    untyped: list[str]
    encodings: list[Encoding]
    vector_column: str | None = None  # the column of lists that holds all features


@dataclass(frozen=True, eq=False)
class Context:
    """Everything that the interpretation of records depends on, apart from their cells.

    Attributes
    ----------
    read_options
        How the user wants the source read, with the exact names of a table's columns.
    schema
        The column types and roles found in the learned rows.
    learns
        Whether rows are learned; if they are only predicted, unknown names are ignored.
    max_features
        The number of values above which a list is rejected.
    is_text
        Whether numbers are written as texts, so that the text 7 may be a number.
    has_pairs
        Whether records consist of a label and pairs of names and numbers, without other roles.
    columns
        The columns of a table; None if records name their cells.
    types
        The types that the source declares for these columns; empty if the values decide the types.
    has_column_names
        Whether the columns have names of their own, in a header.
    unknown_columns
        The columns of a table that are ignored because the model does not know them.
    vocabulary
        The feature names of the model and of pending samples, if rows name their own features.
    new_names
        The names of features that earlier records of the same block have added.
    redeliveries
        The highest offset of each partition; None if redelivered rows are not detected.

    """

    read_options: ReadOptions
    schema: Schema = field(default_factory=Schema)
    learns: bool = True
    max_features: int = 2**22
    is_text: bool = False
    has_pairs: bool = False
    columns: tuple[str, ...] | None = None
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    has_column_names: bool = False
    unknown_columns: frozenset[str] = frozenset()
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    new_names: dict[str, None] = field(default_factory=dict)
    redeliveries: Redeliveries | None = None

    @property
    def is_vocabulary_fixed(self) -> bool:
        """Whether names that the model does not know are ignored."""
        return not self.learns and self.schema.features is None and len(self.vocabulary) > 0

    @lazy_property
    def table_columns(self) -> TableColumns:
        """The columns of a table."""
        options, schema, columns = self.read_options, self.schema, self.columns or ()
        used = {options.label, *options.roles, *self.unknown_columns}
        candidates = [name for name in columns if name not in used]
        texts, usable, vector_column = set(schema.texts or ()), candidates, None
        if self.types:
            kinds = {name: self.types[name].kind for name in candidates}
            vector_column = next((name for name in candidates if kinds[name] is Kind.LIST), None)
            usable = [name for name in candidates if kinds[name] in (Kind.NUMBER, Kind.TEXT)]
            if schema.is_new:
                texts.update(name for name in usable if kinds[name] is Kind.TEXT)
                texts.update(options.encoded)
        if vector_column is not None:
            usable = []
        known: Sequence[str] = schema.features or ()
        if self.types and schema.is_new:
            known = usable
        elif not known and (schema.is_open or not self.learns):
            known = [name for name in usable if self.is_known_feature(name)]
        may_be_number = set(known).difference(texts, options.encoded)
        numbers = tuple(name for name in usable if name in may_be_number)
        typed = {*texts, *numbers}
        free_to_encode = set(columns).difference(used - self.unknown_columns)
        encodings = [
            encoding for encoding in options.encodings if encoding.column in free_to_encode
        ]
        encodings.sort(key=lambda encoding: columns.index(encoding.column))
        return TableColumns(
            candidates,
            numbers,
            [name for name in candidates if name in texts],
            [name for name in usable if name not in typed],
            encodings,
            vector_column,
        )

    def find_scale(self, column: str) -> float:
        """Return the factor for the numbers in a column."""
        if self.read_options.scale is not None:
            return self.read_options.scale
        is_8_bit = column in self.types and self.types[column].is_8_bit
        return BYTE_SCALE if is_8_bit else 1.0

    @lazy_property
    def byte_scale(self) -> float | None:
        """The factor for features that stay bytes, if all are declared as 8-bit; None otherwise."""
        columns = self.table_columns
        names = columns.numbers if columns.vector_column is None else (columns.vector_column,)
        if not names or not all(name in self.types and self.types[name].is_8_bit for name in names):
            return None
        scale = self.find_scale(names[0])
        return scale if math.isfinite(255 * scale) else None

    @property
    def has_features(self) -> bool:
        """Whether the model, or an earlier record of the block, has a feature."""
        return bool(self.schema.features or len(self.vocabulary) or self.new_names)

    def is_known_feature(self, name: str) -> bool:
        """Return whether a name is that of a feature, whose values must therefore not be texts."""
        return name in self.vocabulary.ids_by_name or name in self.new_names

    @lazy_property
    def schema_of_known_columns(self) -> Schema:
        """The schema after a row that adds no columns of numbers or texts."""
        return self.infer_columns(self.table_columns.numbers, self.table_columns.texts)

    def infer_columns(self, features: tuple[str, ...], texts: Sequence[str]) -> Schema:
        """Return the schema after a row with these columns of numbers and of texts."""
        options, schema, columns = self.read_options, self.schema, self.table_columns
        if not self.learns or (options.has_join and not columns.candidates):
            return schema
        inferred: dict[str, Any] = {"texts": tuple(dict.fromkeys((*(schema.texts or ()), *texts)))}
        if self.has_column_names and not schema.columns:
            inferred |= {"columns": self.columns, "label": options.label}
        if not schema.is_open:
            typed = {*features, *inferred["texts"]}
            untyped = columns.untyped if schema.features is None else schema.untyped
            inferred["features"] = features
            inferred["untyped"] = tuple(name for name in untyped if name not in typed)
        new_schema = replace(schema, **inferred)
        return schema if schema == new_schema else new_schema
