"""Convert the types of Arrow columns to types of cells and labels."""

from __future__ import annotations

import json

import pyarrow as pa
from pyarrow import types

from stream_perceptron.data.layout import ColumnType, Kind
from stream_perceptron.data.source import METADATA_KEY
from stream_perceptron.encoders import PIXEL_COLUMNS
from stream_perceptron.errors import SourceError


def describe_type(column: str, kind: pa.DataType) -> ColumnType:
    """Return the type of a column's cells.

    Examples
    --------
    >>> [describe_type("a", kind).kind.name for kind in (pa.int8(), pa.string(), pa.time32("s"))]
    ['NUMBER', 'STRING', 'OTHER']
    >>> [describe_type(column, pa.list_(pa.uint8())).kind.name for column in ("cart", "pixels")]
    ['LIST', 'VECTOR']

    """
    if types.is_dictionary(kind):
        return describe_type(column, kind.value_type)
    is_8_bit = types.is_uint8(kind)
    has_strings = is_list(kind) and is_text(kind.value_type)
    if is_numeric_type(kind):
        cell = Kind.NUMBER
    elif types.is_fixed_size_binary(kind) or is_image(kind):
        cell, is_8_bit = Kind.VECTOR, True
    elif is_list(kind) and is_numeric_type(leaf := find_leaf_type(kind)):
        is_vector = column in PIXEL_COLUMNS or types.is_fixed_size_list(kind)
        cell, is_8_bit = Kind.VECTOR if is_vector else Kind.LIST, types.is_uint8(leaf)
    elif is_text(kind) or has_strings or types.is_date(kind) or types.is_timestamp(kind):
        cell = Kind.STRING
    else:
        cell = Kind.STRING if types.is_null(kind) else Kind.OTHER
    return ColumnType(str(kind), cell, bool(is_8_bit))


def is_numeric_type(kind: pa.DataType) -> bool:
    """Whether a column of this type has one number or bool in each row."""
    return is_whole_type(kind) or bool(types.is_floating(kind) or types.is_decimal(kind))


def is_whole_type(kind: pa.DataType) -> bool:
    """Whether a column of this type has one whole number or bool in each row."""
    return bool(types.is_integer(kind) or types.is_boolean(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type has a string in each row."""
    value = kind.value_type if types.is_dictionary(kind) else kind
    return bool(
        types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type has a list in each row."""
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_image(kind: pa.DataType) -> bool:
    """Whether this is Hugging Face's image type, struct<bytes: binary, path: string>."""
    if not types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    data = kind.field("bytes").type
    return bool(types.is_binary(data) or types.is_large_binary(data))


def find_leaf_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the elements of lists of this type, which may be nested."""
    while is_list(kind):
        kind = kind.value_type
    return kind


def resolve_label_type(kind: pa.DataType, label: str, where: str) -> str | None:
    """Return the label type for a column of this type; None for a column of nulls.

    Raises
    ------
    SourceError
        If the column's values cannot be labels.

    """
    value = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_null(kind):
        return None
    if types.is_integer(value) or types.is_floating(value):
        return "int"
    if types.is_boolean(value):
        return "bool"
    if is_text(kind):
        return "str"
    raise SourceError(
        f"{where}: label column {label!r} is of type {kind}: labels are whole numbers, strings or "
        "bools"
    )


def read_declared_classes(columns: pa.Schema) -> list[object] | None:
    """Return the classes declared in a file that this package has written, or None."""
    metadata = (columns.metadata or {}).get(METADATA_KEY)
    return None if metadata is None else json.loads(metadata)["classes"]
