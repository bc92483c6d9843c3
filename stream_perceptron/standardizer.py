"""A River transformer that standardizes numbers and leaves indicators as they are."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from river.preprocessing import StandardScaler

from stream_perceptron.errors import SampleError
from stream_perceptron.model.frames import FeatureFrame
from stream_perceptron.model.rows import FeatureRows
from stream_perceptron.model.scaler import MAX_STANDARDIZED, describe_out_of_range
from stream_perceptron.model.validation import as_row, require_finite

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame


class Standardizer(StandardScaler):
    """Standardizes features like River's `StandardScaler`, except for indicators.

    An indicator is a feature that has only been 0 or 1 so far, such as a category or a word.
    It keeps its value. Once a feature has had another value, it is standardized, with the
    statistics of all its values. The `learn` command standardizes features in the same way.

    Attributes
    ----------
    counts, means, vars
        The number of values of each feature, their mean and their variance.
    standardized : set
        The features that have had a value other than 0 and 1.

    Examples
    --------
    >>> scaler = Standardizer()
    >>> for age in (20, 30, 40):
    ...     scaler.learn_one({"age": age, "is_member": 1})
    >>> scaler.transform_one({"age": 30, "is_member": 1})
    {'age': 0.0, 'is_member': 1}

    """

    def __init__(self) -> None:
        super().__init__()
        self.standardized: set[Hashable] = set()

    def learn_one(self, x: Mapping[Hashable, Any]) -> None:
        """Add a sample to the statistics; None marks an absent feature.

        Raises
        ------
        SampleError
            If a value is not a number from -1e100 to 1e100.

        """
        x = {name: value for name, value in x.items() if value is not None}
        try:
            is_usable = all(abs(value) <= MAX_STANDARDIZED for value in x.values())
        except (TypeError, ValueError, ArithmeticError):
            is_usable = False
        if not is_usable:
            _require_standardizable(as_row(x))
        super().learn_one(x)  # type: ignore[no-untyped-call]
        self.standardized.update(name for name, value in x.items() if value not in (0, 1))

    def transform_one(self, x: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a sample in which all features except indicators are standardized."""
        scaled = dict(x)
        for name in self.standardized.intersection(x):
            if x[name] is None:
                continue
            deviation = math.sqrt(self.vars[name])  # River's v**0.5 differs in the last bit
            scaled[name] = (x[name] - self.means[name]) / deviation if deviation else 0.0
        return scaled

    def learn_many(self, X: IntoDataFrame | FeatureFrame) -> None:
        """Add the rows of a frame to the statistics, as `learn_one` would, up to rounding.

        Raises
        ------
        SampleError
            If a value is not a number from -1e100 to 1e100.

        """
        from river.utils import dataframe

        if isinstance(X, FeatureFrame):
            for x in X.rows.dicts():
                self.learn_one(x)
            return
        frame = dataframe.into_frame(X)
        values = dataframe.to_numpy(frame)
        _require_standardizable(require_finite(FeatureRows.from_table(frame.columns, values)))
        super().learn_many(X)
        is_number = ((values != 0) & (values != 1)).any(axis=0)
        self.standardized.update(np.array(frame.columns, object)[is_number].tolist())

    def transform_many(self, X: Any) -> Any:
        """Return a frame in which all columns except indicators are standardized."""
        from river.utils import dataframe

        if isinstance(X, FeatureFrame):
            return FeatureFrame.build(map(self.transform_one, X.rows.dicts()), X.like)
        frame = dataframe.into_frame(X)
        scaled = dataframe.to_numpy(dataframe.into_frame(super().transform_many(X)))
        values = np.array(scaled)  # a frame may share its memory
        is_indicator = [name not in self.standardized for name in frame.columns]
        values[:, is_indicator] = dataframe.to_numpy(frame)[:, is_indicator]
        return dataframe.to_native_frame(values, columns=frame.columns, like=frame)


def _require_standardizable(rows: FeatureRows) -> None:
    """Check that the features of rows can be standardized."""
    for cell in np.flatnonzero(np.abs(rows.values) > MAX_STANDARDIZED)[:1].tolist():
        name = rows.names[rows.feature_ids[cell]]
        raise SampleError(describe_out_of_range(name, rows.values[cell]))
