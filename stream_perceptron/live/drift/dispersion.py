"""The dispersion of mistakes: how much more they vary than independent ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.live.drift.blocks import NUMBER, Array, accumulate

_MIN_PAIRS = 3  # of windows, to estimate the dispersion
_SIGNIFICANT = 2.5  # standard errors by which an estimate exceeds 1, or else counts as 1
# After n pairs of the shortest windows the dispersion is at least 1 + 20 / n, and at most 2 by this
# rule: dependence that the first samples cannot show is allowed for.
_PRIOR_PAIRS = 20


def define_windows(lengths: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """Return the fields of the state of a series of blocks for `Windows`."""
    columns = (NUMBER, (len(lengths),))
    return [
        ("excess", NUMBER),  # running sums over all blocks
        ("variance", NUMBER),
        # The last complete window of each length: the running sums at its end, and its own excess
        # and variance, which is 0 before the first window.
        ("excess_at_end", *columns),
        ("variance_at_end", *columns),
        ("excess_of_window", *columns),
        ("variance_of_window", *columns),
    ]


def restart_windows(series: np.void | NDArray[np.void]) -> None:
    """Forget the windows of series, so that the next ones have no predecessors."""
    for name in ("excess", "variance"):
        series[f"{name}_at_end"] = series[name][..., np.newaxis]
    series["variance_of_window"] = 0.0


class Windows:
    """Windows of several lengths that end in n blocks, for m series of blocks.

    Attributes
    ----------
    squares, pairs
        For each block, series and length: the squared difference of the window that ends with the
        block and its predecessor, relative to the variance, and the number of these pairs, 0 or 1;
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
        self._series, self._lengths, self._n_before = series, lengths, n_before
        self._sums = (
            accumulate(series["excess"], excess), accumulate(series["variance"], variance)
        )  # fmt: skip
        self._ended: list[tuple[Array, ...]] = []
        self.squares, self.pairs = np.zeros((2, *excess.shape, len(lengths)))
        for kind, length in enumerate(lengths):
            first = length - n_before % length  # blocks until a window is complete
            at_end = [sums[first::length] for sums in self._sums]
            own = [
                np.diff(sums, axis=0, prepend=series[f"{name}_at_end"][np.newaxis, :, kind])
                for name, sums in zip(("excess", "variance"), at_end, strict=True)
            ]
            before = [
                np.concatenate([series[f"{name}_of_window"][np.newaxis, :, kind], sums])[:-1]
                for name, sums in zip(("excess", "variance"), own, strict=True)
            ]
            together = before[1] + own[1]
            is_pair = before[1] > 0
            gaps = (own[0] - before[0]) ** 2 / np.where(is_pair, together, 1.0)
            self.squares[first - 1 :: length, :, kind] = gaps * is_pair
            self.pairs[first - 1 :: length, :, kind] = is_pair
            self._ended.append((*at_end, *own))

    def advance(self, ends: NDArray[np.intp]) -> None:
        """Set the state of each series to that after `ends` blocks; shape (m,)."""
        series, each = self._series, np.arange(len(ends))
        series["excess"], series["variance"] = (sums[ends, each] for sums in self._sums)
        names = [
            f"{name}_{of}" for of in ("at_end", "of_window") for name in ("excess", "variance")
        ]
        for kind, (length, ended) in enumerate(zip(self._lengths, self._ended, strict=True)):
            n_full = (self._n_before + ends) // length - self._n_before // length
            some = np.flatnonzero(n_full)
            for name, values in zip(names, ended, strict=True):
                series[name][some, kind] = values[n_full[some] - 1, some]


def estimate_dispersion(squares: Array, pairs: Array) -> Array:
    """Return the dispersion of mistakes from sums over windows of each length.

    Parameters
    ----------
    squares, pairs
        The sums of squared differences of neighbouring windows, and the numbers of these pairs;
        shape (..., lengths).

    """
    n = np.maximum(pairs, 1)
    # The standard error of the mean square of differences of neighbours.
    bar = 1 + _SIGNIFICANT * np.sqrt(3 / n)
    ratios = np.where((pairs >= _MIN_PAIRS) & (squares / n > bar), squares / n, 1.0)
    least = 1 + _PRIOR_PAIRS / np.maximum(pairs[..., 0], _PRIOR_PAIRS)
    return np.asarray(np.maximum(ratios.max(axis=-1), least))
