"""Drift: drops and recoveries in accuracy, and in the recall of each class."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.arrays import Floats, NamedArrays

_drift: Any = import_module("stream_perceptron.live._drift")

MAX_CLASSES = 1000  # classes with a test of their own; the last one stands for all later classes

_BLOCK_SIZE = 50  # samples between two tests
_MIN_CLASS_ROWS = 10_000  # rows after which events of single classes are shown
_MAX_EVENTS = 50  # the number of recent events to keep

_CAUSE = "the stream has changed, or lr is too high: look at the rows from there on"
_CAUSE_IF_WEIGHTED = (
    "class weights find more of the rare classes at the cost of others, the stream has changed, or "
    "lr is too high: look at the recall of each class"
)
_CAUSE_OF_CLASS = "look at the rows of that class from there on"


DROP, RECOVERY = "drop", "recovery"  # the kinds of drift events
_VERBS = {DROP: "dropped", RECOVERY: "recovered"}


@dataclass(frozen=True)
class DriftEvent:
    """A drop or recovery in overall accuracy or a class's recall.

    Examples
    --------
    >>> event = DriftEvent(DROP, 501, 501, 650, 0.95, 0.0, label=1)
    >>> event.describe(["no", "yes"])
    'recall of yes dropped from 95.0% to 0.0% near row 501'

    """

    kind: str  # DROP or RECOVERY
    row: int  # the row near which it began
    sample: int  # the number of this row's sample among the tested samples, counted from 1
    found: int  # the row at which it was found
    before: float  # the accuracy, or the recall of the class, before the event
    after: float  # the same after the event
    label: int | None = None  # the number of the class; None for the overall accuracy

    def is_valid(self, n_classes: int) -> bool:
        """Whether the event has a known kind, and one of the model's classes or none."""
        return self.kind in _VERBS and (self.label is None or 0 <= self.label < n_classes)

    @property
    def is_drop(self) -> bool:
        """Whether accuracy or the recall of a class dropped."""
        return self.kind == DROP

    @property
    def is_overall(self) -> bool:
        """Whether the event concerns the overall accuracy."""
        return self.label is None

    @property
    def is_notable(self) -> bool:
        """Whether people should see the event: single classes drop and recover often at first."""
        return self.is_overall or self.found >= _MIN_CLASS_ROWS

    @property
    def figures(self) -> str:
        """The accuracies or recalls and the row, as text."""
        return f"from {self.before:.1%} to {self.after:.1%} near row {self.row:,}"

    def name_metric(self, classes: Sequence[Hashable]) -> str:
        """Return the name of the metric: accuracy, or the recall of a class."""
        if self.label is None:
            return "accuracy"
        return f"recall of {name_class(self.label, classes)}"

    def describe(self, classes: Sequence[Hashable]) -> str:
        """Return the event as text, given the names of the classes."""
        return f"{self.name_metric(classes)} {_VERBS[self.kind]} {self.figures}"

    def to_dict(self, classes: Sequence[Hashable]) -> dict[str, object]:
        """Return the event as a JSON object, with the name of the class."""
        name = None if self.label is None else name_class(self.label, classes)
        figures = {key: value for key, value in vars(self).items() if key != "label"}
        return {**figures, "class": name, "text": self.describe(classes)}


def explain_drop(is_overall: bool, has_class_weights: bool) -> str:
    """Return possible causes of a drop in accuracy or in a class's recall, and where to look."""
    if not is_overall:
        return _CAUSE_OF_CLASS
    return _CAUSE_IF_WEIGHTED if has_class_weights else _CAUSE


def find_lasting_drops(events: Sequence[DriftEvent]) -> list[DriftEvent]:
    """Return the last notable drop in accuracy and in each recall, unless a recovery followed."""
    last = {event.label: event for event in events if event.is_notable}
    return [event for event in last.values() if event.is_drop]


def name_class(label: int, classes: Sequence[Hashable]) -> str:
    """Return the name of a tested class; the last one may stand for several."""
    if label == MAX_CLASSES - 1 and len(classes) > MAX_CLASSES:
        return f"the {len(classes) - label:,} classes after the first {label:,}"
    return str(classes[label])


