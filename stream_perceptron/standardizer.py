"""A River transformer that standardizes numbers and leaves indicators as they are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from river.preprocessing import StandardScaler

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame, IntoDataFrameT


class Standardizer(StandardScaler):
    """Standardizes features like River's `StandardScaler`, except for indicators.

    An indicator is a feature that has only been 0 or 1 so far, such as a one-hot feature or a word.
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
        """Add a sample to the statistics."""
        super().learn_one(x)  # type: ignore[no-untyped-call]
        self.standardized.update(name for name, value in x.items() if value not in (0, 1))

    def transform_one(self, x: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a sample in which all features except indicators are standardized."""
        numbers = {name: value for name, value in x.items() if name in self.standardized}
        scaled = super().transform_one(numbers)  # type: ignore[no-untyped-call]
        return {**x, **scaled}

    def learn_many(self, X: IntoDataFrame) -> None:
        """Add the rows of a frame to the statistics, as `learn_one` would, up to rounding."""
        from river.utils import dataframe

        super().learn_many(X)
        frame = dataframe.into_frame(X)
        values = dataframe.to_numpy(frame)
        is_number = ((values != 0) & (values != 1) & ~np.isnan(values)).any(axis=0)
        self.standardized.update(np.array(frame.columns, object)[is_number].tolist())

    def transform_many(self, X: IntoDataFrameT) -> IntoDataFrameT:
        """Return a frame in which all columns except indicators are standardized."""
        from river.utils import dataframe

        frame = dataframe.into_frame(X)
        values = dataframe.to_numpy(dataframe.into_frame(super().transform_many(X)))
        is_indicator = [name not in self.standardized for name in frame.columns]
        values[:, is_indicator] = dataframe.to_numpy(frame)[:, is_indicator]
        scaled = dataframe.to_native_frame(values, columns=frame.columns, like=frame)
        return cast("IntoDataFrameT", scaled)
