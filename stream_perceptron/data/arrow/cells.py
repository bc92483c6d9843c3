"""Convert the columns of record batches to doubles, bytes and strings, and to lists of these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from stream_perceptron.data.arrow.types import (
    find_leaf_type,
    is_image,
    is_integer_type,
    is_list,
    is_numeric_type,
    is_text,
)
from stream_perceptron.data.input.bytes import first_line
from stream_perceptron.data.meaning.columns import Columns
from stream_perceptron.data.meaning.roles import CATEGORICAL, IGNORE, LABEL, VECTOR
from stream_perceptron.encoders import format_category
from stream_perceptron.errors import Reason, SampleError, SourceError
from stream_perceptron.model.arrays import Array

# Raised for values that PyArrow or Python cannot represent; pytz, if installed, raises LookupError
# for an unknown zone.
_UNREADABLE = pa.ArrowException, ValueError, OverflowError, LookupError

# Patterns that turn a time as Arrow formats it into ISO 8601 with the fewest digits.
_TIME_REPLACEMENTS = ((r"^(\S+) ", r"\1T"), (r"(\.\d*?)0+(Z?)$", r"\1\2"), (r"\.(Z?)$", r"\1"))


class Cells(NamedTuple):
    """The cells of a column as the compiled reader reads them; see arrow.h."""

    kind: bytes  # b"d" for doubles, b"B" for bytes, b"s" for strings, b"n" for formatted numbers
    values: Any  # the numbers, or the bytes of the strings
    string_begins: Array | None = None
    string_ends: Array | None = None
    is_null: Array | None = None  # whether each number or string is null; None if none is
    list_begins: Array | None = None  # the first element of each list, and the end of the last list
    is_null_list: Array | None = None


class ConvertedColumns(NamedTuple):
    """The columns of a record batch as the compiled reader reads them."""

    columns: list[tuple[int, float, Cells]]  # the entry and the scale of each column that is used
    errors: dict[int, Reason]  # why rows cannot be read


def convert_columns(batch: pa.RecordBatch, columns: Columns, source_name: str) -> ConvertedColumns:
    """Convert the columns of a batch of the source `source_name`.

    Raises
    ------
    SourceError
        If PyArrow cannot convert a column.

    """
    layout, names = columns.layout, {*batch.schema.names}
    converted = ConvertedColumns([], {})
    kept = []
    for name in columns.kept.names:
        with _convert_value_errors(source_name, name, batch.column(name).type):
            kept.append(batch.column(name).to_pylist())
    columns.kept.rows = list(zip(*kept, strict=True))
    for entry, name in enumerate(layout.columns):
        action = columns.reader.get_action(entry)
        if action == IGNORE or name not in names:
            continue
        array = batch.column(name)
        with _convert_value_errors(source_name, name, array.type):
            if action == CATEGORICAL and types.is_temporal(array.type):
                array = _format_times(array)
            array = _decode_column(name, array, converted.errors)
        leaf = find_leaf_type(array.type)
        is_exact = action in (CATEGORICAL, LABEL) and is_numeric_type(leaf)
        is_exact |= action != VECTOR and is_list(array.type) and is_integer_type(leaf)
        cells = _convert_cells(array, is_exact)
        if action == VECTOR:
            columns.list_cells = lists = _ListColumn(cells)
            if lists.n_elements:
                columns.set_elements(lists.n_elements)
        converted.columns.append((entry, layout.find_scale(name), cells))
    return converted


@contextmanager
def _convert_value_errors(source_name: str, name: str, data_type: pa.DataType) -> Iterator[None]:
    """Raise a SourceError for values of a column that PyArrow or Python cannot represent."""
    try:
        yield
    except MemoryError:  # PyArrow's own is an ArrowException, too
        raise
    except _UNREADABLE as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else first_line(error)
        raise SourceError(
            f"{source_name}: column {name!r} cannot be read as {data_type}: {reason}"
        ) from None


class _ListColumn:
    """The lists of a column."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def __getitem__(self, i: int) -> list[Any]:
        begins: Any = self._cells.list_begins
        values: list[Any] = self._cells.values[begins[i] : begins[i + 1]].tolist()
        return values

    @property
    def n_elements(self) -> int:
        """The number of elements of the first list that is not empty; 0 if there is none."""
        begins: Any = self._cells.list_begins
        return int(next(filter(None, np.diff(begins).tolist()), 0))


def _decode_column(name: str, array: pa.Array, errors: dict[int, Reason]) -> pa.Array:
    """Return an array of numbers, strings, or lists or bytes; dates become strings."""
    if types.is_dictionary(array.type):
        return _decode_column(name, array.dictionary_decode(), errors)
    if types.is_temporal(array.type) or types.is_null(array.type):
        return array.cast(pa.string())
    return _decode_images(name, array, errors) if is_image(array.type) else array


