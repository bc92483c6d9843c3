"""Drift detection with a state of bounded size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import CheckpointError
from stream_perceptron.live.drift import accuracy, classes
from stream_perceptron.live.drift.accuracy import AccuracyTest
from stream_perceptron.live.drift.blocks import BLOCK_SIZE, MAX_CLASSES, NUMBER_TYPE, Blocks
from stream_perceptron.live.drift.classes import ClassTests
from stream_perceptron.live.drift.events import DriftEvent
from stream_perceptron.model.arrays import Floats

_MAX_EVENTS = 50  # the number of recent events to keep
_MAX_CELLS = 2**17  # the maximum number of blocks times classes to test at once
_MAX_NUMBER = 2**52  # counts are exact up to this number


def define_state(n_classes: int) -> np.dtype[np.void]:
    """Return the type of the state of the tests; all numbers are 64-bit floats."""
    counts = (NUMBER_TYPE, (n_classes,))
    return np.dtype(
        [
            ("n_samples", NUMBER_TYPE),  # tested samples
            ("seen", *counts),  # in the block that is not full: samples and mistakes by class
            ("wrong", *counts),
            ("accuracy", accuracy.define_state(n_classes)),
            ("classes", classes.define_state(n_classes)),
        ]
    )


class DriftDetector:
    r"""Sequential tests for drops in accuracy.

    **Accuracy.** After every 50 samples, of which $w$ were predicted wrongly, the sum for each odds
    ratio $\theta$ grows by $w \ln \theta - 50 \ln(1 + q (\theta - 1))$. $q$ is the mean, over the
    50 samples, of the share of mistakes since the last change among samples of the same class. The
    sum is thus the log-likelihood ratio of $\theta$ times the current odds versus the current odds.
    If a sum exceeds its minimum by more than 10.5 in two consecutive blocks, accuracy is considered
    to have changed at that minimum (Page's CUSUM [^1]). $q$ includes the samples under test: if
    samples of a class are exchangeable, the exponential of a block's gain has an expectation of at
    most 1 for any accuracy (Hoeffding [^2], theorem 4). A change in the label mix does not count as
    a drop. After a change, the test restarts, so a further drop is measured from the level after
    the last drop. Accuracy has recovered when it has regained 90% of the loss since the first drop.

    **Classes.** The same test runs for the recall of each class after every 200 samples, with odds
    ratios of 4, 20 and 1/4 and a bound of 16. It restarts when overall accuracy has dropped,
    unless one class with at most a quarter of the samples has at least half of the additional
    mistakes. Classes from the 1,000th on are tested together.

    **Dependence.** Mistakes often depend on each other, for example within a session or if rows are
    delivered twice. Both bounds are therefore multiplied by the dispersion of mistakes [^3].
    The dispersion is the variance of the excess of mistakes over $q$ in windows of 50, 200, 500 or
    1,000 samples (200, 1,000 or 2,000 for a class), relative to the variance of independent
    mistakes. It is estimated from the differences between adjacent windows before the minimum of
    the sum; a trend cancels out in these differences. The value used is 1.5 times the largest
    estimate from at least 12 windows that exceeds 1 by three standard errors, or 1 if there is no
    such estimate. For the first 4,000 samples, it is at least 2; after n > 4,000 samples, it is at
    least 1 + 4,000 / n.

    **Assumptions and false alarms.** Mistakes are assumed to depend on each other over at most
    1,000 samples; slower waves are reported as drops and recoveries. The number of steady streams
    in which a drop is reported, out of 300 streams of 100,000 samples
    (`scripts/bench drift_dependent`), is 1 with independent mistakes; 0, 1 and 5 with sessions of
    20, 50 and 200 samples, if one session in five is worse; 0 and 3 with rows delivered twice and
    five times; and 0 with waves of 2,000 samples.

    References
    ----------
    [^1]: E. S. Page. 1954. Continuous inspection schemes. Biometrika 41, 100-115.
    [^2]: Wassily Hoeffding. 1963. Probability inequalities for sums of bounded random variables.
    Journal of the American Statistical Association 58, 13-30.
    [^3]: R. W. M. Wedderburn. 1974. Quasi-likelihood functions, generalized linear models, and the
    Gauss-Newton method. Biometrika 61, 439-447.

    Examples
    --------
    >>> drift, events = DriftDetector(), []
    >>> labels, is_wrong = np.zeros(3000, np.intp), np.arange(3000) % 100 == 0
    >>> is_wrong[2000:] ^= True
    >>> drift.update(labels, is_wrong, np.arange(1, 3001), events)
    >>> events[0].describe(["right"])
    'accuracy dropped from 99.0% to 0.0% near row 2,001'

    """

    def __init__(self) -> None:
        self._records = np.zeros(1, define_state(1))

    @classmethod
    def from_saved(cls, numbers: Floats) -> DriftDetector:
        """Restore the tests from their saved `numbers`.

        Raises
        ------
        CheckpointError
            If the numbers have the wrong size or are too large.

        """
        drift = cls()
        one, two = (define_state(n).itemsize // 8 for n in (1, 2))
        n_classes, rest = divmod(len(numbers) - one, two - one)
        if rest or not 0 <= n_classes < MAX_CLASSES:
            raise CheckpointError("progress has drift tests of the wrong size")
        drift._records = numbers.copy().view(define_state(n_classes + 1))
        n_open = drift.state["seen"].sum()
        if not (np.abs(numbers) < _MAX_NUMBER).all() or not 0 <= n_open < BLOCK_SIZE:
            raise CheckpointError("progress has drift tests with numbers out of range")
        return drift

    @property
    def state(self) -> np.void:
        """A view of the state, with the type that `define_state` returns."""
        return self._records[0]  # type: ignore[no-any-return]

    @property
    def numbers(self) -> Floats:
        """The state as an array of numbers."""
        return self._records.view(NUMBER_TYPE)

    @property
    def n_classes(self) -> int:
        """The number of classes that have counts of their own; 1 before the first sample."""
        return len(self.state["seen"])

    def update(
        self,
        labels: NDArray[np.intp],
        is_wrong: NDArray[np.bool_],
        rows: NDArray[np.intp],
        events: list[DriftEvent],
    ) -> None:
        """Test more samples, given their label indices and row numbers; append the events found.

        At most 50 events are kept.
        """
        labels = np.minimum(labels, MAX_CLASSES - 1)
        n_classes = max(int(labels.max(initial=0)) + 1, self.n_classes)
        if n_classes > self.n_classes:
            records = np.zeros(1, define_state(n_classes))
            _copy_fields(self._records, records)
            self._records = records
        size = BLOCK_SIZE * max(1, _MAX_CELLS // n_classes)
        for start in range(0, len(labels), size):
            part = slice(start, start + size)
            blocks = self._fill_blocks(labels[part], is_wrong[part], rows[part])
            events += self._test_blocks(blocks)
            del events[:-_MAX_EVENTS]

    def _fill_blocks(
        self, labels: NDArray[np.intp], is_wrong: NDArray[np.bool_], rows: NDArray[np.intp]
    ) -> Blocks:
        """Add samples to the open block; return the blocks that are full."""
        state = self.state
        n_classes, n_open = self.n_classes, int(state["seen"].sum())
        n = (n_open + len(labels)) // BLOCK_SIZE
        cells = np.repeat(np.arange(n + 1) * 2 * n_classes, BLOCK_SIZE)[
            n_open : n_open + len(labels)
        ]
        cells += labels
        cells += is_wrong * np.intp(n_classes)
        counts = np.bincount(cells, minlength=(n + 1) * 2 * n_classes).astype(float)
        right, wrong = counts.reshape(n + 1, 2, n_classes).transpose(1, 0, 2)
        seen = right + wrong
        seen[0] += state["seen"]
        wrong[0] += state["wrong"]
        state["seen"], state["wrong"] = seen[n], wrong[n]
        samples = state["n_samples"] - n_open + BLOCK_SIZE * np.arange(1.0, n + 1)
        state["n_samples"] += len(labels)
        ends = rows[BLOCK_SIZE - 1 - n_open :: BLOCK_SIZE].astype(float)
        return Blocks(ends, samples, seen[:n], wrong[:n])

    def _test_blocks(self, blocks: Blocks) -> list[DriftEvent]:
        """Return the events found in full blocks, in order."""
        if not len(blocks):
            return []
        state, events = self.state, list[DriftEvent]()
        overall, by_class = AccuracyTest(state["accuracy"]), ClassTests(state["classes"])
        begin = 0
        while begin < len(blocks):
            step = overall.advance(blocks[begin:], events)
            # The block in which accuracy drops says nothing about individual classes.
            n = step.n_blocks - step.is_general_drop
            by_class.advance(blocks[begin : begin + n], step, events)
            if step.is_general_drop:
                now = state["accuracy"]["now"]
                by_class.restart(now["row"], now["sample"])
            begin += step.n_blocks
        return sorted(events, key=_get_sort_key)


def _get_sort_key(event: DriftEvent) -> tuple[int, int]:
    """Return the key that sorts events independently of the order of the tests."""
    return event.found, -1 if event.label is None else event.label


def _copy_fields(old: NDArray[np.void], new: NDArray[np.void]) -> None:
    """Copy all fields to a state with more classes, with zeros for the new classes."""
    for name in old.dtype.names or ():
        part, target = old[name], new[name]
        corner = target[tuple(slice(length) for length in part.shape)]
        if part.dtype.names:
            _copy_fields(part, corner)
        else:
            corner[...] = part
