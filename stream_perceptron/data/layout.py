"""The layout of a source's records: which columns or keys have which role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple

from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.data.text.records import COMMAS, Dialect

compiled: Any = import_module("stream_perceptron.data.reader._reader")

ARROW, CSV, JSON, LIBSVM = compiled.ARROW, compiled.CSV, compiled.JSON, compiled.LIBSVM
BYTE_SCALE = 1 / 255  # the default factor for 8-bit features


class Kind(IntEnum):
    """The kind of values that a source declares for a column."""

    NUMBER = 1
    STRING = 2  # or a date, a null, or a list of strings
    VECTOR = 3  # a list of numbers, or an image
    OTHER = 4


class ColumnType(NamedTuple):
    """The type that a source declares for a column."""

    name: str  # as shown in messages
    kind: Kind
    is_8_bit: bool = False


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the label and the features are in the records of a source, decided when it is opened.

    Attributes
    ----------
    record_format
        CSV, JSON, LIBSVM or ARROW, as in the compiled reader.
    read_options
        How the user wants the source read, with the exact names of columns.
    label
        The label column or key; None if no row has decided it, or if there is none.
    dialect
        The delimiter and the decimal separator of CSV.
    columns
        The columns of a table.
    types
        The types that an Arrow source declares for these columns.
    ignored
        The columns of a table that cannot be read.
    has_features
        Whether rows have cells without a role.
    key
        The JSON key that holds the features, or the Arrow column of lists; empty if there is none.
    is_list
        Whether the features are a list.
    element_names
        The names of the elements of this list; empty for an Arrow source before its first list.
    label_type
        The type of labels that an Arrow source declares.

    """

    record_format: int
    read_options: ReadOptions
    label: str | None = None
    dialect: Dialect = COMMAS
    columns: tuple[str, ...] = ()
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    key: str = ""
    is_list: bool = False
    element_names: tuple[str, ...] = ()
    has_features: bool = False
    label_type: str | None = None

    @cached_property
    def feature_columns(self) -> list[str]:
        """The columns of a table that have no role and may be features."""
        used = {self.label, *self.read_options.roles, *self.ignored}
        return [name for name in self.columns if name not in used]

    @cached_property
    def declared_numbers(self) -> list[str]:
        """The columns of numbers of an Arrow source; none if a vector holds the features."""
        if self.is_list:
            return []
        categorical, types = self.read_options.categorical, self.types
        return [
            name
            for name in self.feature_columns
            if name not in categorical and name in types and types[name].kind is Kind.NUMBER
        ]

    def find_scale(self, column: str) -> float:
        """Return the factor for the numbers in a column."""
        if self.read_options.scale is not None:
            return self.read_options.scale
        return BYTE_SCALE if column in self.types and self.types[column].is_8_bit else 1.0

    @property
    def is_empty(self) -> bool:
        """Whether the source has no records, so the layout is unknown."""
        return self.record_format == CSV and not self.columns

    def extend_schema(self, schema: Schema) -> Schema:
        """Return the schema after the first learned row, apart from the type of labels."""
        options = self.read_options
        if self.record_format == LIBSVM or (options.has_join and not self.has_features):
            return schema
        features = self.element_names if self.is_list else ()
        schema = replace(schema, label=schema.label or self.label)
        schema = replace(schema, features=schema.features or features, is_list=self.is_list)
        if self.record_format == JSON:
            return replace(schema, key=self.key) if self.has_features else schema
        if self.is_list:
            return schema
        if not schema.columns:
            return replace(schema, columns=self.columns)
        known = {*schema.columns, *schema.further_columns}
        added = [name for name in self.columns if name not in known]
        return replace(schema, further_columns=(*schema.further_columns, *added))

    @property
    def has_8_bit_features(self) -> bool:
        """Whether all features are declared as 8-bit."""
        names = [self.key] if self.is_list else self.declared_numbers
        return bool(names) and all(
            name in self.types and self.types[name].is_8_bit for name in names
        )
