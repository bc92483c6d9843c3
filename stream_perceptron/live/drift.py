"""Drift: drops and recoveries in accuracy."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.arrays import Floats

_drift: Any = import_module("stream_perceptron.live._drift")

_MAX_CLASSES = 1000  # classes with a share of mistakes of their own; the last stands for all others
_MAX_EVENTS = 50  # the number of recent events to keep

_CAUSE = "the stream has changed, or lr is too high: look at the rows from there on"
_CAUSE_IF_WEIGHTED = (
    "class weights find more of the rare classes at the cost of others, the stream has changed, or "
    "lr is too high: look at the recall of each class"
)


@dataclass(frozen=True)
class DriftEvent:
    """A drop or recovery in accuracy.

    Examples
    --------
    >>> str(DriftEvent("drop", 501, 501, 650, 0.95, 0.0))
    'accuracy dropped from 95.0% to 0.0% near row 501'

    """

    kind: str  # drop or recovery
    row: int  # the row near which it began
    sample: int  # the number of this row's sample among the tested samples, counted from 1
    found: int  # the row at which it was found
    before: float  # the accuracy before the event
    after: float  # the accuracy after the event

    @property
    def is_drop(self) -> bool:
        """Whether accuracy dropped."""
        return self.kind == "drop"

    def __str__(self) -> str:
        verb = "dropped" if self.is_drop else "recovered"
        return f"accuracy {verb} from {self.before:.1%} to {self.after:.1%} near row {self.row:,}"


def explain_drop(has_class_weights: bool) -> str:
    """Return possible causes of a drop in accuracy, and where to look."""
    return _CAUSE_IF_WEIGHTED if has_class_weights else _CAUSE


@dataclass(eq=False, repr=False)
class DriftDetector:
    r"""A sequential test for drops and recoveries in accuracy.

    After every 50 samples, of which $w$ were predicted wrongly, the sum for each odds ratio
    $\theta$ of a mistake (1.2, 2 and 20 for drops, 1/1.2 and 1/3 for rises) grows by $w \ln \theta
    - 50 \ln(1 + q (\theta - 1))$, the log-likelihood ratio of $\theta$ times the current odds
    versus the current odds. $q$ is the mean, over the samples, of the share of mistakes in the
    sample's class since the last change, so a change in the frequencies of the classes is no drop.
    A sum that exceeds its minimum by more than a bound indicates a change at that minimum (Page's
    CUSUM [^1]), and the test starts anew. After a rise, accuracy has recovered once its level since
    the rise was found has regained three quarters of the loss.

    $q$ includes the samples under test: if samples of a class are exchangeable, the exponential of
    a block's gain has an expectation of at most 1 (Hoeffding [^2], theorem 4). Mistakes often
    depend on each other, so the bounds are multiplied by their dispersion: the variance of their
    number in windows of 50, 200, 500 or 1,000 samples, relative to that of independent mistakes. It
    is 1.5 times the largest estimate, from differences between adjacent windows, that exceeds 1 by
    three standard errors (n pairs of windows of L blocks have about 6 n L / (4 L^2 + 5) degrees of
    freedom [^3]), and after n samples at least 1 + 3,000 / n or 2, whichever is less, because the
    first samples cannot show dependence.

    References
    ----------
    [^1]: E. S. Page. 1954. Continuous inspection schemes. Biometrika 41, 100-115.
    [^2]: Wassily Hoeffding. 1963. Probability inequalities for sums of bounded random variables.
    Journal of the American Statistical Association 58, 13-30.
    [^3]: W. J. Riley. 2008. Handbook of frequency stability analysis. NIST special publication
    1065, section 5.4.

    Examples
    --------
    >>> drift, events = DriftDetector(), []
    >>> labels, predicted = np.zeros(3000, np.intp), (np.arange(3000) % 100 < 1).astype(np.intp)
    >>> predicted[2000:] = 1 - predicted[2000:]
    >>> drift.update(labels, predicted, np.arange(1, 3001), events)
    >>> str(events[0])
    'accuracy dropped from 99.0% to 2.0% near row 2,001'

    """

    # The layouts are those of State and Class in _drift.pyx.
    state: Floats = field(default_factory=lambda: np.zeros(_drift.STATE_SIZE))
    classes: Floats = field(default_factory=lambda: np.zeros((0, 4)))

    def update(
        self,
        labels: NDArray[np.intp],
        predicted: NDArray[np.intp],
        rows: NDArray[np.intp],
        events: list[DriftEvent],
    ) -> None:
        """Test more samples, given their labels, predictions and rows; append the events found.

        At most 50 events are kept.
        """
        n_new = min(int(labels.max(initial=-1)) + 1, _MAX_CLASSES) - len(self.classes)
        if n_new > 0:
            self.classes = np.concatenate([self.classes, np.zeros((n_new, 4))])
        fields_by_event = _drift.test_samples(self.state, self.classes, labels, predicted, rows)
        events += [DriftEvent(*fields) for fields in fields_by_event]
        del events[:-_MAX_EVENTS]
