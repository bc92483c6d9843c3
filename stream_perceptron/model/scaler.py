"""Running statistics of features, and scaling by them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ids = NDArray[Any] | slice

_LEFT_ALONE = -1.0


class Scaler:
    """Standardizes features by their running counts, means and variances.

    It computes the same as River's `StandardScaler`: Welford's recurrences [^1], and 0 for a
    feature that has not varied. Only present features count; one-hot features stay unscaled.

    Parameters
    ----------
    table
        Initial statistics, shape (3, d).

    Examples
    --------
    >>> scaler = Scaler()
    >>> scaler.extend(0, np.array([False, True]))
    >>> for x in (1.0, 3.0):
    ...     is_finite = scaler.update(np.arange(2), np.array([x, 1.0]))
    >>> scaler.table.tolist()
    [[2.0, -1.0], [2.0, 0.0], [1.0, 0.0]]
    >>> scaler.standardize(np.arange(2), np.array([5.0, 1.0])).tolist()
    [3.0, 1.0]

    References
    ----------
    [^1]: B. P. Welford. 1962. Note on a method for calculating corrected sums of squares and
    products. Technometrics 4(3), 419-420.

    """

    def __init__(self, table: Floats | None = None) -> None:
        # Counts, means and variances, shape (3, at least d); a one-hot feature's count is -1.
        self.table: Floats = np.zeros((3, 0)) if table is None else np.array(table, np.float64)

    def __len__(self) -> int:
        return len(self.table[0])

    def copy(self, d: int) -> Scaler:
        """Return a copy with the first d features."""
        return Scaler(self.table[:, :d])

    def extend(self, d: int, is_unscaled: NDArray[np.bool_]) -> None:
        """Add new features after the first d, replacing any that followed these."""
        end = d + len(is_unscaled)
        table = self.table
        if end > len(self):
            table = np.zeros((3, max(end, 2 * len(self))))
            table[:, :d] = self.table[:, :d]
        table[:, d:end] = 0.0
        table[0, d:end][is_unscaled] = _LEFT_ALONE
        self.table = table

    def find_unscaled(self, names: Sequence[Hashable]) -> set[Hashable]:
        """Return which of the features with these names are left as they are."""
        return {
            name for name, count in zip(names, self.table[0].tolist(), strict=False) if count < 0
        }

    def at(self, feature_ids: Ids) -> Floats:
        """Return a copy of the statistics of some features, shape (3, m)."""
        return self.table[:, feature_ids].copy()

    def put(self, feature_ids: Ids, statistics: Floats) -> None:
        """Set the statistics of some features, shape (3, m)."""
        self.table[:, feature_ids] = statistics

    def standardize(self, feature_ids: Ids, x: Floats) -> Floats:
        """Return a sample's values x of some features, standardized; shape (m,)."""
        counts, means, variances = self.at(feature_ids)
        with np.errstate(all="ignore"):
            scaled = np.where(variances > 0, (x - means) / np.sqrt(variances), 0.0)
        return np.where(counts < 0, x, scaled)

    def update(self, feature_ids: Ids, x: Floats) -> bool:
        """Count a sample's values of some features; if a statistic overflows, return False."""
        before = counts, means, variances = self.at(feature_ids)
        with np.errstate(all="ignore"):
            n = counts + 1.0
            new = means + (x - means) / n
            new_variances = variances + ((x - means) * (x - new) - variances) / n
        after = np.where(counts < 0, before, np.stack([n, new, new_variances]))
        is_finite = bool(np.isfinite(after).all())
        if is_finite:
            self.put(feature_ids, after)
        return is_finite

    @staticmethod
    def merged(one: Floats, other: Floats) -> Floats:
        """Return the statistics of two sets of samples together, shape (3, d).

        By Chan's formula [^1].

        Examples
        --------
        >>> one, other = np.array([[2.0], [1.0], [1.0]]), np.array([[2.0], [3.0], [1.0]])
        >>> Scaler.merged(one, other).tolist()
        [[4.0], [2.0], [2.0]]

        References
        ----------
        [^1]: Tony F. Chan, Gene H. Golub and Randall J. LeVeque. 1983. Algorithms for computing the
        sample variance. The American Statistician 37(3), 242-247.

        """
        total = one.copy()
        counted = other[0] > 0
        n, mean, variance = one[:, counted]
        more, its_mean, its_variance = other[:, counted]
        with np.errstate(all="ignore"):
            both = n + more
            apart = its_mean - mean
            squares = n * variance + more * its_variance + apart * apart * (n * more / both)
            total[:, counted] = both, mean + apart * (more / both), squares / both
        return total

    @staticmethod
    def added(before: Floats, after: Floats) -> Floats:
        """Return the statistics of the samples in `after` but not in `before`, shape (3, d).

        Chan's formula, inverted; a variance that rounding makes negative becomes 0.

        Examples
        --------
        >>> before, after = np.array([[2.0], [1.0], [1.0]]), np.array([[4.0], [2.0], [2.0]])
        >>> Scaler.added(before, after).tolist()
        [[2.0], [3.0], [1.0]]

        """
        rest = np.zeros_like(after)
        rest[0] = np.where(after[0] < 0, after[0], after[0] - before[0])
        counted = rest[0] > 0
        n, mean, variance = before[:, counted]
        both, its_mean, its_variance = after[:, counted]
        more = rest[0, counted]
        with np.errstate(all="ignore"):
            rest[1, counted] = mean + (its_mean - mean) * (both / more)
            apart = rest[1, counted] - mean
            squares = both * its_variance - n * variance - apart * apart * (n * more / both)
            rest[2, counted] = np.maximum(0.0, squares / more)
        return rest
