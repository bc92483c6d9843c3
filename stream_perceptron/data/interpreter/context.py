"""What the meaning of records depends on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from stream_perceptron.data.batch import Redeliveries
from stream_perceptron.data.cells import Kind
from stream_perceptron.data.lazy import lazy_property
from stream_perceptron.data.schema import Encoding, Schema, Selection
from stream_perceptron.model.vocabulary import Vocabulary, natural_order

BYTE_SCALE = 1 / 255  # the default factor of 8-bit features


class ColumnType(NamedTuple):
    """The type that a source declares for a column."""

    name: str  # in messages
    kind: Kind  # of the values: NUMBER, TEXT, LIST of numbers, or OBJECT for any other type
    is_8_bit: bool = False


class TableColumns(NamedTuple):
    """The columns of a table that may be features, and those that are encoded as features."""

    free: list[str]  # the columns without another role
    # Those of numbers, those of texts, and those without a value so far.
    numbers: tuple[str, ...]
    texts: list[str]
    untyped: list[str]
    encodings: list[Encoding]
    vector: str | None = None  # the column of lists with the features, beside which none is used


@dataclass(frozen=True, eq=False)
class Context:
    """What the meaning of records depends on, apart from their cells.

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
    are_pairs
        Whether records are a label and pairs of names and numbers, without other roles.
    columns
        The columns of a table; None if records name their cells.
    types
        The types that the source declares for these columns; empty if values decide.
    are_named
        Whether the columns have names of their own, in a header.
    unused
        The columns of a table that are not used, as the model does not know them.
    vocabulary
        The names of the model's and of pending features, if rows name their own features.
    new_names
        The names of features that earlier records of the same block have added.
    redeliveries
        The highest offset of each partition; None if redelivered rows are not detected.

    """

    selection: Selection
    schema: Schema = field(default_factory=Schema)
    learns: bool = True
    max_features: int = 2**22
    is_text: bool = False
    are_pairs: bool = False
    columns: tuple[str, ...] | None = None
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    are_named: bool = False
    unused: frozenset[str] = frozenset()
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
        options, schema, columns = self.selection, self.schema, self.columns or ()
        used = {options.label, *options.roles, *self.unused}
        free = [name for name in columns if name not in used]
        texts, usable, vector = set(schema.texts or ()), free, None
        if self.types:
            kinds = {name: self.types[name].kind for name in free}
            vector = next((name for name in free if kinds[name] is Kind.LIST), None)
            usable = [name for name in free if kinds[name] in (Kind.NUMBER, Kind.TEXT)]
            if schema.is_new:
                texts.update(name for name in usable if kinds[name] is Kind.TEXT)
                texts.update(options.encoded)
        if vector is not None:
            usable = []
        known: Sequence[str] = schema.features or ()
        if self.types and schema.is_new:
            known = natural_order(usable)
        elif not known and (schema.is_open or not self.learns):
            known = natural_order([name for name in usable if self.is_known(name)])
        may_be_number = set(usable).difference(texts, options.encoded)
        numbers = tuple(name for name in known if name in may_be_number)
        typed = {*texts, *numbers}
        free_to_encode = set(columns).difference(used - self.unused)
        encodings = [each for each in options.encodings if each.column in free_to_encode]
        encodings.sort(key=lambda encoding: columns.index(encoding.column))
        return TableColumns(
            free,
            numbers,
            [name for name in free if name in texts],
            [name for name in usable if name not in typed],
            encodings,
            vector,
        )

    def scale_of(self, column: str) -> float:
        """Return the factor of the numbers in a column."""
        if self.selection.scale is not None:
            return self.selection.scale
        is_8_bit = column in self.types and self.types[column].is_8_bit
        return BYTE_SCALE if is_8_bit else 1.0

    @lazy_property
    def byte_scale(self) -> float | None:
        """The factor of features that are declared as 8-bit, and stay bytes; None otherwise."""
        columns = self.table_columns
        names = columns.numbers if columns.vector is None else (columns.vector,)
        if not names or not all(name in self.types and self.types[name].is_8_bit for name in names):
            return None
        scale = self.scale_of(names[0])
        return scale if math.isfinite(255 * scale) else None

    @property
    def has_features(self) -> bool:
        """Whether the model, or an earlier record of the block, has a feature."""
        return bool(self.schema.features or len(self.vocabulary) or self.new_names)

    def is_known(self, name: str) -> bool:
        """Whether a name is that of a feature, so that it may not have texts."""
        return name in self.vocabulary.numbers or name in self.new_names

    @lazy_property
    def schema_of_known_columns(self) -> Schema:
        """The schema after a row that adds no columns of numbers or texts."""
        return self.infer_columns(self.table_columns.numbers, self.table_columns.texts)

    def infer_columns(self, features: tuple[str, ...], texts: Sequence[str]) -> Schema:
        """Return the schema after a row with these columns of numbers and of texts."""
        options, schema, columns = self.selection, self.schema, self.table_columns
        if not self.learns or (options.joins and not columns.free):
            return schema
        inferred: dict[str, Any] = {"texts": tuple(dict.fromkeys((*(schema.texts or ()), *texts)))}
        if self.are_named and not schema.columns:
            inferred |= {"columns": self.columns, "label": options.label}
        if not schema.is_open:
            typed = {*features, *inferred["texts"]}
            untyped = columns.untyped if schema.features is None else schema.undecided
            inferred["features"] = features
            inferred["undecided"] = tuple(name for name in untyped if name not in typed)
        after = replace(schema, **inferred)
        return schema if schema == after else after
