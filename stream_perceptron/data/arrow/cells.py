"""Convert the columns of record batches to the few types that the compiled reader reads."""

from __future__ import annotations

from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from stream_perceptron.data.arrow.types import (
    is_image,
    is_list,
    is_text,
    storage_type,
)
from stream_perceptron.data.byte_input import first_line
from stream_perceptron.data.columns import CATEGORICAL, IGNORE, VECTOR, Columns
from stream_perceptron.encoders import format_value, name_vector_elements
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.arrays import Array

# Raised for values that Python cannot represent; pytz, if installed, raises a LookupError for an
# unknown time zone.
_UNREADABLE = ValueError, OverflowError, LookupError


class ConvertedColumns(NamedTuple):
    """The columns of a record batch as the compiled reader reads them."""

    buffers: list[tuple[Any, ...]]  # the fields of an ArrowColumn, for each column that is used
    errors: dict[int, str]  # why rows cannot be read
    alive: list[pa.Array]  # the arrays whose buffers are read


def convert_columns(batch: pa.RecordBatch, columns: Columns) -> ConvertedColumns:
    """Convert the columns of a batch to numbers, strings and lists of these."""
    layout, names = columns.layout, {*batch.schema.names}
    converted = ConvertedColumns([], {}, [])
    kept = []
    for name in columns.kept_names:
        kept.append(_convert_to_list(name, batch.column(name), converted.errors))
    columns.kept_rows = list(zip(*kept, strict=True))
    for entry, name in enumerate(layout.columns):
        action = columns.reader.get(entry)[2]
        if action == IGNORE or name not in names:
            continue
        array = batch.column(name)
        if action == CATEGORICAL and types.is_decimal(array.type):
            values = [x if x is None else format_value(x, False) for x in array.to_pylist()]
            array = pa.array(values, pa.string())
        array = _simplify(name, array, converted.errors)
        if action == VECTOR:
            _set_members(columns, array)
            columns.lists = _LazyList(array)
        buffers = _describe_buffers(array)
        converted.alive.append(array)
        columns.types[entry] = buffers[0]
        converted.buffers.append((entry, *buffers, layout.find_scale(name)))
    return converted


class _LazyList:
    """The values of an array, converted when they are used."""

    def __init__(self, array: pa.Array) -> None:
        self._array = array

    def __getitem__(self, i: int) -> object:
        value = self._array[i].as_py()
        return list(value) if isinstance(value, bytes) else value


def _set_members(columns: Columns, array: pa.Array) -> None:
    """Name the elements of the list that holds the features, given the first lists."""
    if columns.member_names:
        return
    for values in array:
        value = values.as_py()
        if value:
            if len(value) <= columns.max_features:
                columns.set_members(name_vector_elements(columns.layout.key, len(value)))
            return


