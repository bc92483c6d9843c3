"""How a run went from one stretch of samples to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.network import Trace

__all__ = ["Curve"]


class Curve:
    """Sums over stretches of labelled samples, at most `MOST` of them whatever the run's length.

    When all are full each two become one, twice as long. So the curve does not depend on the blocks
    in which samples come.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> model = SGDPerceptron(classes=["left", "right"], lr=1.0, seed=0)
    >>> curve = Curve()
    >>> curve.update(model.trace([[1.0], [-1.0]] * 8, ["left", "right"] * 8))
    >>> curve.column("samples").tolist(), curve.column("right").tolist()
    ([10.0, 6.0], [9.0, 6.0])

    """

    COLUMNS = ("samples", "right", "eps", "updates", "probes", "slope", "spread")
    MOST = 200
    _FIRST_STRETCH = 10
    _MOST_WAITING = 16  # blocks

    def __init__(self) -> None:
        self._stretch = self._FIRST_STRETCH
        self._sums = np.zeros((0, len(self.COLUMNS)))
        self._waiting: list[Trace] = []

    @classmethod
    def restored(cls, sums: NDArray[Any], stretch: int) -> Curve:
        """Return the curve with these sums.

        Raises
        ------
        CheckpointError
            If they do not hold together.

        """
        curve = cls()
        shape = (len(sums), len(cls.COLUMNS))
        if sums.dtype != np.float64 or sums.shape != shape or len(sums) > cls.MOST:
            raise CheckpointError("progress has a curve of another kind")
        is_full = sums[:, 0].sum() >= cls.MOST * stretch  # two of which would be one by now
        if not 0 < stretch < 2**62 or (sums[:, 0] > stretch).any() or (sums < 0).any() or is_full:
            raise CheckpointError("progress has a curve that does not fit together")
        curve._stretch, curve._sums = stretch, sums
        return curve

    def __getstate__(self) -> tuple[NDArray[np.float64], int]:
        return self.sums, self.stretch

    def __setstate__(self, state: tuple[NDArray[np.float64], int]) -> None:
        Curve.__init__(self)
        self._sums, self._stretch = state

    @property
    def stretch(self) -> int:
        """The length of a stretch, in labelled samples."""
        self._fold()
        return self._stretch

    @property
    def sums(self) -> NDArray[np.float64]:
        """The sums: a row for each stretch that was begun, a column for each of `COLUMNS`."""
        self._fold()
        return self._sums

    def column(self, name: str) -> NDArray[np.float64]:
        """Return the sums of one kind."""
        return self.sums[:, self.COLUMNS.index(name)]

    def update(self, trace: Trace) -> None:
        """Take in the labelled samples of a trace."""
        self._waiting.append(trace)
        # Many blocks at once cost hardly more than one.
        if len(self._waiting) == self._MOST_WAITING:
            self._fold()

    def since(self, before: Curve) -> NDArray[np.float64]:
        """Return the sums of what came since `before`, which this curve was once."""
        earlier, stretch = before.sums, before.stretch
        while stretch < self.stretch:
            earlier, stretch = _halved(earlier), 2 * stretch
        added = self.sums.copy()
        added[: len(earlier)] -= earlier
        return np.maximum(added[added[:, 0] > 0], 0.0)

    def extend(self, sums: NDArray[np.float64]) -> None:
        """Take in sums over samples in order, a row for each stretch of whatever length.

        Where such a stretch is divided its samples count as alike.
        """
        self._fold()
        for row in sums:
            left = int(row[0])
            while left:
                done = int(self._sums[:, 0].sum())
                part = min(left, self._stretch - done % self._stretch)
                place = done // self._stretch
                if place == len(self._sums):
                    self._sums = np.pad(self._sums, ((0, 1), (0, 0)))
                self._sums[place] += row * (part / row[0])
                self._sums[place, 0] = done % self._stretch + part  # whole, after all rounding
                left -= part
                self._halve_if_full(done + part)

    def _halve_if_full(self, done: int) -> None:
        if done == self.MOST * self._stretch:
            self._sums = _halved(self._sums)
            self._stretch *= 2

    def _fold(self) -> None:
        """Take in the traces that wait."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        target, predicted, eps, updated, slope, spread = (
            np.concatenate([getattr(trace, name) for trace in waiting])
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
            done = int(self._sums[:, 0].sum())
            end = min(len(labelled), start + self.MOST * self._stretch - done)
            first, last = done // self._stretch, (done + end - start - 1) // self._stretch
            if last >= len(self._sums):
                self._sums = np.pad(self._sums, ((0, last + 1 - len(self._sums)), (0, 0)))
            for sums, (samples, numbers) in zip(
                self._sums[first : last + 1].T, columns, strict=True
            ):
                part = slice(*np.searchsorted(samples, (start, end)).tolist())
                places = (samples[part] + (done - start)) // self._stretch - first
                # The numbers are added one by one, so that sums do not depend on the blocks.
                sums[:] = np.bincount(
                    np.concatenate([np.arange(len(sums)), places]),
                    np.concatenate([sums, numbers[part]]),
                )
            self._halve_if_full(done + end - start)
            start = end


def _halved(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums over stretches twice as long."""
    padded = np.pad(sums, ((0, len(sums) % 2), (0, 0)))
    return np.asarray(padded[::2] + padded[1::2])
