"""The dispersion of mistakes: how much more they vary than independent mistakes would."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.live.drift.blocks import NUMBER_TYPE, accumulate
from stream_perceptron.model.arrays import Floats

_MIN_WINDOWS = 12  # consecutive windows of one length that are needed for an estimate
_MIN_STANDARD_ERRORS = 3.0  # by which an estimate must exceed 1; otherwise, it counts as 1
# The factor for significant estimates, as the distribution of mistakes in sessions is skewed.
_MARGIN = 1.5
# After n blocks, the dispersion is at least 1 + 80 / n, or 2 up to block 80, to allow for
# dependence that the first samples cannot show.
_PRIOR_BLOCKS = 80


def define_windows(lengths: tuple[int, ...]) -> list[tuple[object, ...]]:
    """Return the fields of the state that `WindowPairs` keeps for a series of blocks."""
    last = (NUMBER_TYPE, (2 * max(lengths),))
    return [
        ("begin", NUMBER_TYPE),  # the number of blocks before the first one that is compared
        ("excess", *last),  # running sums after each of the last blocks
        ("variance", *last),
    ]


class WindowPairs:
    """Pairs of consecutive windows that end with each of n blocks, for m series of blocks.

    Attributes
    ----------
    squares, pairs
        For each block, series and length: the squared difference between the window that ends with
        the block and the window before it, relative to the variance of the difference, and the
        number of these pairs, 0 or 1; shape (n, m, lengths).

    """

    def __init__(
        self,
        series: NDArray[np.void],
        lengths: tuple[int, ...],
        n_before: int,
        excess: Floats,
        variance: Floats,
    ) -> None:
        """Compare each window with the window before it.

        Parameters
        ----------
        series
            The state of the series before these blocks; shape (m,).
        lengths
            The lengths of windows, in blocks.
        n_before
            The number of blocks that precede these n blocks.
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
        for i, length in enumerate(lengths):
            ends, middles, begins = (
                slice(last - back, last + n - back) for back in (0, length, 2 * length)
            )
            sums, variances = self._sums["excess"], self._sums["variance"]
            differences = sums[ends] - 2 * sums[middles] + sums[begins]
            pair_variances = variances[ends] - variances[begins]
            is_pair = (n_compared >= 2 * length) & (pair_variances > 0)
            self.squares[..., i] = is_pair * differences**2 / np.where(is_pair, pair_variances, 1.0)
            self.pairs[..., i] = is_pair

    def store_state(self, ends: NDArray[np.intp]) -> None:
        """Set each series to its state after the number of blocks in `ends`, of shape (m,)."""
        for name, sums in self._sums.items():
            n_last = self._series[name].shape[1]
            indices = ends[:, np.newaxis] + np.arange(n_last)
            self._series[name] = sums[indices, np.arange(len(ends))[:, np.newaxis]]


def estimate_dispersion(squares: Floats, pairs: Floats, lengths: tuple[int, ...]) -> Floats:
    """Return the dispersion of mistakes from sums over windows of each length.

    Parameters
    ----------
    squares, pairs
        The sums of `WindowPairs.squares` and `WindowPairs.pairs`; shape (..., lengths).

    Notes
    -----
    The mean of squared differences between many overlapping windows of length L has about
    1.5 * 4 L^2 / (4 L^2 + 5) equivalent degrees of freedom per window [^1].

    References
    ----------
    [^1]: W. J. Riley. 2008. Handbook of frequency stability analysis. NIST special publication
    1065, section 5.4.

    """
    n = np.maximum(pairs, 1)
    squared_lengths = 4 * np.array(lengths, np.float64) ** 2
    n_windows = n / np.array(lengths)
    freedom = 1.5 * squared_lengths / (squared_lengths + 5) * n_windows
    threshold = 1 + _MIN_STANDARD_ERRORS * np.sqrt(2 / freedom)
    is_significant = (n_windows >= _MIN_WINDOWS) & (squares / n > threshold)
    ratios = np.where(is_significant, _MARGIN * squares / n, 1.0)
    min_dispersion = 1 + _PRIOR_BLOCKS / np.maximum(pairs[..., 0], _PRIOR_BLOCKS)
    return np.asarray(np.maximum(ratios.max(axis=-1), min_dispersion))
