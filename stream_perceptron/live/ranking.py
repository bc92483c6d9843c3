"""Metrics of samples ranked by class score: precision and recall at any threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_SCORES = 40_000_000  # scores held in memory: those of 20 classes for 2 million samples
MAX_CLASSES = 100  # the maximum number of classes that are ranked

_BINS = 2**16


class PrecisionRecall(NamedTuple):
    """The numbers of samples of a class, and of all other classes, that reach each threshold."""

    thresholds: NDArray[np.float64]  # descending
    hits: NDArray[np.int64]  # samples of the class
    false_alarms: NDArray[np.int64]  # samples of other classes

    @property
    def precision(self) -> NDArray[np.float64]:
        """The share of the class among the samples that reach each threshold."""
        return np.asarray(self.hits / (self.hits + self.false_alarms))

    @property
    def recall(self) -> NDArray[np.float64]:
        """The share of the class's samples that reach each threshold."""
        return np.asarray(self.hits / self.hits[-1])

    @property
    def f1(self) -> NDArray[np.float64]:
        """The harmonic mean of precision and recall at each threshold."""
        return np.asarray(2 * self.hits / (self.hits + self.false_alarms + self.hits[-1]))


class RankingFigures(NamedTuple):
    """How well the scores of a class distinguish its samples from all others."""

    average_precision: float
    roc_auc: float
    recall_at_precision_50: float  # the largest recall at a precision of at least 0.5
    recall_at_precision_90: float  # the largest recall at a precision of at least 0.9
    best_threshold: float  # the threshold with the largest F1, with as few digits as possible
    best_f1: float


class Ranking:
    """The scores of classes for samples with known labels.

    With up to `MAX_SCORES` scores, all figures are exact. With more, scores are counted in 65,536
    bins. More than `MAX_CLASSES` classes have no figures.

    Parameters
    ----------
    n_classes
        The number of classes that have scores.

    Examples
    --------
    >>> ranking = Ranking(2)
    >>> scores = np.array([0.9, 0.8, 0.3, 0.1])
    >>> ranking.update(np.array([1, 0, 1, 0]), np.column_stack([1 - scores, scores]))
    >>> figures = ranking.figures(1)
    >>> round(figures.average_precision, 4), figures.roc_auc, figures.best_threshold
    (0.8333, 0.75, 0.3)

    """

    def __init__(self, n_classes: int) -> None:
        self._k = n_classes
        self._targets: list[NDArray[np.intp]] = []
        self._scores: list[NDArray[np.float64]] = []
        self._n = 0
        # The numbers of samples by class and bin: those of the class, and those of all others.
        self._binned: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def is_exact(self) -> bool:
        """Whether all scores are kept."""
        return self._n * self._k <= MAX_SCORES

    @property
    def method(self) -> str | None:
        """How figures are computed: exactly or with bins; None for too many classes."""
        if self._k > MAX_CLASSES:
            return None
        return "exact" if self.is_exact else f"{_BINS:,} bins"

    def update(self, targets: NDArray[np.intp], scores: NDArray[np.float64]) -> None:
        """Add samples.

        Parameters
        ----------
        targets
            The number of each label, shape (n,); it may be k or more for a class without scores.
        scores
            The score of each class, from 0 to 1; shape (n, k).

        """
        if self._k > MAX_CLASSES:
            return
        self._n += len(targets)
        self._targets.append(targets)
        self._scores.append(scores)
        if self.is_exact:
            return
        if self._binned is None:
            shape = self._k, _BINS
            self._binned = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for part_targets, part_scores in zip(self._targets, self._scores, strict=True):
            self._count(self._binned, part_targets, part_scores)
        self._targets, self._scores = [], []

    def _count(
        self,
        binned: tuple[NDArray[np.int64], NDArray[np.int64]],
        targets: NDArray[np.intp],
        scores: NDArray[np.float64],
    ) -> None:
        """Count samples by class and bin."""
        bins = np.minimum((scores * _BINS).astype(np.intp), _BINS - 1)
        for label in range(self._k):
            is_hit = targets == label
            for counts, mask in zip(binned, (is_hit, ~is_hit), strict=True):
                counts[label] += np.bincount(bins[mask, label], minlength=_BINS)

    def curve(self, label: int) -> PrecisionRecall | None:
        """Return the precision and recall of a class; None if all or no samples belong to it."""
        if not self._n:
            return None
        if self._binned is not None:
            hits, others = (counts[label, ::-1] for counts in self._binned)
            used = np.flatnonzero(hits + others)
            thresholds = (_BINS - 1 - used) / _BINS
            precision_recall = PrecisionRecall(
                thresholds, np.cumsum(hits)[used], np.cumsum(others)[used]
            )
        else:
            scores = np.concatenate([block[:, label] for block in self._scores])
            is_hit = np.concatenate(self._targets) == label
            precision_recall = compute_precision_recall(scores, is_hit)
        return (
            precision_recall
            if precision_recall.hits[-1] and precision_recall.false_alarms[-1]
            else None
        )

    def figures(self, label: int) -> RankingFigures | None:
        """Return the figures of a class; None if all or no samples belong to it."""
        curve = self.curve(label)
        return None if curve is None else compute_figures(curve)


def compute_precision_recall(
    scores: NDArray[np.float64], is_hit: NDArray[np.bool_]
) -> PrecisionRecall:
    """Return precision and recall at each distinct score, given which samples are hits."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(is_hit[order], dtype=np.int64)
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return PrecisionRecall(ordered[last], hits[last], last + 1 - hits[last])


def compute_figures(curve: PrecisionRecall) -> RankingFigures:
    """Compute the ranking figures from precision and recall at all thresholds.

    Average precision is the sum of precisions, each multiplied by the gain in recall. The area
    under the ROC curve is the share of pairs of a hit and a sample of another class in which the
    hit has the larger score; ties count as half [^1].

    References
    ----------
    [^1]: James A. Hanley and Barbara J. McNeil. 1982. The meaning and use of the area under a
    receiver operating characteristic (ROC) curve. Radiology 143(1).

    """
    precision, recall, f1 = curve.precision, curve.recall, curve.f1
    before = np.concatenate([[0], curve.hits[:-1]])
    pairs = (np.diff(curve.false_alarms, prepend=0) * (before + curve.hits)).sum()
    best = int(f1.argmax())
    below = float(curve.thresholds[best + 1]) if best + 1 < len(f1) else 0.0
    return RankingFigures(
        average_precision=float((np.diff(recall, prepend=0.0) * precision).sum()),
        roc_auc=float(pairs / (2 * int(curve.hits[-1]) * int(curve.false_alarms[-1]))),
        recall_at_precision_50=float(recall[precision >= 0.5].max(initial=0.0)),
        recall_at_precision_90=float(recall[precision >= 0.9].max(initial=0.0)),
        best_threshold=_shorten(float(curve.thresholds[best]), below),
        best_f1=float(f1[best]),
    )


def _shorten(threshold: float, below: float) -> float:
    """Return the number with the fewest decimals that is above `below` and at most `threshold`.

    Examples
    --------
    >>> _shorten(0.731298, 0.70), _shorten(0.731298, 0.7312), _shorten(1e-9, 0.0)
    (0.73, 0.73129, 1e-09)

    """
    from decimal import ROUND_FLOOR, Decimal  # lazy import: only evaluations need it

    exact = Decimal(repr(threshold))
    for decimals in range(1, 17):
        short = float(exact.quantize(Decimal(1).scaleb(-decimals), ROUND_FLOOR))
        if short > below:
            return short
    return threshold
