"""Feature columns of Arrow record batches, as arrays of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from stream_perceptron.errors import SourceError
from stream_perceptron.model.kernel import ByteRows
from stream_perceptron.model.validation import all_finite

__all__ = [
    "PlainColumns",
    "VectorColumn",
    "is_number",
    "is_vector",
    "names_in",
    "numbers",
    "shown",
    "vector_names",
]

_PIXEL_COLUMNS = ("pixels", "pixel", "image")
_BYTE_SCALE = 1 / 255


def vector_names(name: str, n_features: int) -> tuple[str, ...]:
    """Return names for many numbers under one name: pixel0, pixel1.. or name0, name1...

    Examples
    --------
    >>> vector_names("pixels", 2), vector_names("x", 2)
    (('pixel0', 'pixel1'), ('x0', 'x1'))

    """
    stem = "pixel" if name in _PIXEL_COLUMNS else name
    return tuple(f"{stem}{i}" for i in range(n_features))


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds one number or bool a row."""
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
    )


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type holds many numbers a row: a list, bytes or an image."""
    kind = _storage(kind)
    return types.is_fixed_size_binary(kind) or _is_image(kind) or _list_depth(kind) > 0


def numbers(column: pa.Array) -> NDArray[Any]:
    """Return a number or bool column as an array, NaN where it is null."""
    if types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif types.is_decimal(column.type) or types.is_float16(column.type):
        column = column.cast(pa.float64())
    if column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    # Column.to_numpy would import pandas first, if it is there.
    return np.from_dlpack(column)


class PlainColumns:
    """Features in a column each.

    Parameters
    ----------
    kinds
        The types of the columns by name, in the order of the features.
    scale
        What to multiply by; None for 1/255 where the type is uint8, else 1.

    """

    source = ""

    def __init__(self, kinds: dict[str, pa.DataType], scale: float | None) -> None:
        self.columns = tuple(kinds)
        self.scales = np.array([_scale(kind, scale) for kind in kinds.values()])
        types_ = set(kinds.values())
        is_plain = len(types_) == 1 and (
            types.is_integer(kind := types_.pop())
            or types.is_float32(kind)
            or types.is_float64(kind)
        )
        # Columns of different types must meet in one that holds them all.
        self._cast = None if is_plain else pa.schema([(name, pa.float64()) for name in kinds])

    def feature_names(self, n_features: int) -> tuple[str, ...]:
        """Return the names of the features."""
        return self.columns

    def read(
        self, batch: pa.RecordBatch, n_features: int | None, bad: dict[int, str]
    ) -> NDArray[np.float64] | ByteRows:
        """Return the features (n, d); rows that cannot be used are named in `bad`."""
        columns = batch.select(self.columns)
        cast = columns if self._cast is None else columns.cast(self._cast, safe=False)
        cells = cast.to_tensor(null_to_nan=True).to_numpy()
        if cells.dtype == np.uint8 and _fits_bytes(self.scales):
            return ByteRows(cells, float(self.scales[0]))
        X: NDArray[np.float64] = np.multiply(cells, self.scales, dtype=np.float64)
        if not all_finite(X):
            for i, j in np.argwhere(~np.isfinite(X)).tolist():
                bad.setdefault(i, f"column {self.columns[j]!r} is {shown(columns.column(j)[i])}")
        return X


class VectorColumn:
    """Features in one column, expanded row by row.

    Parameters
    ----------
    name
        The column's name.
    kind
        Its type.
    scale
        What to multiply by; None for 1/255 where values are 8-bit, else 1.

    """

    def __init__(self, name: str, kind: pa.DataType, scale: float | None) -> None:
        self.name = name
        self.columns = (name,)
        self._names: tuple[str, ...] = ()
        self.source = f" from column {name!r}"
        if _is_image(kind):
            _require_pillow()
        leaf = _storage(kind)
        while _is_list(leaf):
            leaf = leaf.value_type
        self.scales = np.array([_scale(leaf, scale)])

    def feature_names(self, n_features: int) -> tuple[str, ...]:
        """Return the names of the features."""
        if len(self._names) != n_features:
            self._names = vector_names(self.name, n_features)
        return self._names

    def read(
        self, batch: pa.RecordBatch, n_features: int | None, bad: dict[int, str]
    ) -> NDArray[np.float64] | ByteRows:
        """Return the features (n, d); rows that cannot be used are named in `bad`.

        `n_features` is the number a row must have, None to take it from the first row.
        """
        column = batch.column(self.name)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        there = np.arange(len(column))
        if column.null_count:
            there = np.flatnonzero(numbers(column.is_valid()))
            for i in set(range(len(column))).difference(there.tolist()):
                bad[i] = f"column {self.name!r} is null"
            column = column.drop_null()
        values, lengths = self._flatten(column, there, bad)
        if n_features is None:
            n_features = int(lengths[lengths > 0][0]) if (lengths > 0).any() else 0
        fits = (lengths == n_features) & (lengths > 0)
        for i, length in zip(there[~fits].tolist(), lengths[~fits].tolist(), strict=True):
            bad.setdefault(i, f"column {self.name!r} has {length} values, not {n_features}")
        if not fits.all():
            values = values[np.repeat(fits, lengths)]
        elif len(there) == batch.num_rows and values.dtype == np.uint8 and _fits_bytes(self.scales):
            return ByteRows(values.reshape(len(there), n_features), float(self.scales[0]))
        scaled = np.multiply(values, self.scales, dtype=np.float64)
        rows: NDArray[np.float64] = scaled.reshape(len(there[fits]), n_features)
        if values.dtype.kind == "f" and not all_finite(rows):
            for i, j in np.argwhere(~np.isfinite(rows)).tolist():
                value = "null or NaN" if math.isnan(rows[i, j]) else "infinite"
                bad.setdefault(int(there[fits][i]), f"value {j} of column {self.name!r} is {value}")
        if len(rows) == batch.num_rows:
            return rows
        X = np.zeros((batch.num_rows, n_features))
        X[there[fits]] = rows
        return X

    def _flatten(
        self, column: pa.Array, there: NDArray[np.intp], bad: dict[int, str]
    ) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Return all values one after another, and how many each row has."""
        if types.is_fixed_size_binary(column.type):
            width = column.type.byte_width
            data = np.frombuffer(column.buffers()[1], np.uint8)
            start = column.offset * width
            return data[start : start + len(column) * width], np.full(len(column), width)
        if not _is_image(column.type):
            values, lengths = _flatten_lists(column)
            return numbers(values), lengths
        pictures = []
        for i, data in zip(there.tolist(), column.field("bytes").to_pylist(), strict=True):
            try:
                pictures.append(_decode(data))
            except ValueError as error:
                bad[i] = f"column {self.name!r} {error}"
                pictures.append(np.empty(0, np.uint8))
        return (
            np.concatenate([np.empty(0, np.uint8), *pictures]),
            np.array([len(picture) for picture in pictures], np.intp),
        )


