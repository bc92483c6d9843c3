"""Convert frames, arrays and sparse matrices to checked rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import SampleError
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.rows import FeatureRows, Names
from stream_perceptron.model.validation import require_finite, require_number
from stream_perceptron.model.vocabulary import find_duplicates

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw
    from narwhals.stable.v2.typing import IntoDataFrame


@dataclass(eq=False, repr=False)
class FeatureFrame:
    """Rows with features of their own, made from the rows of a frame."""

    rows: FeatureRows
    like: nw.DataFrame[Any]  # the frame

    @classmethod
    def build(
        cls, samples: Iterable[Mapping[Hashable, float]], like: nw.DataFrame[Any]
    ) -> FeatureFrame:
        """Build a row from the finite features of each sample."""
        dicts = list(samples)
        values = [np.fromiter(x.values(), np.float64, len(x)) for x in dicts]
        return cls(FeatureRows.from_rows([tuple(x) for x in dicts], values), like)


def read_frame(X: Any, is_selected: Callable[[Hashable], bool] = lambda name: True) -> FeatureFrame:
    """Read the selected columns of a pandas, polars or pyarrow frame of features.

    A null marks an absent feature; in pandas, so do NaN and the fill value of a sparse column.
    """
    if isinstance(X, FeatureFrame):
        return X
    frame = as_frame(X)
    return FeatureFrame(_convert_frame(frame, is_selected), frame)


def as_frame(X: Any) -> nw.DataFrame[Any]:
    """Wrap a pandas, polars or pyarrow frame with narwhals."""
    from narwhals.exceptions import DuplicateError
    from river.utils import dataframe

    try:
        return dataframe.into_frame(X)
    except TypeError:
        raise SampleError(
            f"features are of type {type(X).__name__}: pass a pandas, polars or pyarrow frame, or "
            "an array to test_then_train"
        ) from None
    except DuplicateError:
        _require_unique(tuple(X.columns))
        raise


def _convert_frame(
    frame: nw.DataFrame[IntoDataFrame], is_selected: Callable[[Hashable], bool]
) -> FeatureRows:
    """Convert the selected columns of a frame to rows."""
    names: Names = tuple(frame.columns)
    indices = [i for i, name in enumerate(names) if is_selected(name)]
    if len(indices) < len(names):
        names = tuple(names[i] for i in indices)
        if not indices:
            return FeatureRows.from_table((), np.zeros((len(frame), 0)))
        frame = frame[:, indices]
    if frame.implementation.is_pandas():
        native: Any = frame.to_native()
        sparse_type = sys.modules["pandas"].SparseDtype
        if any(isinstance(kind, sparse_type) for kind in native.dtypes.unique()):
            return _convert_sparse_frame(native, names)
    return _convert_dense_frame(frame, names)


def _convert_dense_frame(frame: nw.DataFrame[IntoDataFrame], names: Names) -> FeatureRows:
    """Convert a frame of numbers and bools to rows; a null marks an absent feature."""
    import narwhals.stable.v2 as nw
    from river.utils import dataframe

    for name, column in zip(names, frame.iter_columns(), strict=True):
        kind = column.dtype
        if kind.is_numeric() or kind == nw.Boolean:
            continue
        values = column.drop_nulls()  # a column of nulls may be of any type
        if kind == nw.Object:
            for value in values.to_list():
                require_number(name, value)
        # Older versions of narwhals do not know float16.
        elif len(values) and not (kind == nw.Unknown and values.to_numpy().dtype.kind == "f"):
            raise SampleError(
                f"feature {name!r} is of type {kind}: only numbers and bools can be learned; "
                "encode or drop it"
            )
    # River's helper turns missing values into NaN for every kind of frame.
    try:
        rows = dataframe.to_numpy(frame)
    except Exception as error:  # each library raises its own errors
        raise SampleError(f"the features cannot be converted to floats: {error}") from None
    missing = np.isnan(rows)
    if not missing.any():
        return require_finite(FeatureRows.from_table(names, rows))
    if not frame.implementation.is_pandas_like():
        nulls = [column.is_null().to_numpy() for column in frame.iter_columns()]
        missing = np.stack(nulls, axis=1).astype(bool)
    return require_finite(FeatureRows.from_table(names, rows, ~missing))


def _convert_sparse_frame(frame: Any, names: Names) -> FeatureRows:
    """Convert a pandas frame that has sparse columns to rows."""
    row_ids: list[NDArray[np.intp]] = []
    values: list[Array] = []
    for name, (_, series) in zip(names, frame.items(), strict=True):
        column = series.array
        cell_rows = np.arange(len(column))
        if hasattr(column, "sp_values"):
            cell_rows, cells = column.sp_index.indices.astype(np.intp), column.sp_values
        else:
            cells = column.to_numpy(dtype=object)
        if np.asarray(cells).dtype.kind not in "biuf":
            is_present = ~series.isna().to_numpy(bool)[cell_rows]
            cell_rows, cells = cell_rows[is_present], np.asarray(cells)[is_present]
            for cell in cells.tolist():
                require_number(name, cell)
        numbers = np.asarray(cells).astype(np.float64)
        is_present = ~np.isnan(numbers)
        row_ids.append(cell_rows[is_present])
        values.append(numbers[is_present])
    counts = [len(ids) for ids in row_ids]
    columns = np.repeat(np.arange(len(names), dtype=np.int32), counts)
    value_rows = np.concatenate([np.empty(0, np.intp), *row_ids])
    order = np.argsort(value_rows, kind="stable")
    starts = np.searchsorted(value_rows[order], np.arange(len(frame) + 1))
    numbers = np.concatenate([np.empty(0), *values])[order]
    return require_finite(FeatureRows(names, starts, columns[order], numbers))


def as_rows(X: Any, names: Sequence[Hashable] | None) -> FeatureRows:
    """Convert a frame, an array (n, d) or a sparse matrix to rows.

    `names` are the names of the columns; None means a frame's own names, or 0 to d - 1 otherwise.
    Cells that are masked, or that a sparse matrix does not store, mark absent features.
    """
    if hasattr(X, "columns") and not isinstance(X, np.ndarray):
        rows = read_frame(X).rows
        if names is not None:
            rows = replace(rows, names=_require_unique(_resolve_names(names, len(rows.names))))
        return rows
    is_present = None
    if not hasattr(X, "tocsr"):
        X = np.asanyarray(X)
        if X.ndim != 2:
            raise SampleError(f"features of shape {X.shape} do not have two dimensions (n, d)")
    if X.dtype.kind not in "biuf":
        raise SampleError(f"features of type {X.dtype} are not numbers: convert them first")
    if not isinstance(X, np.ndarray):
        return require_finite(_convert_sparse_matrix(X.tocsr(), names))
    if isinstance(X, np.ma.MaskedArray):
        is_present = ~np.ma.getmaskarray(X)
        X = X.filled(0)
    names = _require_unique(_resolve_names(names, X.shape[1]))
    return require_finite(FeatureRows.from_table(names, X, is_present))


def _convert_sparse_matrix(matrix: Any, names: Sequence[Hashable] | None) -> FeatureRows:
    """Convert a SciPy matrix in CSR format to rows."""
    try:
        matrix.check_format(full_check=True)  # compiled code relies on the indices
    except ValueError as error:
        raise SampleError(f"the sparse matrix is damaged: {error}") from None
    matrix.sum_duplicates()
    names = _require_unique(_resolve_names(names, matrix.shape[1]))
    starts, columns = matrix.indptr.astype(np.intp), matrix.indices.astype(np.int32)
    values = matrix.data.astype(np.float64)
    return FeatureRows(names, starts, columns, values).without_unused_names()


def _resolve_names(names: Sequence[Hashable] | None, d: int) -> Names:
    """Return the names of d columns; None stands for 0 to d - 1."""
    if names is not None and d != len(names):
        raise SampleError(f"the number of features is {d}, but the number of names is {len(names)}")
    return range(d) if names is None else tuple(names)


def _require_unique(names: Names) -> Names:
    """Return the names after checking that they are unique."""
    duplicates = [] if isinstance(names, range) else find_duplicates(names)
    if duplicates:
        raise SampleError(f"two features are called {duplicates[0]!r}: give each its own name")
    return names
