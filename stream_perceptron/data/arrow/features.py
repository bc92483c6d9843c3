"""Feature columns of Arrow record batches as rows."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from stream_perceptron.data import roles
from stream_perceptron.data.naming import names_in, vector_names
from stream_perceptron.data.schema import Selection
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.rows import Names, Rows
from stream_perceptron.model.vocabulary import natural_order

_BYTE_SCALE = 1 / 255
_SCALE_OF_INTEGERS = 1e200  # integers times this stay finite


class PlainColumns:
    """Features with one column each."""

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
        # Columns of different types are cast to one type.
        self._cast = None if is_plain else pa.schema([(name, pa.float64()) for name in kinds])

    def read(
        self, batch: pa.RecordBatch, names: Names, rejected: dict[int, str]
    ) -> tuple[Rows, NDArray[np.intp]]:
        """Return the features of all rows, and their places; add unusable rows to `rejected`."""
        if not self.columns:
            return Rows.of_table((), np.zeros((batch.num_rows, 0))), np.arange(batch.num_rows)
        columns = batch.select(self.columns)
        present = None
        for place, column in enumerate(columns.columns):
            if column.null_count:
                if present is None:
                    present = np.ones((batch.num_rows, len(self.columns)), bool)
                present[:, place] = numbers(column.is_valid())
                kind = column.type
                filled = column.fill_null(False if types.is_boolean(kind) else pa.scalar(0, kind))
                columns = columns.set_column(place, self.columns[place], filled)
        cast = columns if self._cast is None else columns.cast(self._cast, safe=False)
        cells = cast.to_tensor().to_numpy()
        rows = np.arange(batch.num_rows)
        if cells.dtype == np.uint8 and _fits_bytes(self.scales):
            return Rows.of_table(self.columns, cells, present, float(self.scales[0])), rows
        X = _scaled(cells, self.scales)
        if not _all_finite(X):
            for i, j in np.argwhere(~np.isfinite(X)).tolist():
                reason = f"column {self.columns[j]!r} is {columns.column(j)[i].as_py()}"
                if np.isfinite(cells[i, j]):
                    reason += f", too large for --scale {self.scales[j]:g}"
                rejected.setdefault(i, reason)
        return Rows.of_table(self.columns, X, present), rows

    def names_in(self, row: pa.RecordBatch, most: int) -> Names:
        """Return the names of the features of a row."""
        return self.columns


class VectorColumn:
    """Features in one column of vectors."""

    def __init__(
        self, name: str, kind: pa.DataType, scale: float | None, may_be_null: bool
    ) -> None:
        self.name, self._may_be_null = name, may_be_null
        self.columns = (name,)
        self.source = f" from column {name!r}"
        if _is_image(kind):
            _require_pillow()
        leaf = _storage(kind)
        while is_list(leaf):
            leaf = leaf.value_type
        self.scales = np.array([_scale(leaf, scale)])

    def names_in(self, row: pa.RecordBatch, most: int) -> Names:
        """Return the names of the features of a row; none if it is empty or too long."""
        _, lengths, _ = self._flatten(row, {})
        n = int(lengths.sum())
        return vector_names(self.name, n) if n <= most else ()

    def read(
        self, batch: pa.RecordBatch, names: Names, rejected: dict[int, str]
    ) -> tuple[Rows, NDArray[np.intp]]:
        """Return the features of the usable rows, and the places of these rows.

        Other rows are added to `rejected`, except nulls if they are allowed.
        """
        n_features = len(names)
        there = _places(_storage_of(batch.column(self.name)))
        if len(there) < batch.num_rows and not self._may_be_null:
            for i in set(range(batch.num_rows)).difference(there.tolist()):
                rejected.setdefault(i, f"column {self.name!r} is null")
        values, lengths, not_null = self._flatten(batch, rejected)
        fits = (lengths == n_features) & (lengths > 0)
        for i, length in zip(there[~fits].tolist(), lengths[~fits].tolist(), strict=True):
            wanted = f"{length} values, not {n_features}"
            if not n_features:
                wanted = f"{length:,} values, more than a model may have" if length else "no values"
            rejected.setdefault(i, f"column {self.name!r} has {wanted}")
        if not fits.all():
            kept = np.repeat(fits, lengths)
            values, there = values[kept], there[fits]
            not_null = None if not_null is None else not_null[kept]
        cells = values.reshape(len(there), n_features)
        present = None if not_null is None else not_null.reshape(cells.shape)
        if values.dtype == np.uint8 and _fits_bytes(self.scales):
            return Rows.of_table(names, cells, present, float(self.scales[0])), there
        X = _scaled(cells, self.scales)
        can_be_large = values.dtype.kind == "f" or abs(self.scales[0]) > _SCALE_OF_INTEGERS
        if can_be_large and not _all_finite(X):
            for i, j in np.argwhere(~np.isfinite(X)).tolist():
                value = "NaN" if math.isnan(X[i, j]) else "infinite"
                if np.isfinite(cells[i, j]):
                    value = f"{cells[i, j]:g}, too large for --scale {self.scales[0]:g}"
                reason = f"value {j} of column {self.name!r} is {value}"
                rejected.setdefault(int(there[i]), reason)
        return Rows.of_table(names, X, present), there

    def _flatten(
        self, batch: pa.RecordBatch, rejected: dict[int, str]
    ) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[np.bool_] | None]:
        """Return the joined values of all rows that are not null, and the length of each row.

        Also return a mask of the values that are not null, or None if none is; nulls become 0.
        """
        column = _storage_of(batch.column(self.name))
        there = _places(column)
        if column.null_count:
            column = column.drop_null()
        if types.is_fixed_size_binary(column.type):
            width = column.type.byte_width
            data = np.frombuffer(column.buffers()[1], np.uint8)
            start = column.offset * width
            return data[start : start + len(column) * width], np.full(len(column), width), None
        if not _is_image(column.type):
            values, lengths = _flatten_lists(column)
            if not values.null_count:
                return numbers(values), lengths, None
            kind, is_there = values.type, numbers(values.is_valid()).astype(bool)
            filled = values.fill_null(False if types.is_boolean(kind) else pa.scalar(0, kind))
            return numbers(filled), lengths, is_there
        pictures = []
        for i, data in zip(there.tolist(), column.field("bytes").to_pylist(), strict=True):
            try:
                pictures.append(_decode(data))
            except SampleError as error:
                rejected.setdefault(i, f"column {self.name!r} {error}")
                pictures.append(np.empty(0, np.uint8))
        return (
            np.concatenate([np.empty(0, np.uint8), *pictures]),
            np.array([len(picture) for picture in pictures], np.intp),
            None,
        )


def feature_columns(
    free: dict[str, pa.DataType], selection: Selection, where: str
) -> PlainColumns | VectorColumn:
    """Return the feature columns among those without another role."""
    vectors = [name for name, kind in free.items() if _is_vector(kind)]
    if len(vectors) > 1:
        raise SourceError(
            f"{where}: columns {names_in(vectors)} could each be the features: drop all but "
            "one with --ignore"
        )
    if vectors:
        kind, may_be_null = free[vectors[0]], selection.joins
        return VectorColumn(vectors[0], kind, selection.scale, may_be_null)
    plain = [name for name, kind in free.items() if is_number(kind)]
    has_labels_alone = selection.joins and not free
    if not plain and not selection.one_hot and not has_labels_alone:
        columns = [f"{name!r} ({kind})" for name, kind in free.items()]
        raise SourceError(
            f"{where}: no usable features{' among ' if columns else ''}{', '.join(columns[:5])}"
            ": use number or bool columns, one column of lists, bytes or images, or texts with "
            "--one-hot"
        )
    in_order = [str(name) for name in natural_order(plain)]
    return PlainColumns({name: free[name] for name in in_order}, selection.scale)


def with_indicators(
    features: Rows, places: NDArray[np.intp], one_hot: list[list[Any]], selection: Selection
) -> tuple[Rows, frozenset[str]]:
    """Return features with those for the values of --one-hot columns added, and their names.

    `places` are the rows' places among the values of each column in `one_hot`.
    """
    names: list[Any] = []
    for name, values in zip(selection.one_hot, one_hot, strict=True):
        names += [
            roles.indicator(name, values[i], selection, is_text=False) for i in places.tolist()
        ]
    rows = np.tile(np.arange(len(places)), len(selection.one_hot))
    return features.with_one_hot(rows, names), frozenset(names) - {None}


def numbers(column: pa.Array) -> NDArray[Any]:
    """Return a number or bool column as an array, NaN for nulls."""
    if types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif types.is_decimal(column.type) or types.is_float16(column.type):
        column = column.cast(pa.float64())
    if column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    # Column.to_numpy would import pandas, if that is installed.
    return np.from_dlpack(column)


def _require_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise SourceError("pictures need Pillow: pip install 'stream-perceptron[images]'") from None


def _decode(data: bytes | None) -> NDArray[np.uint8]:
    """Return a picture's bytes row by row: one a pixel if it is grey, three if coloured."""
    from PIL import Image, UnidentifiedImageError

    if data is None:
        raise SampleError("has no bytes for its picture")
    try:
        with Image.open(BytesIO(data)) as picture:
            grey = picture.mode in ("1", "L", "I;16", "I", "F")
            return np.asarray(picture.convert("L" if grey else "RGB")).reshape(-1)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        raise SampleError("holds a picture that cannot be decoded") from None