def _format_times(times: pa.Array) -> pa.Array:
    """Return the names of dates and times as categories; see `encoders.format_date_or_time`."""
    import pyarrow.compute as pc

    if types.is_timestamp(times.type) and times.type.tz is not None:
        times = times.cast(pa.timestamp(times.type.unit, "UTC"))
    texts = times.cast(pa.string())
    for pattern, text in _TIME_REPLACEMENTS:
        texts = pc.replace_substring_regex(texts, pattern, text)
    return texts


def _convert_cells(array: pa.Array, keeps_exact_integers: bool = False) -> Cells:
    """Return the cells of numbers, strings, lists or bytes; exact numbers become strings."""
    data_type = array.type
    if types.is_dictionary(data_type):
        return _convert_cells(array.dictionary_decode(), keeps_exact_integers)
    if types.is_fixed_size_binary(data_type):
        lists = np.arange(len(array) + 1) * data_type.byte_width
        values = _view_buffer(array, 1, np.uint8, array.offset * data_type.byte_width)
        return Cells(b"B", values, list_begins=lists, is_null_list=_find_nulls(array))
    if is_list(data_type):
        elements, lengths = _flatten_lists(array)
        lists = np.concatenate([[0], np.cumsum(lengths)])
        cells = _convert_cells(elements, keeps_exact_integers)
        if types.is_uint8(elements.type) and not elements.null_count and not keeps_exact_integers:
            # Most of them are pixels.
            cells = Cells(b"B", _view_buffer(elements, 1, np.uint8, elements.offset))
        return cells._replace(list_begins=lists, is_null_list=_find_nulls(array))
    if keeps_exact_integers:
        return _format_numbers(array)
    if is_text(data_type):
        texts = array.cast(pa.string()) if types.is_string_view(data_type) else array
        integer = np.int64 if types.is_large_string(data_type) else np.int32
        bounds = _view_buffer(texts, 1, integer, texts.offset).astype(np.int64, copy=False)
        return Cells(b"s", texts.buffers()[2], bounds[:-1], bounds[1:], _find_nulls(texts))
    if types.is_boolean(data_type) or types.is_decimal(data_type):
        return _convert_cells(array.cast(pa.float64()))
    values = _view_buffer(array, 1, data_type.to_pandas_dtype(), array.offset)
    return Cells(b"d", values.astype(np.float64, copy=False), is_null=_find_nulls(array))


def _format_numbers(array: pa.Array) -> Cells:
    """Return numbers or bools as strings that represent them exactly."""
    values = array.to_pylist()
    ids: defaultdict[Any, int] = defaultdict()
    ids.default_factory = ids.__len__
    rows = np.fromiter(map(ids.__getitem__, values), np.intp, len(values))
    is_null = np.array([x is None or x != x for x in ids], np.uint8)
    texts = ["" if null else format_category(x) for x, null in zip(ids, is_null, strict=True)]
    bounds = np.cumsum([0, *map(len, texts)])
    data = "".join(texts).encode()
    return Cells(b"n", data, bounds[rows], bounds[rows + 1], is_null[rows])


def _view_buffer(array: pa.Array, i: int, dtype: Any, begin: int) -> Array:
    """Return a buffer of an array as numbers from `begin` on."""
    return np.frombuffer(array.buffers()[i] or b"", dtype)[begin:]


def _find_nulls(array: pa.Array) -> Array | None:
    """Return whether each value is null, as bytes; None if none is."""
    if not array.null_count:
        return None
    are_valid = np.unpackbits(_view_buffer(array, 0, np.uint8, 0), bitorder="little")
    return 1 - are_valid[array.offset : array.offset + len(array)]


def _decode_images(name: str, array: pa.Array, errors: dict[int, Reason]) -> pa.Array:
    """Return images as lists of bytes; a damaged one becomes null and adds an error."""
    pictures: list[Array | None] = []
    for row, data in enumerate(array.field("bytes").to_pylist()):
        pictures.append(None)
        if array[row].is_valid:
            try:
                pictures[-1] = _decode_image(data)
            except SampleError as error:
                errors.setdefault(row, Reason(f"column {name!r} {error}"))
    return pa.array(pictures, pa.list_(pa.uint8()))


def to_numpy(column: pa.Array) -> Array:
    """Return a column of numbers or bools without nulls as a NumPy array."""
    if types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    # `pa.Array.to_numpy` imports pandas if it is installed.
    return np.from_dlpack(column)


def require_pillow(data_type: pa.DataType) -> None:
    """Check that Pillow is installed if columns of this type contain images."""
    if not is_image(data_type):
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
