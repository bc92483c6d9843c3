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
_THRESHOLD = 12.0  # a sum above it, times the dispersion, shows a change
_STABLE = 1000  # samples after a fall until another one is not its continuation

# The windows, in blocks, over which the dispersion of mistakes is measured.
_WINDOWS = (1, 4, 10, 20)
_LEAST_PAIRS = 3  # of windows, to measure it
_SURE_PAIRS = 20  # of the shortest windows; with fewer, the dispersion is taken to be at least 2
_SIGNIFICANT = 2.0  # standard errors by which the dispersion exceeds 1, or else is taken to be 1

# A state: a sum of gains and its minimum, the numbers of the last row and the last tested sample;
# for each kind of window the sum of squared differences of neighbours and the number of these
# pairs; and the counts, by bin, of samples seen and predicted wrongly since the last change. The
# present state has, instead of a sum, whether that change was a rise.
_SUM, _LEAST_SUM, _ROW, _SAMPLE = 0, 1, 2, 3
_FALL = _LEAST_SUM  # of the present state: the number of the sample at which a fall was last found
_SQUARES = slice(4, 4 + len(_WINDOWS))
_PAIRS = slice(_SQUARES.stop, _SQUARES.stop + len(_WINDOWS))
_MEASURED = slice(_SQUARES.start, _PAIRS.stop)
_COUNTS = _PAIRS.stop
_WIDTH = _COUNTS + 2 * _BINS
_OLD_WIDTH = 4 + 2 * _BINS  # of a state without dispersion
_SEEN, _WRONG = slice(_COUNTS, _COUNTS + _BINS), slice(_COUNTS + _BINS, _WIDTH)
# The states: now, the block that is not full, and for each sum: at its minimum, and a block later.
_NOW, _OPEN = 0, 1
_AT, _LATER = slice(2, 2 + len(_ODDS)), slice(2 + len(_ODDS), 2 + 2 * len(_ODDS))
# The window that is not full, and the one before: for each kind of window the number of blocks, the
# excess of mistakes and its variance, and excess and variance of the one before (-1 without one).
_WINDOW = _LATER.stop
_BLOCKS, _SUMS, _LAST_SUMS = 0, slice(1, 3), slice(3, 5)
_VARIANCE, _LAST_VARIANCE = 2, 4
_IS_OLD = _WIDTH - 1  # in the row of windows: whether the test began without dispersion


def _log(x: Array) -> Array:
    """Return logarithms to ten digits, bit-identical on every machine."""
    part, power = np.frexp(x)
    s = (part - sqrt(0.5)) / (part + sqrt(0.5))
    t = s * s
    series = ((((t / 11 + 1 / 9) * t + 1 / 7) * t + 1 / 5) * t + 1 / 3) * t + 1
    return np.asarray((power - 0.5) * _LOG_2 + 2 * s * series)


_LOG_ODDS = _log(_ODDS)


def _fill_windows(windows: Array, excess: Array, variances: Array) -> Array:
    """Add blocks to windows.

    Parameters
    ----------
    windows
        The windows that are not full, to be changed; shape (kinds of windows, 5).
    excess, variances
        The excess of mistakes in each of n blocks, and its variance.

    Returns
    -------
    For each block, the squared differences of windows that end with it and their predecessors,
    relative to their variance, and the numbers of these pairs; shape (n, 2 * kinds of windows).

    """
    kinds, blocks = len(_WINDOWS), np.array([excess, variances])
    found = np.zeros((len(excess), 2 * kinds))
    for kind, (window, size) in enumerate(zip(windows, _WINDOWS, strict=True)):
        n_begun = int(window[_BLOCKS])
        # Each window is added up block by block, however the stream is cut.
        whole = np.zeros((2, n_begun + len(excess)))
        whole[:, n_begun:] = blocks
        if n_begun:
            whole[:, n_begun - 1] = window[_SUMS]
        n_full, n_left = divmod(whole.shape[1], size)
        full = whole[:, : n_full * size].reshape(2, n_full, size).cumsum(axis=2)[..., -1]
        window[_BLOCKS], window[_SUMS] = n_left, 0.0
        if n_left:
            window[_SUMS] = whole[:, n_full * size :].cumsum(axis=1)[:, -1]
        if not n_full:
            continue
        before = np.concatenate([window[_LAST_SUMS, np.newaxis], full[:, :-1]], axis=1)
        together = before[1] + full[1]
        is_pair = (before[1] >= 0) & (together > 0)
        squares = (full[0] - before[0]) ** 2 / np.where(is_pair, together, 1.0)
        ends = slice(size - n_begun - 1, None, size)
        found[ends, kind], found[ends, kinds + kind] = squares * is_pair, is_pair
        window[_LAST_SUMS] = full[:, -1]
    return found


