"""How a run went from one bin of samples to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.kernel import BlockResult


class LearningCurve:
    """Sums over bins of labelled samples, at most `MOST` of them whatever the run's length.

    A bin is full when it has `bin` samples. When there are `MOST` bins and the last one is full,
    each two become one, and `bin` doubles. So the curve does not depend on the blocks in which
    samples come.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> from stream_perceptron.model.features import Dense
    >>> model = SGDPerceptron(classes=["left", "right"], lr=1.0, seed=0)
    >>> rows = Dense(("x",), np.array([[1.0], [-1.0]] * 8))
    >>> curve = LearningCurve()
    >>> curve.update(model.train(rows, ["left", "right"] * 8, np.ones(16)))
    >>> curve.column("samples").tolist(), curve.column("right").tolist()
    ([10.0, 6.0], [9.0, 6.0])

    """

    COLUMNS = ("samples", "right", "eps", "updates", "probes", "slope", "spread")
    MOST = 200
    _FIRST_BIN = 10
    _MOST_WAITING = 16  # blocks

    def __init__(self) -> None:
        self._bin = self._FIRST_BIN
        self._sums = np.zeros((0, len(self.COLUMNS)))
        self._waiting: list[BlockResult] = []

    @classmethod
    def restored(cls, sums: NDArray[Any], bin_: int) -> LearningCurve:
        """Return the curve with these sums."""
        curve = cls()
        shape = (len(sums) if sums.ndim else 0, len(cls.COLUMNS))
        if sums.dtype != np.float64 or sums.shape != shape or len(sums) > cls.MOST:
            raise CheckpointError("progress has a curve of another kind")
        samples = sums[:, 0]
        if not 0 < bin_ < 2**62 or (sums < 0).any() or (samples < 1).any() or (samples % 1).any():
            raise CheckpointError("progress has a curve that does not fit together")
        curve._bin, curve._sums = bin_, sums
        return curve

    def __getstate__(self) -> tuple[NDArray[np.float64], int]:
        return self.sums, self.bin

    def __setstate__(self, state: tuple[NDArray[np.float64], int]) -> None:
        LearningCurve.__init__(self)
        self._sums, self._bin = state

    @property
    def bin(self) -> int:
        """The number of labelled samples that fill a bin."""
        self._fold()
        return self._bin

    @property
    def sums(self) -> NDArray[np.float64]:
        """The sums: a row for each bin that was begun, a column for each of `COLUMNS`."""
        self._fold()
        return self._sums

    def column(self, name: str) -> NDArray[np.float64]:
        """Return the sums of one kind."""
        return self.sums[:, self.COLUMNS.index(name)]

    def update(self, result: BlockResult) -> None:
        """Take in the labelled samples of a block."""
        self._waiting.append(result)
        # Many blocks at once cost hardly more than one.
        if len(self._waiting) == self._MOST_WAITING:
            self._fold()

    def append(self, sums: NDArray[np.float64]) -> None:
        """Add the sums of a round: in a bin of its own, or in one with others once these joined."""
        self._fold()
        n = int(sums[0])
        if not n:
            return
        self._bin = max(self._bin, n)
        if len(self._sums) and self._sums[-1, 0] + n <= self._bin:
            self._sums = np.vstack([self._sums[:-1], self._sums[-1] + sums])
        else:
            self._make_room()
            self._sums = np.vstack([self._sums, sums])

    def _make_room(self) -> None:
        """Make a place for another bin."""
        if len(self._sums) >= self.MOST:
            padded = np.pad(self._sums, ((0, len(self._sums) % 2), (0, 0)))
            self._sums = np.asarray(padded[::2] + padded[1::2])
            self._bin *= 2

    def _fold(self) -> None:
        """Take in the blocks that wait."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        target, predicted, eps, updated, slope, spread = (
            np.concatenate([getattr(result, name) for result in waiting])
            for name in ("target", "predicted", "eps", "updated", "slope", "spread")
        )
        labelled = np.flatnonzero(target >= 0)
        probed = np.flatnonzero(~np.isnan(slope[labelled]))
        every = np.arange(len(labelled))
        # In the order of COLUMNS: which of the labelled samples have a number, and the numbers.
        columns = (
            (every, np.ones(len(labelled))),
            (every, (target == predicted)[labelled]),
            (every, eps[labelled]),
            (every, updated[labelled]),
            (probed, np.ones(len(probed))),
            (probed, slope[labelled[probed]]),
            (probed, spread[labelled[probed]]),
        )
        start = 0
        while start < len(labelled):
            begun = int(self._sums[-1, 0]) if len(self._sums) else self._bin
            if begun >= self._bin:
                self._make_room()
                self._sums = np.pad(self._sums, ((0, 1), (0, 0)))
                begun = int(self._sums[-1, 0])
            first = len(self._sums) - 1
            end = min(len(labelled), start + (self.MOST - first) * self._bin - begun)
            last = first + (begun + end - start - 1) // self._bin
            self._sums = np.pad(self._sums, ((0, last - first), (0, 0)))
            for sums, (samples, numbers) in zip(self._sums[first:].T, columns, strict=True):
                part = slice(*np.searchsorted(samples, (start, end)).tolist())
                places = (samples[part] + (begun - start)) // self._bin
                # The numbers are added one by one, so that sums do not depend on the blocks.
                sums[:] = np.bincount(
                    np.concatenate([np.arange(len(sums)), places]),
                    np.concatenate([sums, numbers[part]]),
                )
            start = end
