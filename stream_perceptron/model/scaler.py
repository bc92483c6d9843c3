"""Standardize features with their running statistics."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping

import numpy as np

from stream_perceptron.model.arrays import Floats

# The largest absolute value of a feature that is standardized: the squares of larger deviations
# could make its variance infinite.
MAX_STANDARDIZED = 1e100


def describe_out_of_range(feature: object, value: float) -> str:
    """Return why a finite value cannot be standardized."""
    return f"feature {feature!r} is {value:g}, out of range: standardized features end at 1e100"


class Scaler:
    """The running counts, means and variances with which the kernel standardizes features.

    The kernel computes the same values as `Standardizer` or, without indicators, River's
    `StandardScaler`, with Welford's recurrences [^1]; a feature that has not varied becomes 0.
    Absent features are not counted. Indicators, which have only been 0 or 1 so far, are not
    standardized.

    Parameters
    ----------
    statistics
        Initial counts, means, variances and indicators, shape (4, d).
    has_indicators
        Whether there are indicators; if not, all features are standardized.
    later_statistics
        The initial statistics, shape (4,), of features that the model may learn later, by name;
        those of other features are 0.

    References
    ----------
    [^1]: B. P. Welford. 1962. Note on a method for calculating corrected sums of squares and
    products. Technometrics 4(3), 419-420.

    """

    def __init__(
        self,
        statistics: Floats | None = None,
        has_indicators: bool = True,
        later_statistics: Mapping[Hashable, Floats] | None = None,
    ) -> None:
        # Counts, means, variances and indicators (1 or 0), shape (4, at least d).
        self.statistics: Floats = (
            np.zeros((4, 0)) if statistics is None else np.array(statistics, np.float64)
        )
        self.has_indicators = has_indicators
        self.later_statistics = later_statistics or {}

    def __len__(self) -> int:
        return len(self.statistics[0])

    def copy_first(self, n_features: int) -> Scaler:
        """Return a copy with only the first `n_features` features."""
        return Scaler(self.statistics[:, :n_features], self.has_indicators, self.later_statistics)

    def create_empty(self) -> Scaler:
        """Return a scaler of the same kind that has no features yet."""
        return Scaler(None, self.has_indicators, self.later_statistics)

    def extend(self, n_kept_features: int, names: Collection[Hashable]) -> None:
        """Add new features after the first `n_kept_features`, replacing any that follow them."""
        end = n_kept_features + len(names)
        statistics = self.statistics
        if end > len(self):
            statistics = np.zeros((4, max(end, 2 * len(self))))
            statistics[:, :n_kept_features] = self.statistics[:, :n_kept_features]
        statistics[:3, n_kept_features:end] = 0.0
        statistics[3, n_kept_features:end] = self.has_indicators
        for i, name in enumerate(names if self.later_statistics else (), n_kept_features):
            if name in self.later_statistics:
                statistics[:, i] = self.later_statistics[name]
        self.statistics = statistics

    @staticmethod
    def merge_statistics(one: Floats, other: Floats) -> Floats:
        """Merge the statistics of two sets of samples, shape (4, d), by Chan's formula [^1].

        Examples
        --------
        >>> one, other = np.array([[2.0], [1.0], [1.0], [0]]), np.array([[2.0], [3.0], [1.0], [0]])
        >>> Scaler.merge_statistics(one, other).tolist()
        [[4.0], [2.0], [2.0], [0.0]]

        References
        ----------
        [^1]: Tony F. Chan, Gene H. Golub and Randall J. LeVeque. 1983. Algorithms for computing the
        sample variance. The American Statistician 37(3), 242-247.

        """
        total = one.copy()
        is_counted = other[0] > 0
        n, mean, variance, is_indicator = one[:, is_counted]
        other_n, other_mean, other_variance, is_other_indicator = other[:, is_counted]
        with np.errstate(all="ignore"):
            total_n = n + other_n
            mean_difference = other_mean - mean
            sum_of_squares = (
                n * variance
                + other_n * other_variance
                + mean_difference * mean_difference * (n * other_n / total_n)
            )
            total[:, is_counted] = (
                total_n,
                mean + mean_difference * (other_n / total_n),
                sum_of_squares / total_n,
                is_indicator * is_other_indicator,
            )
        return total

    @staticmethod
    def subtract_statistics(before: Floats, after: Floats) -> Floats:
        """Return the statistics of the samples in `after` but not in `before`, shape (4, d).

        This inverts Chan's formula. A variance that rounding makes negative becomes 0.

        Examples
        --------
        >>> before = np.array([[2.0], [1.0], [1.0], [0.0]])
        >>> after = np.array([[4.0], [2.0], [2.0], [0.0]])
        >>> Scaler.subtract_statistics(before, after).tolist()
        [[2.0], [3.0], [1.0], [0.0]]

        """
        new = np.zeros_like(after)
        new[0], new[3] = after[0] - before[0], after[3]
        is_counted = new[0] > 0
        n, mean, variance, _ = before[:, is_counted]
        total_n, total_mean, total_variance, _ = after[:, is_counted]
        new_n = new[0, is_counted]
        with np.errstate(all="ignore"):
            new[1, is_counted] = mean + (total_mean - mean) * (total_n / new_n)
            mean_difference = new[1, is_counted] - mean
            sum_of_squares = (
                total_n * total_variance
                - n * variance
                - mean_difference * mean_difference * (n * new_n / total_n)
            )
            new[2, is_counted] = np.maximum(0.0, sum_of_squares / new_n)
        return new
