"""The dispersion of mistakes: how much more they vary than independent ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.live.drift.blocks import NUMBER, Array, accumulate

_MIN_WINDOWS = 12  # of a length, one after the other, to estimate the dispersion by them
_SIGNIFICANT = 3.0  # standard errors by which an estimate exceeds 1, or else counts as 1
_MARGIN = 1.5  # by which a significant estimate is raised, as mistakes in sessions are skewed
# After n blocks the dispersion is at least 1 + 80 / n, and at most 2 by this rule: dependence that
# the first samples cannot show is allowed for.
_PRIOR_BLOCKS = 80


def define_windows(lengths: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """Return the fields of the state of a series of blocks for `Windows`."""
    last = (NUMBER, (2 * max(lengths),))
    return [
        ("begin", NUMBER),  # the number of blocks before the first that is compared
        ("excess", *last),  # running sums after each of the last blocks
        ("variance", *last),
    ]


class Windows:
    """Windows of several lengths that end in n blocks, for m series of blocks.

    Attributes
    ----------
    squares, pairs
        For each block, series and length: the squared difference of the window that ends with the
        block and the one before, relative to its variance, and the number of these pairs, 0 or 1;
        shape (n, m, lengths).

    """

    def __init__(
        self,
        series: NDArray[np.void],
        lengths: tuple[int, ...],
        n_before: int,
        excess: Array,
        variance: Array,
    ) -> None:
        """Compare windows.

        Parameters
        ----------
        series
            The state of the series before these blocks; shape (m,).
        lengths
            The lengths of windows, in blocks.
        n_before
            The number of blocks before these.
        excess, variance
            The excess of mistakes and its variance; shape (n, m).

        """
        self._series = series
        self._sums = {
            name: np.concatenate([series[name].T[:-1], accumulate(series[name][:, -1], values)])
            for name, values in (("excess", excess), ("variance", variance))
        }
        n, last = len(excess), 2 * max(lengths)
        self.squares, self.pairs = np.zeros((2, *excess.shape, len(lengths)))
        n_compared = n_before + np.arange(1, n + 1)[:, np.newaxis] - series["begin"]
        for kind, length in enumerate(lengths):
            ends, middles, begins = (
                slice(last - back, last + n - back) for back in (0, length, 2 * length)
            )
            sums, variances = self._sums["excess"], self._sums["variance"]
            gaps = sums[ends] - 2 * sums[middles] + sums[begins]
            both = variances[ends] - variances[begins]
            is_pair = (n_compared >= 2 * length) & (both > 0)
            self.squares[..., kind] = is_pair * gaps**2 / np.where(is_pair, both, 1.0)
            self.pairs[..., kind] = is_pair

    def advance(self, ends: NDArray[np.intp]) -> None:
        """Set the state of each series to that after `ends` blocks; shape (m,)."""
        for name, sums in self._sums.items():
            n_last = self._series[name].shape[1]
            places = ends[:, np.newaxis] + np.arange(n_last)
            self._series[name] = sums[places, np.arange(len(ends))[:, np.newaxis]]


def estimate_dispersion(squares: Array, pairs: Array, lengths: tuple[int, ...]) -> Array:
    """Return the dispersion of mistakes from sums over windows of each length.

    Parameters
    ----------
    squares, pairs
        The sums of `Windows.squares` and `Windows.pairs`; shape (..., lengths).

    Notes
    -----
    The mean of squared differences of many overlapping windows of length L has the equivalent of
    about 1.5 * 4 L^2 / (4 L^2 + 5) degrees of freedom for each window [^1].

    References
    ----------
    [^1]: W. J. Riley. 2008. Handbook of frequency stability analysis. NIST special publication
    1065, section 5.4.

    """
    n = np.maximum(pairs, 1)
    squared_lengths = 4 * np.array(lengths, np.float64) ** 2
    n_windows = n / np.array(lengths)
    freedom = 1.5 * squared_lengths / (squared_lengths + 5) * n_windows
    bar = 1 + _SIGNIFICANT * np.sqrt(2 / freedom)
    is_significant = (n_windows >= _MIN_WINDOWS) & (squares / n > bar)
    ratios = np.where(is_significant, _MARGIN * squares / n, 1.0)
    least = 1 + _PRIOR_BLOCKS / np.maximum(pairs[..., 0], _PRIOR_BLOCKS)
    return np.asarray(np.maximum(ratios.max(axis=-1), least))