def _estimate_dispersion(until: Array, at: Array, lowest: NDArray[np.intp]) -> Array:
    """Return the dispersion of mistakes up to a state for each sum, after each of n blocks.

    Parameters
    ----------
    until
        The states after the blocks, and before them; shape (n + 1, states' width).
    at
        The states at the minima of the k sums before these blocks.
    lowest
        The place among `until` of the state at each minimum, negative before these blocks; shape
        (n + 1, k).

    """
    is_here = (lowest >= 0)[..., np.newaxis]
    states = np.where(is_here, until[np.maximum(lowest, 0), _MEASURED], at[:, _MEASURED])
    squares, pairs = np.split(states, 2, axis=-1)
    some = np.maximum(pairs, 1)
    # The standard error of the mean square of differences of neighbours.
    least = 1 + _SIGNIFICANT * np.sqrt(3 / some)
    ratios = np.where((pairs >= _LEAST_PAIRS) & (squares / some > least), squares / some, 1.0)
    least_ratio = np.where(pairs[..., 0] < _SURE_PAIRS, 2.0, 1.0)
    return np.asarray(np.maximum(ratios.max(axis=-1), least_ratio))


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

    Mistakes often depend on each other, as within a session, or if rows are delivered twice. So the
    bound is 12 times their dispersion [^3]: the variance of the excess of mistakes over $q$ in
    windows of 50, 200, 500 or 1,000 samples, relative to that of independent mistakes. It is
    estimated from the differences of neighbouring windows before the minimum, in which a trend
    cancels; the largest that exceeds 1 by two standard errors counts, else 1.

    `scripts/bench drift` measures false alarms and delays for streams of many kinds.

    References
    ----------
    [^1]: E. S. Page. 1954. Continuous inspection schemes. Biometrika 41, 100-115.
    [^2]: Wassily Hoeffding. 1963. Probability inequalities for sums of bounded random variables.
    Journal of the American Statistical Association 58, 13-30.
    [^3]: R. W. M. Wedderburn. 1974. Quasi-likelihood functions, generalized linear models, and the
    Gauss-Newton method. Biometrika 61, 439-447.

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
        self.table = np.zeros((_WINDOW + 1, _WIDTH))
        self._windows[:, _LAST_VARIANCE] = -1.0

    @classmethod
    def restored(cls, table: NDArray[np.float64]) -> Drift:
        """Return the test from its saved table."""
        drift = cls()
        if table.shape == (_LATER.stop, _OLD_WIDTH):
            drift.table[_WINDOW, _IS_OLD] = 1.0
            drift.table[:_WINDOW, : _SQUARES.start] = table[:, : _SQUARES.start]
            drift.table[:_WINDOW, _COUNTS:] = table[:, _SQUARES.start :]
            table = drift.table
        if table.shape != drift.table.shape:
            raise CheckpointError("progress has an inconsistent test for drift")
        at, later, states = table[_AT], table[_LATER], table[:_WINDOW]
        drift.table = table
        windows = drift._windows
        with np.errstate(all="ignore"):
            parts = np.concatenate([at, later - at, table[_NOW] - later, table[[_OPEN]]])
        if (
            not (np.abs(table) < 2**62).all()
            or (parts[:, _ROW:] < 0).any()
            or (states[:, _PAIRS] % 1).any()
            or (parts[:, _SEEN] < parts[:, _WRONG]).any()
            or table[_OPEN, _SEEN].sum() >= _BLOCK
            or (at[:, _SUM] < at[:, _LEAST_SUM]).any()
            or not np.isin(windows[:, _BLOCKS], np.arange(max(_WINDOWS))).all()
            or (windows[:, _BLOCKS] >= _WINDOWS).any()
            or (windows[:, _VARIANCE] < 0).any()
        ):
            raise CheckpointError("progress has an inconsistent test for drift")
        return drift

    @property
    def is_of_older_version(self) -> bool:
        """Whether the test began in a version that did not measure the dispersion."""
        return bool(self.table[_WINDOW, _IS_OLD])

    @property
    def _windows(self) -> Array:
        """A view of the windows that are not full, shape (kinds of windows, 5)."""
        return self.table[_WINDOW, : 5 * len(_WINDOWS)].reshape(len(_WINDOWS), 5)

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
        wrong = blocks[:, _WRONG].sum(axis=1, keepdims=True)
        gains = wrong * _LOG_ODDS - _BLOCK * _log(1 + expected * (_ODDS - 1))
        excess_of_blocks = (wrong - _BLOCK * expected)[:, 0]
        variances = (shares * (1 - shares) * blocks[:, _SEEN]).sum(axis=1)
        windows = self._windows.copy()
        found_pairs = _fill_windows(windows, excess_of_blocks, variances)
        until[:, _MEASURED] = np.vstack([now[_MEASURED], found_pairs]).cumsum(axis=0)
        sums = np.concatenate([at[np.newaxis, :, _SUM], gains]).cumsum(axis=0)
        least = np.concatenate([at[np.newaxis, :, _LEAST_SUM], sums[1:]])
        np.minimum.accumulate(least, axis=0, out=least)
        before = (at[:, _SAMPLE] - now[_SAMPLE]) // _BLOCK
        lowest = np.where(sums <= least, np.arange(len(sums))[:, np.newaxis], before)
        np.maximum.accumulate(lowest, axis=0, out=lowest)
        # A change may fall within a block, so the next block must confirm it.
        excess = sums - least
        excess[1:] = np.minimum(excess[1:], excess[:-1])
        if excess.max() > _THRESHOLD:
            excess /= _estimate_dispersion(until, at, lowest.astype(np.intp))
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
        if end < len(blocks):
            windows = self._windows.copy()
            _fill_windows(windows, excess_of_blocks[:end], variances[:end])
        self._windows[:] = windows
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
            # A continuing fall is reported again only after a further loss of half its size.
            goes_on = not now[_SUM] and at[_SAMPLE] - now[_FALL] < _STABLE
            if not (goes_on and lost) or after < lost.after - (lost.before - lost.after) / 2:
                row, sample = int(at[_ROW]) + 1, int(at[_SAMPLE]) + 1
                changes.append(Change(True, row, sample, int(now[_ROW]), before, after))
                del changes[:-_MOST]
            now[_FALL] = now[_SAMPLE]
            # The windows since the fall say nothing about the dispersion.
            now[_SQUARES], now[_PAIRS] = at[_SQUARES], at[_PAIRS]
            self._windows[:] = Drift()._windows
        now[_COUNTS:] -= later[_COUNTS:]
        self.table[_AT] = self.table[_LATER] = now
        self.table[2:, [_SUM, _LEAST_SUM]] = 0.0
        now[_SUM] = k >= _FALLS
