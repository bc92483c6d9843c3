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

    MOST_CLASSES = 20  # whose samples are counted by bin
    COLUMNS = ("samples", "right", "errors", "updates", "probes", "slope", "spread")
    MOST = 200
    _FIRST_BIN = 10

    def __init__(self) -> None:
        self.bin = self._FIRST_BIN  # the number of labelled samples that fill a bin
        # Shape (bins begun, COLUMNS).
        self.sums = np.zeros((0, len(self.COLUMNS)))
        # For each bin and class, the samples and how many of them were predicted correctly; shape
        # (bins begun, 2 * classes). None if there are more than `MOST_CLASSES`, or if they were not
        # counted from the start.
        self.class_counts: NDArray[np.int64] | None = np.zeros((0, 0), np.int64)

    @classmethod
    def restored(
        cls, sums: NDArray[Any], bin_: int, class_counts: NDArray[np.int64] | None
    ) -> LearningCurve:
        """Return the curve from its saved sums, bin size and counts by class."""
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
        if class_counts is not None:
            seen, right = class_counts[:, ::2], class_counts[:, 1::2]
            if (
                seen.shape != right.shape
                or seen.shape[1] > cls.MOST_CLASSES
                or (right < 0).any()
                or (right > seen).any()
                or (seen >= 2**53).any()
                or (seen.sum(axis=1) != samples).any()
            ):
                raise CheckpointError("progress has inconsistent counts of classes")
        curve.bin, curve.sums, curve.class_counts = bin_, sums, class_counts
        return curve

    def column(self, name: str) -> NDArray[np.float64]:
        """Return the sums of one of `COLUMNS`."""
        return self.sums[:, self.COLUMNS.index(name)]

    def update(self, result: TrainResult) -> None:
        """Add the labelled samples of a block; many at once cost hardly more than one."""
        labelled = result.targets >= 0
        slope = result.slopes[labelled]
        probed = ~np.isnan(slope)
        is_right = (result.targets == result.predicted)[labelled]
        # In the order of COLUMNS: a mask of labelled samples, and numbers to add or None to count.
        columns: tuple[tuple[NDArray[np.bool_] | None, NDArray[np.float64] | None], ...] = (
            (None, None),
            (is_right, None),
            (None, result.errors[labelled]),
            (result.updated[labelled], None),
            (probed, None),
            (probed, slope),
            (probed, result.spreads[labelled]),
        )
        targets = result.targets[labelled]
        self._add_classes(int(targets.max(initial=-1)) + 1)
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
            self._count_classes(len(added), first, places, targets[part], is_right[part])
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

    def _add_classes(self, k: int) -> None:
        """Make room for the counts of the first k classes."""
        counts = self.class_counts
        if counts is None or 2 * k <= counts.shape[1]:
            return
        self.class_counts = None
        if k <= self.MOST_CLASSES:
            self.class_counts = np.pad(counts, ((0, 0), (0, 2 * k - counts.shape[1])))

    def _count_classes(
        self,
        n_new: int,
        first: int,
        places: NDArray[np.intp],
        targets: NDArray[np.intp],
        is_right: NDArray[np.bool_],
    ) -> None:
        """Count samples by class, given their bins from the first on, after adding new bins."""
        if self.class_counts is None:
            return
        if n_new:
            new = np.zeros((n_new, self.class_counts.shape[1]), np.int64)
            self.class_counts = np.concatenate([self.class_counts, new])
        counts = self.class_counts[first:]
        # Wrong predictions, then right ones.
        numbers = places * counts.shape[1] + 2 * targets + is_right
        added = np.bincount(numbers, minlength=counts.size).reshape(counts.shape)
        counts[:, ::2] += added[:, ::2] + added[:, 1::2]
        counts[:, 1::2] += added[:, 1::2]

    def append(self, sums: NDArray[np.float64]) -> None:
        """Add a round as a new bin, or to the last bin if it fits."""
        n = int(sums[0])
        if not n:
            return
        self.class_counts = None
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
            if self.class_counts is not None:
                counts = np.pad(self.class_counts, ((0, len(self.class_counts) % 2), (0, 0)))
                self.class_counts = counts[::2] + counts[1::2]
            self.bin *= 2
