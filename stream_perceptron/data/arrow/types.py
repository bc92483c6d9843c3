"""Convert the types of Arrow columns to types of cells and labels."""

from __future__ import annotations

import json

import pyarrow as pa
from pyarrow import types

from stream_perceptron.data.layout import ColumnType, Kind
from stream_perceptron.data.source import METADATA_KEY
from stream_perceptron.encoders import PIXEL_COLUMNS
from stream_perceptron.errors import SourceError


def describe_type(column: str, data_type: pa.DataType) -> ColumnType:
    """Return the type of a column's cells.

    Examples
    --------
    >>> [describe_type("a", t).kind.name for t in (pa.int8(), pa.string(), pa.time32("s"))]
    ['NUMBER', 'STRING', 'OTHER']
    >>> [describe_type(column, pa.list_(pa.uint8())).kind.name for column in ("cart", "pixels")]
    ['LIST', 'VECTOR']

    """
    if types.is_dictionary(data_type):
        return describe_type(column, data_type.value_type)
    is_8_bit = types.is_uint8(data_type)
    has_strings = is_list(data_type) and is_text(data_type.value_type)
    if is_numeric_type(data_type):
        cell = Kind.NUMBER
    elif types.is_fixed_size_binary(data_type) or is_image(data_type):
        cell, is_8_bit = Kind.VECTOR, True
    elif is_list(data_type) and is_numeric_type(leaf := find_leaf_type(data_type)):
        is_vector = column in PIXEL_COLUMNS or types.is_fixed_size_list(data_type)
        cell, is_8_bit = Kind.VECTOR if is_vector else Kind.LIST, types.is_uint8(leaf)
    elif (
        is_text(data_type)
        or has_strings
        or types.is_date(data_type)
        or types.is_timestamp(data_type)
    ):
        cell = Kind.STRING
    else:
        cell = Kind.STRING if types.is_null(data_type) else Kind.OTHER
    return ColumnType(str(data_type), cell, bool(is_8_bit))


def is_numeric_type(data_type: pa.DataType) -> bool:
    """Whether a column of this type has one number or bool in each row."""
    return is_integer_type(data_type) or bool(
        types.is_floating(data_type) or types.is_decimal(data_type)
    )


def is_integer_type(data_type: pa.DataType) -> bool:
    """Whether a column of this type has one whole number or bool in each row."""
    return bool(types.is_integer(data_type) or types.is_boolean(data_type))


def is_text(data_type: pa.DataType) -> bool:
    """Whether a column of this type has a string in each row."""
    value = data_type.value_type if types.is_dictionary(data_type) else data_type
    return bool(
        types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)
    )


def is_list(data_type: pa.DataType) -> bool:
    """Whether a column of this type has a list in each row."""
    return bool(
        types.is_list(data_type)
        or types.is_large_list(data_type)
        or types.is_fixed_size_list(data_type)
    )


def is_image(data_type: pa.DataType) -> bool:
    """Whether this is Hugging Face's image type, struct<bytes: binary, path: string>."""
    if not types.is_struct(data_type) or data_type.get_field_index("bytes") < 0:
        return False
    data = data_type.field("bytes").type
    return bool(types.is_binary(data) or types.is_large_binary(data))


def find_leaf_type(data_type: pa.DataType) -> pa.DataType:
    """Return the type of the elements of lists of this type, which may be nested."""
    while is_list(data_type):
        data_type = data_type.value_type
    return data_type


def resolve_label_type(data_type: pa.DataType, label: str, source_name: str) -> str | None:
    """Return the label type for a column of this type; None for a column of nulls.

    Raises
    ------
    SourceError
        If the column's values cannot be labels.

    """
    value = data_type.value_type if types.is_dictionary(data_type) else data_type
    if types.is_null(data_type):
        return None
    if types.is_integer(value) or types.is_floating(value):
        return "int"
    if types.is_boolean(value):
        return "bool"
    if is_text(data_type):
        return "str"
    raise SourceError(
        f"{source_name}: label column {label!r} is of type {data_type}: labels are whole numbers, "
        "strings or bools"
    )


def read_declared_classes(columns: pa.Schema) -> list[object] | None:
    """Return the classes declared in a file that this package has written, or None."""
    metadata = (columns.metadata or {}).get(METADATA_KEY)
    return None if metadata is None else json.loads(metadata)["classes"]