class DriftDetector:
    r"""Sequential tests for drops and recoveries in accuracy, and in the recall of each class.

    After every 50 samples, of which $n$ belong to a class ($w$ of them predicted wrongly), the sum
    for each odds ratio $\theta$ of a mistake grows by $w \ln \theta - n \ln(1 + q (\theta - 1))$,
    where $q$ is the share of mistakes since the last change. This is the log-likelihood ratio of
    $\theta$ times the current odds versus the current odds. A sum that exceeds its minimum by more
    than a bound indicates a change at that minimum (Page's CUSUM [^1]), and the test starts anew.
    After a rise, accuracy has recovered once its level since the rise was found has regained three
    quarters of the loss. For accuracy, $q$ is the mean, over the samples, of the share of mistakes
    in the sample's class, so a change in the frequencies of the classes does not count as a drop.

    $q$ includes the samples under test: if samples of a class are exchangeable, the exponential of
    a block's gain has an expectation of at most 1 (Hoeffding [^2], theorem 4). Mistakes often
    depend on each other, so the bounds are multiplied by the dispersion of the mistakes: the
    variance of the number of mistakes in windows of 50, 200, 500 or 1,000 samples, relative to that
    of independent mistakes. The dispersion is estimated from differences between adjacent windows,
    and is set to 1.5 times the largest estimate that exceeds 1 by three standard errors. Because
    the first samples cannot show dependence, the dispersion after n samples is at least 1 + 3,000 /
    n or 2, whichever is less.

    For accuracy, the ratios of drops are 1.2, 2 and 20, and those of rises 1/1.2 and 1/3; for
    classes, of which there may be many, the ratios are 20, 1/1.2 and 1/3, and the bounds are larger
    by 7. A drop in the recall of a class is reported only if the share of other samples that are
    predicted as this class dropped by less than a quarter as much: a model that learns little
    predicts now one class more often, now another. One change is one event: if the sum of a class
    exceeds that of accuracy by more than 7 times the dispersion, the drop is that of the class, and
    the test of accuracy starts anew; otherwise, the tests of all classes start anew.

    References
    ----------
    [^1]: E. S. Page. 1954. Continuous inspection schemes. Biometrika 41, 100-115.
    [^2]: Wassily Hoeffding. 1963. Probability inequalities for sums of bounded random variables.
    Journal of the American Statistical Association 58, 13-30.

    Examples
    --------
    >>> drift, events = DriftDetector(), []
    >>> labels, predicted = np.zeros(3000, np.intp), (np.arange(3000) % 100 < 1).astype(np.intp)
    >>> predicted[2000:] = 1 - predicted[2000:]
    >>> drift.update(labels, predicted, np.arange(1, 3001), events)
    >>> events[0].describe(["right"])
    'accuracy dropped from 99.0% to 2.0% near row 2,001'

    """

    def __init__(self) -> None:
        # By class: samples, mistakes and false positives in the block that is not full; samples and
        # mistakes in all blocks since accuracy last changed.
        self.classes: Floats = np.zeros((0, 5))
        # For accuracy and each class: samples, mistakes and false positives since its last change,
        # the samples tested before it; its levels before and after the last drop (0 after a
        # recovery), and 1 if it has risen since the drop.
        self.series: Floats = np.zeros((1, 7))
        # For accuracy and each class, and each odds ratio: the sum, its minimum and, at the
        # minimum, the samples, mistakes, false positives, row and tested samples.
        self.sums: Floats = np.zeros((1, 5, 7))
        # Running sums of the excess of mistakes and of its variance, after each of the last blocks.
        self.windows: Floats = np.zeros((2, 41))
        # The number of blocks and, by window length, the sum of squared differences.
        self.squares: Floats = np.zeros(5)

    @property
    def arrays(self) -> NamedArrays:
        """The state, by name."""
        return {f"drift_{name}": array for name, array in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: NamedArrays) -> DriftDetector:
        """Restore the tests from their `arrays`.

        Raises
        ------
        CheckpointError
            If the arrays do not belong together.

        """
        drift = cls()
        for name in vars(drift):
            setattr(drift, name, arrays[f"drift_{name}"].copy())
        n_series = 1 + min(len(drift.classes), MAX_CLASSES)
        has_same_series = n_series == len(drift.series) == len(drift.sums)
        if not has_same_series or not 0 <= drift.classes[:, 0].sum() < _BLOCK_SIZE:
            raise CheckpointError("progress has drift tests that do not belong together")
        return drift

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
        largest = max([*labels.tolist(), *predicted.tolist()], default=-1)
        n_new = min(largest + 1, MAX_CLASSES) - len(self.classes)
        if n_new > 0:
            # One assignment, which cannot be interrupted: compiled code relies on the lengths.
            self.classes, self.series, self.sums = (
                np.concatenate([array, np.zeros((n_new, *array.shape[1:]))])
                for array in (self.classes, self.series, self.sums)
            )
        changes = _drift.test_samples(
            self.classes,
            self.series,
            self.sums,
            self.windows,
            self.squares,
            labels,
            predicted,
            rows,
        )
        if not changes:
            return
        events += [
            DriftEvent(
                DROP if is_drop else RECOVERY,
                row, sample, last_row, before, after, series - 1 if series else None,
            )
            for is_drop, row, sample, last_row, before, after, series in changes
        ]  # fmt: skip
        del events[:-_MAX_EVENTS]
