"""The layout of a source's records: their format, and which columns or keys have which role."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.errors import Reason

compiled: Any = import_module("stream_perceptron.data.reader._reader")

BYTE_SCALE = 1 / 255  # the default factor for 8-bit features


class Format(ABC):
    """How records are written: the only place that knows quotes, escapes and decimal commas."""

    scanner: ClassVar[int]  # the C function that splits records into cells
    has_typed_cells: ClassVar[bool]  # whether numbers are distinguished from strings
    # The bytes between cells, and before the fraction of a number.
    delimiter, decimal = b",", b"."

    @abstractmethod
    def decode(self, cell_kind: int, content: bytes) -> object:
        """Return the value of a cell of a kind (NUMBER, TEXT, ...) as Python has it.

        Raises
        ------
        ValueError
            If it cannot be decoded.

        """

    def decode_label(self, cell_kind: int, content: bytes) -> object:
        """Return the value of a label: a string, unless cells are typed."""
        return self.decode(cell_kind, content)

    def decode_name(self, spelling: bytes) -> str:
        """Return the name that a key spells."""
        return spelling.decode()

    @abstractmethod
    def explain_rejection(self, record: bytes) -> Reason:
        """Return why a record is malformed."""


class Kind(IntEnum):
    """The kind of values that a source declares for a column."""

    NUMBER = 1
    STRING = 2  # or a date, a null, or a list of strings
    LIST = 3  # of numbers
    VECTOR = 4  # a list of numbers that always holds the features of a row, or an image
    OTHER = 5


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
    format
        How the records are written.
    read_options
        How the user wants the source read, with the exact names of columns.
    label
        The label column or key; None if no row has decided it, or if there is none.
    columns
        The columns of a table.
    types
        The types that an Arrow source declares for these columns.
    ignored
        The columns of a table that cannot be read.
    has_features
        Whether rows have cells without a role.
    key
        The column or key of the list that holds the features; None if there is none.
    element_names
        The names of the elements of this list; empty before the first list.
    label_type
        The type of labels that an Arrow source declares.
    is_encoded
        Whether records consist of features, so that there is nothing to encode.
    is_empty
        Whether the source has no records.

    """

    format: Format
    read_options: ReadOptions
    label: str | None = None
    columns: tuple[str, ...] = ()
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    has_features: bool = True
    key: str | None = None
    element_names: tuple[str, ...] = ()
    label_type: str | None = None
    is_encoded: bool = False
    is_empty: bool = False

    @property
    def is_list(self) -> bool:
        """Whether rows are lists of numbers."""
        return self.key is not None

    @property
    def may_have_list_rows(self) -> bool:
        """Whether the first row to be learned decides if rows are lists."""
        return not (self.is_list or self.columns or self.is_encoded)

    @cached_property
    def feature_columns(self) -> list[str]:
        """The columns of a table that have no role and may be features."""
        used = {self.label, *self.read_options.columns_with_role, *self.ignored}
        return [name for name in self.columns if name not in used]

    @cached_property
    def declared_number_columns(self) -> list[str]:
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

    def extend_schema(self, schema: Schema) -> Schema:
        """Return the schema after the first learned row, apart from what this row decides."""
        if self.is_encoded or (self.read_options.has_join and not self.has_features):
            return schema
        if self.columns:
            schema = replace(schema, label=schema.label or self.label)
        if self.key is not None:
            return replace(
                schema,
                element_names=schema.element_names or self.element_names,
                is_list=True,
                list_key=schema.list_key or self.key,
            )
        if not self.columns:
            return schema
        if not schema.columns:
            return replace(schema, columns=self.columns, is_list=False)
        known = {*schema.columns, *schema.later_columns}
        added = [name for name in self.columns if name not in known]
        return replace(schema, later_columns=(*schema.later_columns, *added))

    @property
    def has_8_bit_features(self) -> bool:
        """Whether all features are declared as 8-bit."""
        names = self.declared_number_columns if self.key is None else [self.key]
        return bool(names) and all(
            name in self.types and self.types[name].is_8_bit for name in names
        )
