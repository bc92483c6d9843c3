"""Progressive validation: each sample is predicted before the model learns from it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import CheckpointError
from stream_perceptron.live.drift import DriftDetector, DriftEvent
from stream_perceptron.live.learning_curve import LearningCurve
from stream_perceptron.model.arrays import Array, NamedArrays
from stream_perceptron.model.results import TrainResult
from stream_perceptron.model.rows import FeatureRows

_counting: Any = import_module("stream_perceptron.live._counting")

WINDOW = 1000

_MAX_PROBED_FEATURES = 256
_STEP_TOLERANCE = 0.1  # for a counter of rows, a few of which are missing
_PAIR_BASE = 2**31  # larger than any label's number, so that two numbers can share one key


class ClassMetrics(NamedTuple):
    """Metrics of k labels, from confusion counts; arrays have shape (k,).

    `precision` is the share of correct predictions among the predictions of a label, and `recall`
    the share among its samples; each is 0 if undefined. `macro_f1` is the mean F1 of the labels
    that were seen or predicted, and `balanced_accuracy` the mean recall of the labels that were
    seen. `support` counts the tested samples of a label, and `label_counts` also the untested ones.
    `majority_label` is the number of the label with the most samples, and `baseline` its share: the
    accuracy of always predicting it.
    """

    support: NDArray[np.int64]
    predicted: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    macro_f1: float
    balanced_accuracy: float
    cohen_kappa: float
    majority_label: int  # the number of the most frequent label
    baseline: float
    label_counts: NDArray[np.int64]


def format_kappa(kappa: float) -> str:
    """Return Cohen's kappa as text: 0 is the accuracy expected by chance, 1 a perfect one.

    Examples
    --------
    >>> format_kappa(0.98154), format_kappa(-0.00001)
    ('0.982', '0.000')

    """
    return f"{round(kappa, 3) + 0.0:.3f}"


def _divide(part: Array, whole: Array) -> NDArray[np.float64]:
    """Return part / whole elementwise, or 0 where whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0))


