"""The learning curve of a run, in bins of samples."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.arrays import Array

# Sums are limited to the largest float: errors may get that large before a run diverges.
MAX_SUM = sys.float_info.max


class LearningCurve:
    """Sums over bins of labeled samples, with at most `MAX_BINS` bins for a run of any length.

    A bin is full when it contains `bin` samples. When `MAX_BINS` bins are full, adjacent bins are
    merged in pairs, and `bin` doubles. The curve therefore does not depend on the batch sizes.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> from stream_perceptron.live.metrics import Progress
    >>> from stream_perceptron.model.rows import FeatureRows, as_samples
    >>> model = SGDPerceptron(classes=["left", "right"], lr=1.0, seed=0)
    >>> rows = FeatureRows.from_table(("x",), np.array([[1.0], [-1.0]] * 8))
    >>> progress = Progress()
    >>> samples = as_samples(rows, ["left", "right"] * 8, np.ones(16))
    >>> progress.update(model.train(samples), np.arange(1, 17), rows)
    >>> curve = progress.curve
    >>> curve.column("samples").tolist(), curve.column("right").tolist()
    ([10.0, 6.0], [9.0, 6.0])

    """

    COLUMNS = ("samples", "right", "errors", "updates", "probes", "slope", "spread")
    MAX_BINS = 200
    _INITIAL_BIN_SIZE = 10

    def __init__(self) -> None:
        self.bin = self._INITIAL_BIN_SIZE  # the number of labeled samples that fill a bin
        # Shape (bins, len(COLUMNS)); the last bin may be incomplete.
        self.sums = np.zeros((0, len(self.COLUMNS)))

    @classmethod
    def from_saved(cls, sums: Array) -> LearningCurve:
        """Return the curve from its saved sums."""
        curve = cls()
        # After bins have been merged, the first one is full.
        curve.bin = int(sums[:1, 0].max(initial=cls._INITIAL_BIN_SIZE))
        curve.sums = sums.copy()
        return curve

    def column(self, name: str) -> NDArray[np.float64]:
        """Return the sums of one of `COLUMNS`."""
        return self.sums[:, self.COLUMNS.index(name)]

    def add_bin(self) -> NDArray[np.float64]:
        """Add an empty bin, and return the sums; adjacent bins are merged if there is no room."""
        if len(self.sums) >= self.MAX_BINS:
            padded = np.pad(self.sums, ((0, len(self.sums) % 2), (0, 0)))
            with np.errstate(over="ignore"):
                self.sums = np.minimum(padded[::2] + padded[1::2], MAX_SUM)
            self.bin *= 2
        self.sums = np.vstack([self.sums, np.zeros(len(self.COLUMNS))])
        return self.sums
