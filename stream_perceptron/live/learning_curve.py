"""The learning curve of a run, in bins of samples."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.results import TrainResult

# Sums are limited to the largest float: errors may get that large before a run diverges.
MAX_SUM = sys.float_info.max


class LearningCurve:
    """Sums over bins of labeled samples, with at most `MAX_BINS` bins for a run of any length.

    A bin is full when it contains `bin` samples. When `MAX_BINS` bins are full, adjacent bins are
    merged in pairs, and `bin` doubles. The curve therefore does not depend on the batch sizes.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> from stream_perceptron.model.rows import Rows, Samples
    >>> model = SGDPerceptron(classes=["left", "right"], lr=1.0, seed=0)
    >>> rows = Rows.from_table(("x",), np.array([[1.0], [-1.0]] * 8))
    >>> curve = LearningCurve()
    >>> curve.update(model.train(Samples(rows, ["left", "right"] * 8, np.ones(16))))
    >>> curve.column("samples").tolist(), curve.column("right").tolist()
    ([10.0, 6.0], [9.0, 6.0])

    """

    COLUMNS = ("samples", "right", "errors", "updates", "probes", "slope", "spread")
    MAX_BINS = 200
    _FIRST_BIN = 10

    def __init__(self) -> None:
        self.bin = self._FIRST_BIN  # the number of labeled samples that fill a bin
        # Shape (bins, len(COLUMNS)); the last bin may be incomplete.
        self.sums = np.zeros((0, len(self.COLUMNS)))

    @classmethod
    def from_saved(cls, sums: Array, bin_: int) -> LearningCurve:
        """Return the curve from its saved sums and bin size."""
        curve = cls()
        if len(sums) > cls.MAX_BINS or bin_ < 1:
            raise CheckpointError("progress has a curve of the wrong size")
        curve.bin, curve.sums = bin_, sums
        return curve

    def column(self, name: str) -> NDArray[np.float64]:
        """Return the sums of one of `COLUMNS`."""
        return self.sums[:, self.COLUMNS.index(name)]

    def update(self, result: TrainResult) -> None:
        """Add the labeled samples of a result; adding many costs hardly more than adding one."""
        is_labeled = result.targets >= 0
        labeled = slice(None) if is_labeled.all() else is_labeled
        targets = result.targets[labeled]
        is_right = targets == result.predicted[labeled]
        errors, updated = result.errors[labeled], result.updated[labeled]
        slopes, spreads = result.probes[labeled].T
        probed = np.flatnonzero(~np.isnan(slopes))
        n = len(targets)
        start = 0
        while start < n:
            n_in_bin = int(self.sums[-1, 0]) if len(self.sums) else self.bin
            first_bin = len(self.sums) - 1
            if n_in_bin >= self.bin:
                self._make_room()
                first_bin, n_in_bin = len(self.sums), 0
            n_free = self.bin - n_in_bin  # in the first bin
            end = min(n, start + n_free + (self.MAX_BINS - first_bin - 1) * self.bin)
            bin_starts = np.array([start, *range(start + n_free, end, self.bin)])
            n_new = first_bin + len(bin_starts) - len(self.sums)
            self.sums = np.vstack([self.sums, np.zeros((n_new, len(self.COLUMNS)))])
            n_samples = np.diff(bin_starts, append=end)
            bin_indices = np.repeat(np.arange(len(bin_starts)), n_samples)
            part = slice(start, end)
            samples, right, error_sums, updates, probes, slope_sums, spread_sums = self.sums[
                first_bin:
            ].T
            samples += n_samples
            right += _count_by_bin(is_right[:end], bin_starts)
            updates += _count_by_bin(updated[:end], bin_starts)
            _add_to_bins(error_sums, bin_indices, errors[part])
            probed_part = probed[slice(*np.searchsorted(probed, [start, end]))]
            probed_bins = bin_indices[probed_part - start]
            probes += np.bincount(probed_bins, minlength=len(probes))
            _add_to_bins(slope_sums, probed_bins, slopes[probed_part])
            _add_to_bins(spread_sums, probed_bins, spreads[probed_part])
            start = end

    def _make_room(self) -> None:
        """Merge adjacent bins in pairs if there is no room for another bin."""
        if len(self.sums) >= self.MAX_BINS:
            padded = np.pad(self.sums, ((0, len(self.sums) % 2), (0, 0)))
            with np.errstate(over="ignore"):
                self.sums = np.minimum(padded[::2] + padded[1::2], MAX_SUM)
            self.bin *= 2


def _count_by_bin(mask: NDArray[np.bool_], bin_starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Count the true values of each bin; a bin ends where the next one starts."""
    counts: NDArray[np.intp] = np.add.reduceat(mask.view(np.int8), bin_starts, dtype=np.intp)
    return counts


def _add_to_bins(
    sums: NDArray[np.float64], bin_indices: NDArray[np.intp], terms: NDArray[np.float64]
) -> None:
    """Add terms to the sums of their bins."""
    # bincount adds numbers one by one, so sums do not depend on the batches.
    totals = np.bincount(
        np.concatenate([np.arange(len(sums)), bin_indices]), np.concatenate([sums, terms])
    )
    sums[:] = np.minimum(totals, MAX_SUM)