def _flatten_lists(column: pa.Array) -> tuple[pa.Array, NDArray[np.intp]]:
    """Return the innermost values, and the number of them in each row."""
    if types.is_fixed_size_list(column.type):
        lengths = numbers(column.is_valid()).astype(np.intp) * column.type.list_size
    else:
        # The length of a null is NaN; count it as 0.
        import pyarrow.compute as pc

        lengths = np.nan_to_num(numbers(pc.list_value_length(column))).astype(np.intp)
    values = column.flatten()
    if not is_list(values.type):
        return values, lengths
    values, inner = _flatten_lists(values)
    ends = np.cumsum(lengths)
    totals = np.concatenate([[0], np.cumsum(inner)])
    return values, totals[ends] - totals[ends - lengths]


def _places(column: pa.Array) -> NDArray[np.intp]:
    """Return the places of values that are not null."""
    # is_valid would import pyarrow.compute.
    if not column.null_count:
        return np.arange(len(column))
    return np.flatnonzero(numbers(column.is_valid()))


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _storage_of(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type has one number or bool a row."""
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
    )


def _is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type has many numbers a row: a list, bytes or an image."""
    kind = _storage(kind)
    return types.is_fixed_size_binary(kind) or _is_image(kind) or _list_depth(kind) > 0


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type has a list in each row."""
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _list_depth(kind: pa.DataType) -> int:
    depth = 0
    while is_list(kind):
        kind = kind.value_type
        depth += 1
    return depth if is_number(kind) else 0


def _is_image(kind: pa.DataType) -> bool:
    """Whether this is Hugging Face's type of images, struct<bytes: binary, path: string>."""
    if not types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    data = kind.field("bytes").type
    return bool(types.is_binary(data) or types.is_large_binary(data))


def _scaled(cells: NDArray[Any], scales: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: NDArray[np.float64] = np.multiply(cells, scales, dtype=np.float64)
    return scaled


def _all_finite(X: NDArray[np.float64]) -> bool:
    # A finite sum means finite values, and is three times faster to check; it may overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.sum()) or np.isfinite(X).all())


def _fits_bytes(scales: NDArray[np.float64]) -> bool:
    """Whether all scales are equal, and bytes times them stay finite."""
    return bool((scales == scales[0]).all() and abs(scales[0]) <= _SCALE_OF_INTEGERS)


def _scale(kind: pa.DataType, scale: float | None) -> float:
    if scale is not None:
        return scale
    is_8_bit = types.is_uint8(kind) or types.is_fixed_size_binary(kind) or _is_image(kind)
    return _BYTE_SCALE if is_8_bit else 1.0
