"""Detection of falls and recoveries of a model's accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import CheckpointError

Array = NDArray[np.float64]

FELL = "accuracy fell"

_CAUSE = "the stream has changed, or lr is too high: look at the rows from there on"
_CAUSE_IF_WEIGHTED = (
    "class weights find more of the rare classes at the cost of others, the stream has changed, or "
    "lr is too high: look at the recall of each class"
)

_BLOCK = 50  # tested samples that are examined together
_BINS = 16  # labels are counted in bins, by their number modulo 16
_MOST = 50  # changes that are kept
_REGAINED = 0.9  # the share of the lost accuracy that a recovery regains
# The odds ratios of a mistake that are tested: falls, then rises.
_ODDS = np.array([1.1, 1.2, 2.0, 20.0, 1 / 1.2, 1 / 3.0])
_FALLS = 4
# The smallest odds ratio finds small falls soonest, but locates them worst.
_TRUST = np.array([0.5, 1.0, 1.0, 1.0, 1.0, 1.0])
_LOG_2 = 0.6931471805599453
_THRESHOLD = 12.0  # a sum above it shows a change

# A state: a sum of gains and its minimum, the numbers of the last row and the last tested sample,
# and the counts, by bin, of samples seen and predicted wrongly since the last change. The present
# state has, instead of a sum, whether that change was a rise.
_SUM, _LEAST_SUM, _ROW, _SAMPLE, _COUNTS = 0, 1, 2, 3, 4
_WIDTH = _COUNTS + 2 * _BINS
_SEEN, _WRONG = slice(_COUNTS, _COUNTS + _BINS), slice(_COUNTS + _BINS, _WIDTH)
# The states: now, the block that is not full, and for each sum: at its minimum, and a block later.
_NOW, _OPEN = 0, 1
_AT, _LATER = slice(2, 2 + len(_ODDS)), slice(2 + len(_ODDS), 2 + 2 * len(_ODDS))


def _log(x: Array) -> Array:
    """Return logarithms to ten digits, bit-identical on every machine."""
    part, power = np.frexp(x)
    s = (part - sqrt(0.5)) / (part + sqrt(0.5))
    t = s * s
    series = ((((t / 11 + 1 / 9) * t + 1 / 7) * t + 1 / 5) * t + 1 / 3) * t + 1
    return np.asarray((power - 0.5) * _LOG_2 + 2 * s * series)


_LOG_ODDS = _log(_ODDS)


def explain_fall(has_class_weights: bool) -> str:
    """Return what may have made accuracy fall, and where to look."""
    return _CAUSE_IF_WEIGHTED if has_class_weights else _CAUSE


@dataclass(frozen=True)
class Change:
    """A fall of accuracy, or the recovery from it."""

    is_fall: bool
    row: int  # the row near which it began
    sample: int  # the number of tested samples until that row
    found: int  # the row at which it was found
    before: float  # the accuracy before, weighted by the labels that came after
    after: float

    @property
    def figures(self) -> str:
        """The accuracies and the row, as text."""
        begin = f"from {self.before:.1%} " if self.is_fall else ""
        return f"{begin}to {self.after:.1%} near row {self.row:,}"

    def __str__(self) -> str:
        return f"{FELL if self.is_fall else 'accuracy recovered'} {self.figures}"


class Drift:
    r"""A sequential test for falls of accuracy, with a state of constant size.

    After every 50 samples, $w$ of them predicted wrongly, the sum for each odds ratio $\theta$
    grows by $w \ln \theta - 50 \ln(1 + q (\theta - 1))$. $q$ is the mean over the 50 samples of the
    share of mistakes since the last change among samples of the same label. So the sum is the log
    likelihood ratio of odds $\theta$ times as large to the present odds. If a sum exceeds its
    minimum by more than 12 in two consecutive blocks, accuracy changed at that minimum (Page's
    CUSUM [^1]). $q$ includes the samples under test: if samples of a label are exchangeable, the
    exponential of a block's gain has an expectation of at most 1 for any accuracy (Hoeffding [^2],
    theorem 4). Another mix of labels is no fall. After a rise the test begins again.

    In steady streams there is less than one false alarm in 20 million samples, as measured by
    `scripts/bench drift`.

    References
    ----------
    [^1]: E. S. Page. 1954. Continuous inspection schemes. Biometrika 41, 100-115.
    [^2]: Wassily Hoeffding. 1963. Probability inequalities for sums of bounded random variables.
    Journal of the American Statistical Association 58, 13-30.

    Examples
    --------
    >>> drift, changes = Drift(), []
    >>> labels, wrong = np.zeros(3000, np.intp), np.arange(3000) % 100 == 0
    >>> wrong[2000:] ^= True
    >>> drift.update(labels, wrong, np.arange(1, 3001), changes)
    >>> print(*changes)
    accuracy fell from 99.0% to 0.0% near row 2,001

    """

    def __init__(self) -> None:
        self.table = np.zeros((_LATER.stop, _WIDTH))

    @classmethod
    def restored(cls, table: NDArray[np.float64]) -> Drift:
        """Return the test from its saved table."""
        drift = cls()
        at, later = table[_AT], table[_LATER]
        with np.errstate(all="ignore"):
            parts = np.concatenate([at, later - at, table[_NOW] - later, table[[_OPEN]]])
        if (
            not (np.abs(table) < 2**62).all()
            or (parts[:, _ROW:] < 0).any()
            or (parts[:, _SEEN] < parts[:, _WRONG]).any()
            or table[_OPEN, _SEEN].sum() >= _BLOCK
            or (at[:, _SUM] < at[:, _LEAST_SUM]).any()
        ):
            raise CheckpointError("progress has an inconsistent test for drift")
        drift.table = table
        return drift

    def update(
        self,
        labels: NDArray[np.intp],
        wrong: NDArray[np.bool_],
        rows: NDArray[np.intp],
        changes: list[Change],
    ) -> None:
        """Test more samples, given their labels' numbers and rows; append the changes found."""
        open_block = self.table[_OPEN]
        filled = int(open_block[_SEEN].sum())
        n = (filled + len(labels)) // _BLOCK
        places = np.repeat(np.arange(n + 1) * 2 * _BINS, _BLOCK)[filled : filled + len(labels)]
        places += labels & (_BINS - 1)
        places += wrong * np.uint8(_BINS)
        blocks = np.zeros((n + 1, _WIDTH))
        counts = np.bincount(places, minlength=2 * _BINS * (n + 1))
        blocks[:, _COUNTS:] = counts.reshape(n + 1, 2 * _BINS)
        blocks[:, _SEEN] += blocks[:, _WRONG]
        blocks[0] += open_block
        open_block[:] = blocks[n]
        ends = rows[_BLOCK - 1 - filled :: _BLOCK]
        blocks[:n, _ROW] = np.diff(np.append(self.table[_NOW, _ROW], ends))
        blocks[:n, _SAMPLE] = _BLOCK
        begin = 0
        while begin < n:
            begin += self._advance(blocks[begin:n], changes)

    def _advance(self, blocks: Array, changes: list[Change]) -> int:
        """Test blocks up to the first change; return the number of blocks used."""
        now, at, later = self.table[_NOW], self.table[_AT], self.table[_LATER]
        # Here and below, index 0 is the state before these blocks.
        until = np.concatenate([now[np.newaxis], blocks]).cumsum(axis=0)
        shares = until[1:, _WRONG] / np.maximum(until[1:, _SEEN], 1)
        expected = (shares * blocks[:, _SEEN]).sum(axis=1, keepdims=True) / _BLOCK
        gains = blocks[:, _WRONG].sum(axis=1, keepdims=True) * _LOG_ODDS
        gains -= _BLOCK * _log(1 + expected * (_ODDS - 1))
        sums = np.concatenate([at[np.newaxis, :, _SUM], gains]).cumsum(axis=0)
        least = np.concatenate([at[np.newaxis, :, _LEAST_SUM], sums[1:]])
        np.minimum.accumulate(least, axis=0, out=least)
        before = (at[:, _SAMPLE] - now[_SAMPLE]) // _BLOCK
        lowest = np.where(sums <= least, np.arange(len(sums))[:, np.newaxis], before)
        np.maximum.accumulate(lowest, axis=0, out=lowest)
        # A change may fall within a block, so the next block must confirm it.
        excess = sums - least
        excess[1:] = np.minimum(excess[1:], excess[:-1])
        is_found = excess.max(axis=1) > _THRESHOLD
        is_found[0] = False
        found = np.flatnonzero(is_found | self._recovered(until, changes))
        end = int(found[0]) if len(found) else len(blocks)
        places = lowest[end].astype(np.intp)
        is_new = places >= 0
        at[is_new] = until[places[is_new]]
        later[is_new] = until[np.minimum(places[is_new] + 1, end)]
        at[:, _SUM], at[:, _LEAST_SUM] = sums[end], least[end]
        now[:] = until[end]
        if is_found[end]:
            self._change(int((excess[end] * _TRUST).argmax()), changes)
        if self._recovered(now[np.newaxis], changes)[0]:
            lost, row = changes[-1], int(now[_ROW])
            after = 1 - float(now[_WRONG].sum() / now[_SEEN].sum())
            changes.append(Change(False, row, int(now[_SAMPLE]), row, lost.after, after))
        return end

    def _recovered(self, until: Array, changes: list[Change]) -> NDArray[np.bool_]:
        """Whether, at each state, the accuracy since a rise nearly equals that before the fall."""
        if not changes or not changes[-1].is_fall or not self.table[_NOW, _SUM]:
            return np.zeros(len(until), bool)
        lost = changes[-1]
        target = lost.after + _REGAINED * (lost.before - lost.after)
        seen, wrong = until[:, _SEEN].sum(axis=1), until[:, _WRONG].sum(axis=1)
        return np.asarray((seen > 0) & (wrong <= (1 - target) * seen))

    def _change(self, k: int, changes: list[Change]) -> None:
        """Append the fall that sum k shows, and begin the test again at the change."""
        now, at, later = self.table[_NOW], self.table[_AT][k], self.table[_LATER][k]
        if k < _FALLS:
            shares = at[_WRONG] / np.maximum(at[_SEEN], 1)
            shares[at[_SEEN] == 0] = at[_WRONG].sum() / max(at[_SEEN].sum(), 1)
            # The first block may have begun before the fall.
            since, made = now[_SEEN] - later[_SEEN], now[_WRONG] - later[_WRONG]
            n = max(float(since.sum()), 1.0)
            before, after = 1 - float((since * shares).sum()) / n, 1 - float(made.sum()) / n
            lost = changes[-1] if changes and changes[-1].is_fall else None
            # Report a continuing fall again only after a further loss of half its size.
            if lost is None or after < lost.after - (lost.before - lost.after) / 2:
                row, sample = int(at[_ROW]) + 1, int(at[_SAMPLE]) + 1
                changes.append(Change(True, row, sample, int(now[_ROW]), before, after))
                del changes[:-_MOST]
        now[_COUNTS:] -= later[_COUNTS:]
        self.table[_AT] = self.table[_LATER] = now
        self.table[2:, [_SUM, _LEAST_SUM]] = 0.0
        now[_SUM] = k >= _FALLS
