"""Metrics of samples ranked by class score: precision and recall at any decision threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_CLASSES = 100  # the maximum number of classes that are ranked; each takes up to 4.1 MB


class PrecisionRecall(NamedTuple):
    """The numbers of samples of a class, and of all other classes, that reach each threshold."""

    thresholds: NDArray[np.float64]  # the smallest scores of the bins in use, descending
    max_scores: NDArray[np.float64]  # the largest scores of these bins
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
    """The scores of classes for samples with known labels, counted in bins.

    The smallest score of each bin, or its distance from 1, has at most four significant digits.
    With more than `MAX_CLASSES` classes, there are no figures.

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
        n_ranked = n_classes if n_classes <= MAX_CLASSES else 0
        self._edges = _compute_bin_edges()
        # The numbers of samples by class and bin: those of other classes, and those of the class.
        self._counts = np.zeros((n_ranked, 2, len(self._edges) - 1), np.int64)

    def update(self, targets: NDArray[np.intp], scores: NDArray[np.float64]) -> None:
        """Add samples.

        Parameters
        ----------
        targets
            The number of each label, shape (n,); it may be k or more for a class without scores.
        scores
            The score of each class, from 0 to 1; shape (n, k).

        """
        labels = np.arange(len(self._counts))
        is_hit = targets[:, np.newaxis] == labels
        bins = np.searchsorted(self._edges, scores[:, : len(labels)], "right") - 1
        np.add.at(self._counts, (labels, is_hit.astype(np.intp), bins), 1)

    def curve(self, label: int) -> PrecisionRecall | None:
        """Return the precision and recall of a class; None if all or no samples belong to it."""
        if label >= len(self._counts):
            return None
        others, hits = self._counts[label, :, ::-1]
        used = np.flatnonzero(hits + others)
        edges = self._edges
        curve = PrecisionRecall(
            edges[:-1][::-1][used],
            np.nextafter(edges[1:], 0.0)[::-1][used],
            np.cumsum(hits)[used],
            np.cumsum(others)[used],
        )
        return curve if hits.any() and others.any() else None

    def figures(self, label: int) -> RankingFigures | None:
        """Return the figures of a class; None if all or no samples belong to it."""
        curve = self.curve(label)
        return None if curve is None else compute_figures(curve)


def _compute_bin_edges() -> NDArray[np.float64]:
    """Return the smallest score of each bin and, after the last, the number just above 1."""
    digits, powers = np.arange(1000.0, 10_000.0), 10.0 ** np.arange(4, 21)[:, np.newaxis]
    low, high = digits / powers, (powers - digits) / powers
    ends = [0.0, np.nextafter(1.0, 2.0)]
    return np.unique(np.concatenate([ends, low[low <= 0.5], high[high > 0.5]]))


def compute_figures(curve: PrecisionRecall) -> RankingFigures:
    """Compute the ranking figures from precision and recall at all thresholds.

    Average precision is the sum of precisions, each multiplied by the gain in recall. The area
    under the ROC curve is the share of pairs of a sample of the class and a sample of another class
    in which the former has the larger score; ties count as half [^1].

    References
    ----------
    [^1]: James A. Hanley and Barbara J. McNeil. 1982. The meaning and use of the area under a
    receiver operating characteristic (ROC) curve. Radiology 143(1).

    """
    precision, recall, f1 = curve.precision, curve.recall, curve.f1
    before = np.concatenate([[0], curve.hits[:-1]])
    pairs = (np.diff(curve.false_alarms, prepend=0) * (before + curve.hits)).sum()
    best = int(f1.argmax())
    below = float(curve.max_scores[best + 1]) if best + 1 < len(f1) else 0.0
    return RankingFigures(
        average_precision=float((np.diff(recall, prepend=0.0) * precision).sum()),
        roc_auc=float(pairs / (2 * int(curve.hits[-1]) * int(curve.false_alarms[-1]))),
        recall_at_precision_50=float(recall[precision >= 0.5].max(initial=0.0)),
        recall_at_precision_90=float(recall[precision >= 0.9].max(initial=0.0)),
        best_threshold=_round_threshold(float(curve.thresholds[best]), below),
        best_f1=float(f1[best]),
    )


def _round_threshold(threshold: float, lower_bound: float) -> float:
    """Return the number with the fewest decimals above `lower_bound` and up to `threshold`.

    Examples
    --------
    >>> [_round_threshold(0.731298, bound) for bound in (0.65, 0.7312)]
    [0.7, 0.73129]
    >>> _round_threshold(1e-9, 0.0)
    1e-09

    """
    from decimal import ROUND_FLOOR, Decimal  # lazy import: only evaluations need it

    exact = Decimal(repr(threshold))
    for decimals in range(1, 17):
        short = float(exact.quantize(Decimal(1).scaleb(-decimals), ROUND_FLOOR))
        if short > lower_bound:
            return short
    return threshold