def _simplify(name: str, array: pa.Array, errors: dict[int, str]) -> pa.Array:
    """Return an array of numbers, strings or lists of these."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    if types.is_dictionary(kind):
        return _simplify(name, array.dictionary_decode(), errors)
    if types.is_decimal(kind) or types.is_float16(kind):
        return array.cast(pa.float64())
    if types.is_string_view(kind) or types.is_temporal(kind) or types.is_null(kind):
        return _cast_to_strings(name, array, errors)
    if is_image(kind):
        return _decode_images(name, array, errors)
    if is_list(kind):
        return _simplify_lists(array)
    return array


def _cast_to_strings(name: str, array: pa.Array, errors: dict[int, str]) -> pa.Array:
    """Return an array of strings; a value that cannot be cast becomes null and adds an error."""
    try:
        return array.cast(pa.string())
    except pa.ArrowException as error:
        parts = []
        for i in range(len(array)) if len(array) > 1 else ():
            error_of_row: dict[int, str] = {}
            parts.append(_cast_to_strings(name, array[i : i + 1], error_of_row))
            if error_of_row:
                errors.setdefault(i, error_of_row[0])
        if parts:
            return pa.concat_arrays(parts)
        errors.setdefault(0, f"column {name!r} cannot be read as {array.type}: {first_line(error)}")
        return pa.nulls(1, pa.string())


def _simplify_lists(array: pa.Array) -> pa.Array:
    """Return lists with the innermost values as elements."""
    member = array.type.value_type
    if types.is_dictionary(member) or types.is_string_view(member):
        return array.cast(pa.list_(pa.string()))
    if types.is_decimal(member) or types.is_float16(member):
        kind = pa.list_(pa.float64())
        return array.cast(kind)
    if types.is_boolean(member):
        return array.cast(pa.list_(pa.uint8()))
    if not is_list(member):
        return array
    values, lengths = _flatten_lists(array)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    is_null = None
    if array.null_count:
        is_null = pa.array(~to_numpy(array.is_valid()).astype(bool))
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), values, mask=is_null)
    return _simplify_lists(lists)


def _decode_images(name: str, array: pa.Array, errors: dict[int, str]) -> pa.Array:
    """Return images as lists of bytes; a damaged one becomes null and adds an error."""
    pictures: list[Array | None] = []
    for row, data in enumerate(array.field("bytes").to_pylist()):
        pictures.append(None)
        if array[row].is_valid:
            try:
                pictures[-1] = _decode_image(data)
            except SampleError as error:
                errors.setdefault(row, f"column {name!r} {error}")
    return pa.array(pictures, pa.list_(pa.uint8()))


def _describe_buffers(array: pa.Array) -> tuple[Any, ...]:
    """Return the type of a column, the addresses of its buffers, and its offsets."""
    kind, validity = array.type, _find_validity(array)
    buffers = [0 if buffer is None else buffer.address for buffer in array.buffers()]
    if types.is_fixed_size_binary(kind):
        return "B", "F", buffers[1], validity, 0, 0, 0, array.offset, 0, kind.byte_width
    if is_list(kind):
        members, is_fixed = array.values, types.is_fixed_size_list(kind)
        code = "F" if is_fixed else "L" if types.is_large_list(kind) else "l"
        are_texts = is_text(kind.value_type)
        return (
            _code(kind.value_type), code, buffers[-1], validity, _find_validity(members),
            0 if is_fixed else buffers[1], buffers[-2] if are_texts else 0, array.offset,
            members.offset, kind.list_size if is_fixed else 0,
        )  # fmt: skip
    if is_text(kind):
        return _code(kind), "", buffers[2], validity, 0, buffers[1], 0, array.offset, 0, 0
    return _code(kind), "", buffers[1], validity, 0, 0, 0, array.offset, 0, 0


def _find_validity(array: pa.Array) -> int:
    """Return the address of a validity bitmap; 0 if no value is null."""
    if not array.null_count:
        return 0
    address: int = array.buffers()[0].address
    return address


def _code(kind: pa.DataType) -> str:
    """Return the code of a type of numbers, as in Python's struct module, or of strings."""
    if is_text(kind):
        return "S" if types.is_large_string(kind) else "s"
    code: str = np.dtype(kind.to_pandas_dtype()).char
    return {"l": "q", "L": "Q"}.get(code, code)


def to_numpy(column: pa.Array) -> Array:
    """Return a column of numbers or bools without nulls as a NumPy array."""
    if types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    # `pa.Array.to_numpy` imports pandas if it is installed.
    return np.from_dlpack(column)


def _convert_to_list(
    name: str, column: pa.Array | pa.ChunkedArray, errors: dict[int, str]
) -> list[Any]:
    """Return the values of a column; add an error for each row whose value cannot be converted.

    Python can represent neither invalid UTF-8 nor times outside the range of its types.
    """
    try:
        return list(column.to_pylist())
    except _UNREADABLE:
        pass
    values = []
    for i, scalar in enumerate(column):
        try:
            values.append(scalar.as_py())
        except _UNREADABLE as error:
            values.append(None)
            problem = f"cannot be read as {scalar.type}: {first_line(error)}"
            if isinstance(error, UnicodeDecodeError):
                problem = "is not UTF-8"
            elif getattr(scalar.type, "tz", None):  # the error may only suggest installing pytz
                problem = f"cannot be read as {scalar.type}: unknown zone, or time out of range"
            errors.setdefault(i, f"column {name!r} {problem}")
    return values


def require_pillow(kind: pa.DataType) -> None:
    """Check that Pillow is installed if columns of this type contain images."""
    if not is_image(storage_type(kind)):
        return
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise SourceError("pictures need Pillow: pip install 'stream-perceptron[images]'") from None


def _decode_image(data: bytes | None) -> NDArray[np.uint8]:
    """Return the pixels of an image, row by row: one byte per pixel in gray, three in color."""
    from PIL import Image, UnidentifiedImageError

    if data is None:
        raise SampleError("has a picture without bytes")
    try:
        with Image.open(BytesIO(data)) as picture:
            grey = picture.mode in ("1", "L", "I;16", "I", "F")
            return np.asarray(picture.convert("L" if grey else "RGB")).reshape(-1)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        raise SampleError("holds a picture that cannot be decoded") from None


def _flatten_lists(column: pa.Array) -> tuple[pa.Array, NDArray[np.intp]]:
    """Return the innermost values, and their number in each row."""
    if types.is_fixed_size_list(column.type):
        lengths = to_numpy(column.is_valid()).astype(np.intp) * column.type.list_size
    else:
        # The length of a null is null; count it as 0.
        import pyarrow.compute as pc

        lengths = to_numpy(pc.list_value_length(column).fill_null(0)).astype(np.intp)
    values = column.flatten()
    if not is_list(values.type):
        return values, lengths
    values, inner = _flatten_lists(values)
    ends = np.cumsum(lengths)
    totals = np.concatenate([[0], np.cumsum(inner)])
    return values, totals[ends] - totals[ends - lengths]
