"""Frames, arrays and sparse matrices as checked rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Names, Rows
from stream_perceptron.model.validation import require_finite, require_number
from stream_perceptron.model.vocabulary import doubled

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw
    from narwhals.stable.v2.typing import IntoDataFrame


def as_frame(X: Any) -> nw.DataFrame[Any]:
    """Return a pandas, polars or pyarrow frame wrapped by narwhals."""
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
        _different(tuple(X.columns))
        raise


def frame_rows(
    frame: nw.DataFrame[IntoDataFrame],
    is_wanted: Callable[[Hashable], bool] = lambda name: True,
) -> Rows:
    """Return the wanted columns of a frame as rows.

    A null is an absent feature; in pandas so are a NaN and the fill value of a sparse column.
    """
    names: Names = tuple(frame.columns)
    places = [i for i, name in enumerate(names) if is_wanted(name)]
    if len(places) < len(names):
        names = tuple(names[i] for i in places)
        if not places:
            return Rows.of_table((), np.zeros((len(frame), 0)))
        frame = frame[:, places]
    if frame.implementation.is_pandas():
        native: Any = frame.to_native()
        sparse_type = sys.modules["pandas"].SparseDtype
        if any(isinstance(kind, sparse_type) for kind in native.dtypes.unique()):
            return _sparse_rows(native, names)
    return _dense_rows(frame, names)


def _dense_rows(frame: nw.DataFrame[IntoDataFrame], names: Names) -> Rows:
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
    # River's helper turns missing values into NaN in every kind of frame.
    rows = dataframe.to_numpy(frame)
    missing = np.isnan(rows)
    if not missing.any():
        return require_finite(Rows.of_table(names, rows))
    if not frame.implementation.is_pandas_like():
        nulls = [column.is_null().to_numpy() for column in frame.iter_columns()]
        missing = np.stack(nulls, axis=1).astype(bool)
    return require_finite(Rows.of_table(names, rows, ~missing))


def _sparse_rows(frame: Any, names: Names) -> Rows:
    """Return the rows of a pandas frame with some sparse columns."""
    rows: list[NDArray[np.intp]] = []
    values: list[NDArray[Any]] = []
    for name, (_, series) in zip(names, frame.items(), strict=True):
        column = series.array
        there = np.arange(len(column))
        if hasattr(column, "sp_values"):
            there, cells = column.sp_index.indices.astype(np.intp), column.sp_values
        else:
            cells = column.to_numpy(dtype=object)
        if np.asarray(cells).dtype.kind not in "biuf":
            known = ~series.isna().to_numpy(bool)[there]
            there, cells = there[known], np.asarray(cells)[known]
            for cell in cells.tolist():
                require_number(name, cell)
        numbers = np.asarray(cells).astype(np.float64)
        known = ~np.isnan(numbers)
        rows.append(there[known])
        values.append(numbers[known])
    counts = [len(each) for each in rows]
    columns = np.repeat(np.arange(len(names), dtype=np.int32), counts)
    at = np.concatenate([np.empty(0, np.intp), *rows])
    order = np.argsort(at, kind="stable")
    starts = np.searchsorted(at[order], np.arange(len(frame) + 1))
    numbers = np.concatenate([np.empty(0), *values])[order]
    return require_finite(Rows(names, starts, columns[order], numbers))


def as_rows(X: Any, names: Sequence[Hashable] | None) -> Rows:
    """Return a frame, an array (n, d) or a sparse matrix as rows.

    `names` are the columns' names; None means a frame's own names, or 0 to d - 1. A cell that is
    masked, or not stored in a sparse matrix, is an absent feature.
    """
    if hasattr(X, "columns") and not isinstance(X, np.ndarray):
        frame = as_frame(X)
        found = frame_rows(frame)
        if names is not None:
            found = replace(found, names=_different(_fitting(names, len(found.names))))
        return found
    there = None
    if not hasattr(X, "tocsr"):
        X = np.asanyarray(X)
        if X.ndim != 2:
            raise SampleError(f"features of shape {X.shape} are not rows and columns (n, d)")
    if X.dtype.kind not in "biuf":
        raise SampleError(f"features of type {X.dtype} are not numbers: convert them first")
    if not isinstance(X, np.ndarray):
        return require_finite(_sparse_matrix(X.tocsr(), names))
    if isinstance(X, np.ma.MaskedArray):
        there = ~np.ma.getmaskarray(X)
        X = X.filled(0)
    return require_finite(Rows.of_table(_different(_fitting(names, X.shape[1])), X, there))


def _sparse_matrix(matrix: Any, names: Sequence[Hashable] | None) -> Rows:
    """Return the rows of a SciPy matrix in CSR form."""
    matrix.sum_duplicates()
    names = _different(_fitting(names, matrix.shape[1]))
    starts, columns = matrix.indptr.astype(np.intp), matrix.indices.astype(np.int32)
    values = matrix.data.astype(np.float64)
    return Rows(names, starts, columns, values).without_unused_names()


def _fitting(names: Sequence[Hashable] | None, d: int) -> Names:
    if names is not None and d != len(names):
        raise SampleError(f"rows of {d} features do not fit {len(names)} names")
    return range(d) if names is None else tuple(names)


def _different(names: Names) -> Names:
    """Return names after checking that they differ."""
    twice = [] if isinstance(names, range) else doubled(names)
    if twice:
        raise SampleError(f"two features are called {twice[0]!r}: give each its own name")
    return names