def merge_max_abs_values(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Return the larger value of each feature that is in both dictionaries, sorted by name."""
    return {name: max(one[name], other[name]) for name in sorted(one.keys() & other.keys())}


def _find_row_number_features(
    previous: dict[str, tuple[float, ...]] | None, x: Mapping[Hashable, float], row: int
) -> dict[str, tuple[float, ...]]:
    """Return the counters that go on in a probed sample; {} if it has many features."""
    counters: dict[str, tuple[float, ...]] = {}
    if len(x) > _MAX_PROBED_FEATURES:
        return counters
    for name, value in sorted((str(name), value) for name, value in x.items()):
        before = (value, row, 0.0) if previous is None else previous.get(name)
        if before is None:
            continue
        step = (value - before[0]) / max(row - before[1], 1)
        is_steady = step > 0 and abs(step - before[2]) <= _STEP_TOLERANCE * before[2]
        if previous is None or is_steady or (step > 0 and before[2] == 0.0):
            counters[name] = (value, float(row), step)
    return counters


def _compute_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(counts / max(int(counts.sum()), 1))


class Confusion:
    """Counts of (label, predicted label) pairs that occurred.

    Examples
    --------
    >>> confusion = Confusion()
    >>> confusion.update(np.array([0, 1, 1]), np.array([0, 0, 1]))
    >>> confusion.matrix([0, 1]).tolist(), confusion.tested, confusion.right
    ([[1, 0], [1, 1]], 3, 2)

    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.tested = 0
        self.right = 0

    @classmethod
    def from_saved(cls, pairs: Array) -> Confusion:
        """Return the counts from their saved `pairs`."""
        targets, predicted, counts = pairs.T
        keys = targets * _PAIR_BASE + predicted
        confusion = cls()
        confusion._counts = dict(zip(keys.tolist(), counts.tolist(), strict=True))
        confusion.tested = int(counts.sum())
        confusion.right = int(counts[targets == predicted].sum())
        return confusion

    @property
    def accuracy(self) -> float | None:
        """The share of samples that were predicted correctly; None if there are none."""
        return self.right / self.tested if self.tested else None

    def update(self, targets: NDArray[np.intp], predicted: NDArray[np.intp]) -> None:
        """Count samples by the numbers of their labels and predicted labels."""
        self.tested += len(targets)
        self.right += _counting.count_pairs(targets, predicted, self._counts, _PAIR_BASE)

    @property
    def pairs(self) -> NDArray[np.int64]:
        """The label, prediction and count of each pair that occurred, sorted; shape (pairs, 3)."""
        keys = np.array(sorted(self._counts), np.int64)
        counts = np.array([self._counts[key] for key in keys.tolist()], np.int64)
        return np.stack([keys // _PAIR_BASE, keys % _PAIR_BASE, counts], axis=1)

    def matrix(self, labels: Sequence[int]) -> NDArray[np.int64]:
        """Return the counts by label (row) and prediction (column) among n labels, shape (n, n)."""
        matrix = np.zeros((len(labels), len(labels)), np.int64)
        index_by_label = {label: index for index, label in enumerate(labels)}
        for target, predicted, count in self.pairs.tolist():
            if target in index_by_label and predicted in index_by_label:
                matrix[index_by_label[target], index_by_label[predicted]] = count
        return matrix

    def compute_metrics(self, n_labels: int, n_untested: int = 0) -> ClassMetrics:
        """Return the metrics of k labels.

        The baseline also counts `n_untested` samples of the first label.
        """
        targets, predictions, counts = self.pairs.T
        hits = targets == predictions
        support, predicted, right = (
            np.bincount(labels, weights, minlength=n_labels).astype(np.int64)
            for labels, weights in (
                (targets, counts), (predictions, counts), (targets[hits], counts[hits]),
            )
        )  # fmt: skip
        precision, recall = _divide(right, predicted), _divide(right, support)
        occurs = (support > 0) | (predicted > 0)
        f1 = _divide(2 * precision * recall, precision + recall)[occurs]
        accuracy = self.right / self.tested if self.tested else 0.0
        chance_accuracy = float((_compute_shares(support) * _compute_shares(predicted)).sum())
        label_counts = support + np.eye(1, n_labels, dtype=np.int64)[0] * n_untested
        return ClassMetrics(
            support,
            predicted,
            precision,
            recall,
            float(f1.mean()) if len(f1) else 0.0,
            float(recall[support > 0].mean()) if support.any() else 0.0,
            (accuracy - chance_accuracy) / (1 - chance_accuracy) if chance_accuracy < 1 else 0.0,
            int(label_counts.argmax()) if n_labels else 0,
            float(_compute_shares(label_counts).max(initial=0.0)),
            label_counts,
        )

    def compute_figures(self, labels: Sequence[Hashable], n_untested: int = 0) -> dict[str, Any]:
        """Return the metrics of all labels by name; those that need a tested sample may be None.

        The majority class also counts `n_untested` samples of the first label.
        """
        metrics, is_tested = self.compute_metrics(len(labels), n_untested), self.tested > 0
        return {
            "accuracy": self.accuracy,
            "majority_class": labels[metrics.majority_label] if metrics.baseline else None,
            "majority_share": metrics.baseline or None,
            "cohen_kappa": metrics.cohen_kappa if is_tested else None,
            "balanced_accuracy": metrics.balanced_accuracy if is_tested else None,
            "macro_f1": metrics.macro_f1 if is_tested else None,
        }


@dataclass(eq=False, repr=False)
class Progress:
    """The metrics of a run over a stream, by progressive validation [^1].

    Progressive accuracy is measured on rows that are learned for the first time, not on rows that
    are learned again in later passes. The window of the last 1,000 predictions covers all rows.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> from stream_perceptron.model.rows import FeatureRows, as_samples
    >>> model = SGDPerceptron(classes=["left", "right"], lr=1.0, seed=0)
    >>> rows = FeatureRows.from_table(("x",), np.array([[1.0], [-1.0]] * 2))
    >>> progress = Progress()
    >>> samples = as_samples(rows, ["left", "right"] * 2, np.ones(4))
    >>> progress.update(model.train(samples), np.arange(1, 5), rows)
    >>> progress
    Progress(samples=4, accuracy=0.7500, updates=4, unlabeled=0, skipped=0)

    References
    ----------
    [^1]: Avrim Blum, Adam Kalai and John Langford. 1999. Beating the hold-out: bounds for k-fold
    and progressive cross-validation. COLT '99. https://doi.org/10.1145/307400.307439

    """

    samples: int = 0  # labeled samples, tested and then trained on
    n_untested: int = 0  # labeled samples that came before any label was known
    # Unlabeled samples, which were only predicted.
    unlabeled: int = 0
    skipped: int = 0  # rejected rows
    updates: int = 0  # samples that changed the weights
    n_repeated_labels: int = 0  # labeled samples with the same label as the previous labeled sample
    last_label_id: int = -1  # the number of the last label, -1 before the first
    error_sum: float = 0.0  # the sum of the errors of all labeled samples, added one by one
    max_abs_value: float = 0.0  # the largest absolute value of a feature in the probed samples
    # The largest absolute value, by name, of at most 256 features that all probed samples have.
    max_abs_values: dict[str, float] | None = None
    # The features that rise by the same step in nearly every row: the value in the last probe,
    # its row, and the step.
    row_counters: dict[str, tuple[float, ...]] | None = None
    # The number of missing values in all samples, in columns that are features or are encoded.
    missing: int = 0
    # The most recent drift events.
    events: list[DriftEvent] = field(default_factory=list)
    # The predictions for new rows. Labels are numbered as in `classes_`.
    confusion: Confusion = field(default_factory=Confusion, metadata={"saved": False})
    # Whether each of the last 1,000 predictions was right, for new rows and others; unused elements
    # come first.
    outcomes: NDArray[np.bool_] = field(
        default_factory=lambda: np.zeros(WINDOW, bool), metadata={"saved": False}
    )
    curve: LearningCurve = field(default_factory=LearningCurve, metadata={"saved": False})
    drift: DriftDetector = field(default_factory=DriftDetector, metadata={"saved": False})

    def __repr__(self) -> str:
        accuracy = "None" if self.accuracy is None else f"{self.accuracy:.4f}"
        return (
            f"Progress(samples={self.samples}, accuracy={accuracy}, updates={self.updates}, "
            f"unlabeled={self.unlabeled}, skipped={self.skipped})"
        )

    @property
    def rows(self) -> int:
        """The number of rows read."""
        return self.samples + self.unlabeled + self.skipped

    @property
    def accuracy(self) -> float | None:
        """The progressive accuracy; None before the first new row is tested."""
        return self.confusion.accuracy

    @property
    def recent_outcomes(self) -> NDArray[np.bool_]:
        """Whether each of the last 1,000 predictions was right, for new rows and others."""
        return self.outcomes[max(0, WINDOW - (self.samples - self.n_untested)) :]

    @property
    def window_accuracy(self) -> float:
        """The accuracy over the last 1,000 tested samples; 0 before the first."""
        return float(self.recent_outcomes.mean()) if len(self.recent_outcomes) else 0.0

    @property
    def _n_untested_of_first_label(self) -> int:
        """The number of untested samples that certainly had the first label: 0 or 1."""
        has_new_rows = self.confusion.tested > 0 or not len(self.recent_outcomes)
        return int(self.n_untested == 1 and has_new_rows)

    def compute_metrics(self, n_labels: int) -> ClassMetrics:
        """Return the metrics of k labels, from new rows."""
        return self.confusion.compute_metrics(n_labels, self._n_untested_of_first_label)

    def compute_figures(self, labels: Sequence[Hashable]) -> dict[str, Any]:
        """Return the counts and the metrics by name, given the labels of the model.

        Metrics are None before a sample has been tested.

        Examples
        --------
        >>> Progress(unlabeled=3).compute_figures([])["unlabeled"]
        3

        """
        return {
            "samples": self.samples,
            "window_accuracy": self.window_accuracy if len(self.recent_outcomes) else None,
            "mean_error": self.mean_error,
            "updates": self.updates,
            "unlabeled": self.unlabeled,
            "skipped": self.skipped,
            "missing": self.missing,
            **self.confusion.compute_figures(labels, self._n_untested_of_first_label),
        }

    @property
    def mean_error(self) -> float:
        """The mean error of the labeled samples."""
        return self.error_sum / self.samples if self.samples else 0.0

    @property
    def updated_share(self) -> float:
        """The share of labeled samples that changed the weights."""
        return self.updates / self.samples if self.samples else 0.0

    @property
    def arrays(self) -> NamedArrays:
        """The part that is saved as arrays."""
        return {
            "confusion": self.confusion.pairs, "outcomes": self.recent_outcomes,
            "curve": self.curve.sums, "drift_state": self.drift.state,
            "drift_classes": self.drift.classes,
        }  # fmt: skip

    def restore(self, arrays: NamedArrays, n_labels: int) -> None:
        """Restore the part that was saved as arrays."""
        labels = arrays["confusion"][:, :2]
        if labels.size and not 0 <= labels.min() <= labels.max() < n_labels:
            raise CheckpointError("progress counts labels that the model does not have")
        self.confusion = Confusion.from_saved(arrays["confusion"])
        self.add_outcomes(arrays["outcomes"])
        self.curve = LearningCurve.from_saved(arrays["curve"])
        self.drift = DriftDetector(arrays["drift_state"].copy(), arrays["drift_classes"].copy())

    def add_outcomes(self, are_right: NDArray[np.bool_]) -> None:
        """Add more outcomes to the window: whether each prediction was right."""
        self.outcomes = np.concatenate([self.outcomes, are_right])[-WINDOW:]

    def update_largest_values(self, rows: FeatureRows, row_numbers: NDArray[np.intp]) -> None:
        """Update the largest values and the row counters from probed samples and their rows."""
        self.max_abs_value = max(self.max_abs_value, rows.max_abs())
        for x, row in zip(rows.dicts(), row_numbers.tolist(), strict=True):
            if self.row_counters is None or self.row_counters:
                self.row_counters = _find_row_number_features(self.row_counters, x, row)
        if self.max_abs_values is None or self.max_abs_values:
            is_small = rows.lengths.max() <= _MAX_PROBED_FEATURES
            new = rows.compute_max_abs_by_name() if is_small else {}
            earlier = new if self.max_abs_values is None else self.max_abs_values
            self.max_abs_values = merge_max_abs_values(earlier, new)

    def update(
        self,
        result: TrainResult,
        rows: NDArray[np.intp],
        features: FeatureRows,
        is_repeated: bool = False,
    ) -> None:
        """Count the results of more samples.

        Parameters
        ----------
        result
            The results.
        rows
            The numbers of the samples' rows in the run.
        features
            The features of the samples, whose largest values are measured in the probed samples.
        is_repeated
            Whether these rows were learned before.

        """
        n, n_updated, n_repeats, self.error_sum, self.last_label_id, *tested, probed = (
            _counting.count_samples(
                result, rows, self.curve, self.outcomes, self.error_sum, self.last_label_id
            )
        )
        labels, predicted, tested_rows = tested
        self.samples += n
        self.unlabeled += len(result) - n
        self.updates += n_updated
        self.n_repeated_labels += n_repeats
        self.n_untested += n - len(labels)
        if not is_repeated:
            self.confusion.update(labels, predicted)
            self.drift.update(labels, predicted, tested_rows, self.events)
        if probed:
            indices = np.array(probed)
            self.update_largest_values(features.take(indices), rows[indices])