def shown(value: pa.Scalar) -> str:
    """Return a cell as a person would write it."""
    return str(value.as_py()) if value.is_valid else "null"


def _require_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise SourceError("pictures need Pillow: pip install 'stream-perceptron[images]'") from None


def _decode(data: bytes | None) -> NDArray[np.uint8]:
    """Return a picture's bytes, row by row; grey pictures one a pixel, coloured ones three."""
    from PIL import Image, UnidentifiedImageError

    if data is None:
        raise ValueError("has no bytes for its picture")
    try:
        with Image.open(BytesIO(data)) as picture:
            grey = picture.mode in ("1", "L", "I;16", "I", "F")
            return np.asarray(picture.convert("L" if grey else "RGB")).reshape(-1)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        raise ValueError("holds a picture that cannot be decoded") from None


def _flatten_lists(column: pa.Array) -> tuple[pa.Array, NDArray[np.intp]]:
    """Return the innermost values, and how many each row has."""
    if types.is_fixed_size_list(column.type):
        lengths = numbers(column.is_valid()).astype(np.intp) * column.type.list_size
    else:
        # A null is as long as an empty list.
        import pyarrow.compute as pc

        lengths = np.nan_to_num(numbers(pc.list_value_length(column))).astype(np.intp)
    values = column.flatten()
    if not _is_list(values.type):
        return values, lengths
    values, inner = _flatten_lists(values)
    ends = np.cumsum(lengths)
    totals = np.concatenate([[0], np.cumsum(inner)])
    return values, totals[ends] - totals[ends - lengths]


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _list_depth(kind: pa.DataType) -> int:
    depth = 0
    while _is_list(kind):
        kind = kind.value_type
        depth += 1
    return depth if is_number(kind) else 0


def _is_image(kind: pa.DataType) -> bool:
    """Whether this is an image as Hugging Face stores it, struct<bytes: binary, path: string>."""
    if not types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    data = kind.field("bytes").type
    return bool(types.is_binary(data) or types.is_large_binary(data))


def _fits_bytes(scales: NDArray[np.float64]) -> bool:
    """Whether bytes times these are finite, and all multiplied by the same."""
    return bool((scales == scales[0]).all() and np.isfinite(255 * scales[0]))


def _scale(kind: pa.DataType, scale: float | None) -> float:
    if scale is not None:
        return scale
    is_8_bit = types.is_uint8(kind) or types.is_fixed_size_binary(kind) or _is_image(kind)
    return _BYTE_SCALE if is_8_bit else 1.0


def names_in(names: Sequence[str], most: int = 5) -> str:
    """Return names in quotes for a message, the first few of them."""
    quoted = [repr(name) for name in names[:most]]
    return ", ".join(quoted) + (f" and {len(names) - most} more" if len(names) > most else "")
