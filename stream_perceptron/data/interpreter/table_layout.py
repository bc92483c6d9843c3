"""The columns of a table by role."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.interpreter.context import Context


class TableLayout(NamedTuple):
    """The columns of a table by position.

    Attributes
    ----------
    positions
        The position of each column.
    features
        The positions of the features, in the order of their names.
    select
        The index that selects the features: a slice if they are consecutive.
    scales
        The factors for the features: one for all, or an array.
    changes_schema
        Whether a learned row changes the schema.

    """

    positions: dict[str, int]
    features: NDArray[np.intp]
    select: Any
    scales: float | NDArray[np.float64]
    changes_schema: bool

    @classmethod
    def from_context(cls, context: Context) -> TableLayout:
        """Return the layout for a context."""
        columns = context.table_columns
        positions = {name: c for c, name in enumerate(context.columns or ())}
        feature_positions = np.array([positions[name] for name in columns.numbers], np.intp)
        is_slice = len(feature_positions) > 0 and bool((np.diff(feature_positions) == 1).all())
        has_columns = columns.vector_column is None
        changes_schema = has_columns and context.schema_of_known_columns != context.schema
        select = (
            slice(int(feature_positions[0]), int(feature_positions[-1]) + 1)
            if is_slice
            else feature_positions
        )
        scales = np.array([context.find_scale(name) for name in columns.numbers])
        is_uniform = len(set(scales.tolist())) == 1
        return cls(
            positions,
            feature_positions,
            select,
            float(scales[0]) if is_uniform else scales,
            changes_schema,
        )
