"""Convert Arrow record batches to cells."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from stream_perceptron.data.arrow.types import (
    is_date,
    is_image,
    is_list,
    is_number,
    is_text,
    storage_type,
)
from stream_perceptron.data.byte_stream import first_line
from stream_perceptron.data.cells import Cells, Contents, Kind, compiled
from stream_perceptron.data.interpreter import ColumnType
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.arrays import Array

# If integers span at most this many values, the code of each is its distance from the smallest.
_MAX_CODES = 256
_MIN_MEAN_REPEATS = 4  # the mean number of rows with the same text, for texts encoded in C
# Raised for values that Python cannot represent; pytz, if installed, raises a LookupError for an
# unknown time zone.
_UNREADABLE = ValueError, OverflowError, LookupError


class ArrowScanner:
    """Converts record batches to cells, one for each column of a row.

    Parameters
    ----------
    types_by_name
        The types of all columns, in the order of the cells in a row.
    used
        The columns to read; the cells of other columns are null.

    Examples
    --------
    >>> from stream_perceptron.data.arrow.types import describe_type
    >>> batch = pa.record_batch({"a": [1.5, None], "b": ["x", "y"]})
    >>> scanner = ArrowScanner({f.name: describe_type(f.type) for f in batch.schema}, {"a", "b"})
    >>> cells = scanner.scan(batch)
    >>> [Kind(kind).name for kind in cells.kinds], cells.contents.get_all(np.arange(3))
    (['NUMBER', 'TEXT', 'NULL', 'TEXT'], [1.5, 'x', None])

    """

    def __init__(self, types_by_name: Mapping[str, ColumnType], used: Collection[str]) -> None:
        self._types = types_by_name
        self._used = {name: i for i, name in enumerate(types_by_name) if name in used}
        # Only the first column of lists is split into members; other lists stay whole.
        lists = [name for name in self._used if types_by_name[name].kind is Kind.LIST]
        self._vector = lists[0] if lists else None
        self._kinds = np.full(len(types_by_name), Kind.NULL, np.uint8)
        for name, i in self._used.items():
            kind = types_by_name[name].kind
            self._kinds[i] = Kind.OBJECT if name in lists[1:] else kind

    def scan(self, batch: pa.RecordBatch) -> Cells:
        """Return the cells of a batch; rows with values that Python cannot represent get errors."""
        n, d = batch.num_rows, len(self._types)
        kinds = np.tile(self._kinds, (n, 1))
        contents: list[_ColumnContents | None] = [None] * d
        groups: dict[pa.DataType, list[str]] = {}
        errors: dict[int, str] = {}
        nulls: dict[int, NDArray[np.bool_]] = {}
        members = None
        for name, i in self._used.items():
            column = batch.column(name)
            if column.null_count:
                nulls[i] = to_numpy(column.is_valid()) == 0
                kinds[nulls[i], i] = Kind.NULL
            if is_number(column.type):
                if types.is_boolean(column.type):
                    kinds[kinds[:, i] == Kind.NUMBER, i] = Kind.BOOL
                groups.setdefault(column.type, []).append(name)
                contents[i] = _NumberContents(column)
            elif name == self._vector:
                members = _scan_vectors(name, column, errors)
                contents[i] = _LazyContents(column)
            elif (encoded := _encode_texts(column)) is not None:
                contents[i] = encoded
            else:
                is_text_or_date = is_text(column.type) or is_date(column.type)
                contents_type = _TextContents if is_text_or_date else _ListContents
                contents[i] = contents_type(_convert_to_list(name, column, errors))
        numbers = self._collect_numbers(batch, groups)
        for i, is_null in nulls.items() if numbers.dtype == np.float64 else ():
            numbers[is_null, i] = np.nan
        return Cells(
            names=(),
            starts=np.arange(n + 1) * d,
            name_ids=None,
            kinds=kinds.ravel(),
            numbers=numbers.ravel(),
            contents=_TableContents(contents),
            members=members,
            errors=errors,
        )

    def _collect_numbers(
        self, batch: pa.RecordBatch, groups: Mapping[pa.DataType, Sequence[str]]
    ) -> Array:
        """Return the numbers in cells, shape (n, d); uint8 if all are integers from 0 to 255."""
        n, d = batch.num_rows, len(self._types)
        blocks = [
            ([self._used[name] for name in names], _stack_numbers(batch, names))
            for names in groups.values()
        ]
        are_bytes = all(_are_all_bytes(block) for _, block in blocks)
        if are_bytes and len(blocks) == 1 and blocks[0][0] == list(range(d)):
            return np.ascontiguousarray(blocks[0][1], np.uint8)
        numbers = np.zeros((n, d), np.uint8) if are_bytes else np.full((n, d), np.nan)
        for positions, block in blocks:
            first = positions[0]
            if positions == list(range(first, first + len(positions))):
                numbers[:, first : first + len(positions)] = block
            else:
                numbers[:, positions] = block
        return numbers


def _stack_numbers(batch: pa.RecordBatch, names: Sequence[str]) -> Array:
    """Return the numbers in columns of one type, shape (n, len(names)); 0 for nulls."""
    columns = [_without_nulls(batch.column(name)) for name in names]
    kind = columns[0].type
    if types.is_integer(kind) or types.is_float32(kind) or types.is_float64(kind):
        rows = pa.RecordBatch.from_arrays(columns, names=list(names))
        numbers: Array = rows.to_tensor().to_numpy()
        return numbers
    return np.stack([to_numpy(column) for column in columns], axis=1)


def _are_all_bytes(numbers: Array) -> bool:
    """Whether all numbers are integers from 0 to 255."""
    if numbers.dtype == np.uint8 or not numbers.size:
        return True
    if numbers.dtype.kind not in "iu" or not 0 <= numbers[0].min() <= numbers[0].max() <= 255:
        return False
    return bool(numbers.min() >= 0 and numbers.max() <= 255)


def _scan_vectors(name: str, column: pa.Array, errors: dict[int, str]) -> Cells:
    """Return the numbers of all non-null vectors as the members of lists."""
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    rows = np.arange(len(column))
    if column.null_count:
        rows = np.flatnonzero(to_numpy(column.is_valid()))
        column = column.drop_null()
    kinds: NDArray[np.uint8] | None = None
    if types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        data = np.frombuffer(column.buffers()[1] or b"", np.uint8)
        first = column.offset * width
        numbers = data[first : first + len(column) * width]
        lengths = np.full(len(column), width)
    elif is_image(column.type):
        pictures = []
        for row, data in zip(rows.tolist(), column.field("bytes").to_pylist(), strict=True):
            try:
                pictures.append(_decode_image(data))
            except SampleError as error:
                errors[row] = f"column {name!r} {error}"
                pictures.append(np.empty(0, np.uint8))
        numbers = np.concatenate([np.empty(0, np.uint8), *pictures])
        lengths = np.array([len(picture) for picture in pictures], np.intp)
    else:
        values, lengths = _flatten_lists(column)
        numbers = to_numpy(_without_nulls(values))
        if values.null_count:
            is_null = to_numpy(values.is_valid()) == 0
            kinds = np.where(is_null, Kind.NULL, Kind.NUMBER).astype(np.uint8)
        if numbers.dtype != np.uint8:
            numbers = numbers.astype(np.float64)
            if values.null_count:
                numbers[is_null] = np.nan
    if kinds is None:
        kinds = np.broadcast_to(np.uint8(Kind.NUMBER), len(numbers))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    contents = ArrayContents(numbers, kinds)
    return Cells((), starts, None, kinds, numbers, contents)


class ArrayContents(Contents):
    """Numbers in an array; the content of null cells is None."""

    def __init__(self, numbers: Array, kinds: NDArray[np.uint8]) -> None:
        self._numbers, self._kinds = numbers, kinds

    def get(self, i: int) -> object:
        return None if self._kinds[i] == Kind.NULL else self._numbers[i].item()


class EncodedContents(NamedTuple):
    """A code for the content of each cell, and the contents by code."""

    codes: NDArray[np.int32]
    contents: list[object]


class _ColumnContents:
    """The contents of one column."""

    def get(self, row: int) -> object:
        """Return the content in a row."""
        raise NotImplementedError

    def encode(self, rows: NDArray[np.intp]) -> EncodedContents:
        """Return a code for the content of each of these rows, and the contents by code."""
        contents = list(map(self.get, rows.tolist()))
        return EncodedContents(np.arange(len(rows), dtype=np.int32), contents)


class _LazyContents(_ColumnContents):
    """Contents that become Python objects when they are read."""

    def __init__(self, column: pa.Array) -> None:
        self._column = column

    def get(self, row: int) -> object:
        return self._column[row].as_py()


class _NumberContents(_LazyContents):
    """Numbers and bools."""

    def encode(self, rows: NDArray[np.intp]) -> EncodedContents:
        column = self._column
        if types.is_integer(column.type) and not column.null_count and len(rows):
            numbers = to_numpy(column)[rows]
            first, last = int(numbers.min()), int(numbers.max())
            if last - first < _MAX_CODES:
                codes = (numbers - numbers.dtype.type(first)).astype(np.int32)
                return EncodedContents(codes, list(range(first, last + 1)))
        values = column.to_pylist()
        return EncodedContents(
            np.arange(len(rows), dtype=np.int32), [values[i] for i in rows.tolist()]
        )


class _ListContents(_ColumnContents):
    """Contents that are Python objects."""

    def __init__(self, values: list[object]) -> None:
        self._values = values

    def get(self, row: int) -> object:
        return self._values[row]


class _TextContents(_ListContents):
    """Texts and nulls."""

    def encode(self, rows: NDArray[np.intp]) -> EncodedContents:
        values = self._values
        if len(rows) < len(values):
            values = [values[i] for i in rows.tolist()]
        code_of = {value: code for code, value in enumerate(dict.fromkeys(values))}
        codes = np.fromiter(map(code_of.__getitem__, values), np.int32, len(values))
        return EncodedContents(codes, list(code_of))


class _RepeatedTexts(_ColumnContents):
    """Texts and nulls that occur repeatedly, such as labels."""

    def __init__(self, codes: NDArray[np.int32], texts: list[object]) -> None:
        self._codes, self._texts = codes, texts

    def get(self, row: int) -> object:
        return self._texts[self._codes[row]]

    def encode(self, rows: NDArray[np.intp]) -> EncodedContents:
        return EncodedContents(self._codes[rows], self._texts)


class _TableContents(Contents):
    """The contents of the cells of a table."""

    def __init__(self, columns: Sequence[_ColumnContents | None]) -> None:
        self._columns = columns

    def get(self, i: int) -> object:
        row, c = divmod(i, len(self._columns))
        column = self._columns[c]
        return None if column is None else column.get(row)

    def encode(self, ids: NDArray[np.intp]) -> tuple[NDArray[np.int32], list[object]]:
        rows, columns = np.divmod(ids, len(self._columns))
        if not len(ids) or (columns != columns[0]).any():
            return super().encode(ids)
        column = self._columns[int(columns[0])]
        if column is None:
            return np.zeros(len(ids), np.int32), [None]
        return column.encode(rows)


def to_numpy(column: pa.Array) -> Array:
    """Return a column of numbers or bools without nulls as an array."""
    if types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif types.is_decimal(column.type) or types.is_float16(column.type):
        column = column.cast(pa.float64())
    # `pa.Array.to_numpy` imports pandas if it is installed.
    return np.from_dlpack(column)


def _encode_texts(column: pa.Array) -> _RepeatedTexts | None:
    """Return the contents of a column whose texts occur repeatedly; None for other columns."""
    # Arrow's own function would import a library, which takes longer than reading a short file.
    if not (types.is_string(column.type) and len(column)):
        return None
    _, offset_buffer, data = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32, len(column) + 1, 4 * column.offset)
    texts = np.frombuffer(data or b"", np.uint8)
    max_codes = len(column) // _MIN_MEAN_REPEATS
    encoded = compiled.encode_slices(texts, offsets[:-1], offsets[1:], max_codes)
    if encoded is None:
        return None
    codes, contents = encoded
    try:
        values: list[object] = [content.decode() for content in contents]
    except UnicodeDecodeError:
        return None
    if column.null_count:
        codes[to_numpy(column.is_valid()) == 0] = len(values)
        values.append(None)
    return _RepeatedTexts(codes, values)


def _without_nulls(column: pa.Array) -> pa.Array:
    """Return a column of numbers or bools with 0 in place of nulls."""
    if not column.null_count:
        return column
    return column.fill_null(False if types.is_boolean(column.type) else pa.scalar(0, column.type))


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
            if isinstance(error, UnicodeDecodeError):
                problem = "is not UTF-8"
            elif zone := _find_unknown_zone(scalar.type):
                problem = f"has the time zone {zone!r}, which this system does not know"
            else:
                problem = f"cannot be read: {first_line(error)}"
            errors.setdefault(i, f"column {name!r} {problem}")
    return values


def _find_unknown_zone(column_type: pa.DataType) -> str | None:
    """Return the time zone of a type if Python does not know it, else None."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # lazy import: only errors need it

    zone = column_type.tz if types.is_timestamp(column_type) else None
    if zone is None or zone.startswith(("+", "-")):
        return None
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        return str(zone)
    return None


