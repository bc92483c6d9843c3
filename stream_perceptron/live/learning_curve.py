"""The learning curve of a run, in bins of samples."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.results import TrainResult

# The largest sum: the errors before a run diverges may be as large as the type allows.
LARGEST = sys.float_info.max


class LearningCurve:
    """Sums over bins of labelled samples, at most `MOST` bins for a run of any length.

    A bin is full with `bin` samples. When there are `MOST` full bins, neighbours are joined in
    pairs, and `bin` doubles. So the curve does not depend on the size of blocks.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> from stream_perceptron.model.rows import Rows, Samples
    >>> model = SGDPerceptron(classes=["left", "right"], lr=1.0, seed=0)
    >>> rows = Rows.of_table(("x",), np.array([[1.0], [-1.0]] * 8))
    >>> curve = LearningCurve()
    >>> curve.update(model.train(Samples(rows, ["left", "right"] * 8, np.ones(16))))
    >>> curve.column("samples").tolist(), curve.column("right").tolist()
    ([10.0, 6.0], [9.0, 6.0])

    """

    COLUMNS = ("samples", "right", "errors", "updates", "probes", "slope", "spread")
    MOST = 200
    _FIRST_BIN = 10

    def __init__(self) -> None:
        self.bin = self._FIRST_BIN  # the number of labelled samples that fill a bin
        # Shape (bins begun, COLUMNS).
        self.sums = np.zeros((0, len(self.COLUMNS)))

    @classmethod
    def restored(cls, sums: NDArray[Any], bin_: int) -> LearningCurve:
        """Return the curve from its saved sums and bin size."""
        curve = cls()
        samples = sums[:, 0]
        counts = sums[:, [cls.COLUMNS.index(name) for name in ("right", "updates", "probes")]]
        if (
            len(sums) > cls.MOST
            or not 0 < bin_ < 2**62
            or (sums < 0).any()
            or (samples < 1).any()
            or (samples >= 2**53).any()
            or (samples % 1).any()
            or (counts > samples[:, np.newaxis]).any()
        ):
            raise CheckpointError("progress has an inconsistent curve")
        curve.bin, curve.sums = bin_, sums
        return curve

    def column(self, name: str) -> NDArray[np.float64]:
        """Return the sums of one of `COLUMNS`."""
        return self.sums[:, self.COLUMNS.index(name)]

    def update(self, result: TrainResult) -> None:
        """Add the labelled samples of a block; many at once cost hardly more than one."""
        labelled = result.targets >= 0
        slope = result.slopes[labelled]
        probed = ~np.isnan(slope)
        # In the order of COLUMNS: a mask of labelled samples, and numbers to add or None to count.
        columns: tuple[tuple[NDArray[np.bool_] | None, NDArray[np.float64] | None], ...] = (
            (None, None),
            ((result.targets == result.predicted)[labelled], None),
            (None, result.errors[labelled]),
            (result.updated[labelled], None),
            (probed, None),
            (probed, slope),
            (probed, result.spreads[labelled]),
        )
        n = len(slope)
        start = 0
        while start < n:
            begun = int(self.sums[-1, 0]) if len(self.sums) else self.bin
            first = len(self.sums) - 1
            if begun >= self.bin:
                self._make_room()
                first, begun = len(self.sums), 0
            end = min(n, start + (self.MOST - first) * self.bin - begun)
            n_bins = first + 1 + (begun + end - start - 1) // self.bin
            added = np.zeros((n_bins - len(self.sums), len(self.COLUMNS)))
            self.sums = np.vstack([self.sums, added])
            part = slice(start, end)
            places = np.arange(begun, begun + end - start) // self.bin
            for sums, (chosen, numbers) in zip(self.sums[first:].T, columns, strict=True):
                some = places if chosen is None else places[chosen[part]]
                if numbers is None:
                    sums += np.bincount(some, minlength=len(sums))
                    continue
                terms = numbers[part] if chosen is None else numbers[part][chosen[part]]
                # bincount adds one by one, so sums do not depend on the blocks.
                added_up = np.bincount(
                    np.concatenate([np.arange(len(sums)), some]), np.concatenate([sums, terms])
                )
                sums[:] = np.minimum(added_up, LARGEST)
            start = end

    def append(self, sums: NDArray[np.float64]) -> None:
        """Add a round as a new bin, or to the last bin if it fits."""
        n = int(sums[0])
        if not n:
            return
        self.bin = max(self.bin, n)
        if len(self.sums) and self.sums[-1, 0] + n <= self.bin:
            self.sums = np.vstack([self.sums[:-1], self.sums[-1] + sums])
        else:
            self._make_room()
            self.sums = np.vstack([self.sums, sums])

    def _make_room(self) -> None:
        """Join bins in pairs if there is no room for another."""
        if len(self.sums) >= self.MOST:
            padded = np.pad(self.sums, ((0, len(self.sums) % 2), (0, 0)))
            with np.errstate(over="ignore"):
                self.sums = np.minimum(padded[::2] + padded[1::2], LARGEST)
            self.bin *= 2
