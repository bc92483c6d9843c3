"""Running standardisation of features, before the perceptron."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

_LEFT_ALONE = -1.0


class Scaler:
    """Counts, means and variances of features, and what makes scaled features of them.

    It is what River's `StandardScaler` is: Welford's recurrences [^1], and 0 where a feature has
    not varied. Only features that are present are counted and scaled. A feature that is an
    indicator is left as it is.

    Examples
    --------
    >>> scaler = Scaler()
    >>> scaler.extend(0, np.array([False, True]))
    >>> for x in (1.0, 3.0):
    ...     refused = scaler.update(None, np.array([x, 1.0]))
    >>> scaler.means(1).tolist(), scaler.variances(1).tolist()
    ([2.0], [1.0])
    >>> scaler.scaled(None, np.array([5.0, 1.0])).tolist()
    [3.0, 1.0]

    References
    ----------
    [^1]: B. P. Welford. 1962. Note on a method for calculating corrected sums of squares and
    products. Technometrics 4(3), 419-420.

    """

    def __init__(self, table: Floats | None = None) -> None:
        # Counts, means and variances, shape (3, d) with room for more; an indicator's count is -1.
        self.table: Floats = np.zeros((3, 0)) if table is None else np.array(table, np.float64)

    def __len__(self) -> int:
        return len(self.table[0])

    def counts(self, d: int) -> Floats:
        """Return how often each of the first d features was there; -1 for an indicator."""
        return self.table[0, :d]

    def means(self, d: int) -> Floats:
        """Return the mean of each of the first d features."""
        return self.table[1, :d]

    def variances(self, d: int) -> Floats:
        """Return the variance of each of the first d features: the mean squared deviation."""
        return self.table[2, :d]

    def extend(self, d: int, indicators: NDArray[np.bool_]) -> None:
        """Let new features follow the first d; what was behind those is forgotten."""
        end = d + len(indicators)
        table = self.table
        if end > len(self):
            table = np.zeros((3, max(end, 2 * len(self))))
            table[:, :d] = self.table[:, :d]
        table[:, d:end] = 0.0
        table[0, d:end][indicators] = _LEFT_ALONE
        self.table = table

    def scaled(self, columns: NDArray[np.intp] | None, x: Floats) -> Floats:
        """Return the features of a sample at some columns, None for all, scaled."""
        counts, means, variances = self.at(columns, len(x))
        with np.errstate(all="ignore"):
            z = np.where(variances > 0, (x - means) / np.sqrt(variances), 0.0)
        return np.where(counts < 0, x, z)

    def update(self, columns: NDArray[np.intp] | None, x: Floats) -> bool:
        """Count the features of a sample; if they would not stay finite do nothing, return True."""
        counts, means, variances = self.at(columns, len(x))
        with np.errstate(all="ignore"):
            n = counts + 1.0
            new_means = means + (x - means) / n
            new_variances = variances + ((x - means) * (x - new_means) - variances) / n
        counted = counts >= 0
        if not np.isfinite(np.stack([new_means, new_variances])[:, counted]).all():
            return True
        places = np.arange(len(x)) if columns is None else columns
        new = np.stack([n, new_means, new_variances])
        self.table[:, places[counted]] = new[:, counted]
        return False

    def put(self, columns: NDArray[np.intp] | None, statistics: Floats) -> None:
        """Put back what `at` returned."""
        self.table[:, slice(statistics.shape[1]) if columns is None else columns] = statistics

    def at(self, columns: NDArray[np.intp] | None, d: int) -> Floats:
        """Return a copy of the statistics at some columns, or of the first d, shape (3, d)."""
        return self.table[:, slice(d) if columns is None else columns].copy()


def merged(tables: list[Floats]) -> Floats:
    """Return the statistics of samples that were counted apart, shape (3, d) each.

    By Chan's formula [^1], in the order of the tables.

    Examples
    --------
    >>> one, other = np.array([[2.0], [1.0], [1.0]]), np.array([[2.0], [3.0], [1.0]])
    >>> merged([one, other]).tolist()
    [[4.0], [2.0], [2.0]]

    References
    ----------
    [^1]: Tony F. Chan, Gene H. Golub and Randall J. LeVeque. 1983. Algorithms for computing the
    sample variance. The American Statistician 37(3), 242-247.

    """
    total = tables[0].copy()
    for table in tables[1:]:
        counted = table[0] > 0
        n, mean, variance = total[:, counted]
        more, its_mean, its_variance = table[:, counted]
        both = n + more
        apart = its_mean - mean
        total[1, counted] = mean + apart * (more / both)
        squares = n * variance + more * its_variance + apart * apart * (n * more / both)
        total[2, counted] = squares / both
        total[0, counted] = both
    return total


def added(before: Floats, after: Floats) -> Floats:
    """Return the statistics of the samples that `after` has beyond `before`, shape (3, d).

    Chan's formula the other way round; a variance that rounding would make negative is 0.

    Examples
    --------
    >>> before, after = np.array([[2.0], [1.0], [1.0]]), np.array([[4.0], [2.0], [2.0]])
    >>> added(before, after).tolist()
    [[2.0], [3.0], [1.0]]

    """
    rest = np.zeros_like(after)
    rest[0] = np.where(after[0] < 0, after[0], after[0] - before[0])
    counted = rest[0] > 0
    n, mean, variance = before[:, counted]
    both, its_mean, its_variance = after[:, counted]
    more = rest[0, counted]
    rest[1, counted] = mean + (its_mean - mean) * (both / more)
    apart = rest[1, counted] - mean
    squares = both * its_variance - n * variance - apart * apart * (n * more / both)
    rest[2, counted] = np.maximum(0.0, squares / more)
    return rest