def list_texts(column: pa.Array | pa.ChunkedArray) -> list[str]:
    """Return the texts in a column, with an empty string for each null or invalid text."""
    return [text or "" for text in _convert_to_list("", column, {})]


def convert_row(row: pa.RecordBatch) -> list[dict[str, object]]:
    """Return the values of one row by name; invalid UTF-8 becomes lone surrogates."""
    return [{name: _convert_scalar(row.column(i)[0]) for i, name in enumerate(row.schema.names)}]


def _convert_scalar(scalar: pa.Scalar) -> object:
    """Return a scalar as a Python value, or as text if Python cannot represent it."""
    try:
        return scalar.as_py()
    except _UNREADABLE:
        value = scalar.value if isinstance(scalar, pa.DictionaryScalar) else scalar
        if not is_text(value.type):
            return str(scalar)
        return value.as_buffer().to_pybytes().decode(errors="surrogateescape")


def _flatten_lists(column: pa.Array) -> tuple[pa.Array, NDArray[np.intp]]:
    """Return the innermost values, and their number in each row."""
    if types.is_fixed_size_list(column.type):
        lengths = to_numpy(column.is_valid()).astype(np.intp) * column.type.list_size
    else:
        # The length of a null is null; count it as 0.
        import pyarrow.compute as pc

        lengths = to_numpy(_without_nulls(pc.list_value_length(column))).astype(np.intp)
    values = column.flatten()
    if not is_list(values.type):
        return values, lengths
    values, inner = _flatten_lists(values)
    ends = np.cumsum(lengths)
    totals = np.concatenate([[0], np.cumsum(inner)])
    return values, totals[ends] - totals[ends - lengths]


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
