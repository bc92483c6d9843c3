"""The metrics of a model on labeled samples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from stream_perceptron.live.metrics import Confusion
from stream_perceptron.live.ranking import Ranking, RankingFigures
from stream_perceptron.live.step_result import StepResult

_MAX_MATRIX_CLASSES = 1000  # classes in the confusion matrix


class Evaluation:
    """Counts predictions by label, and scores by class; labels may be unknown to the model.

    Parameters
    ----------
    classes
        The classes of the model. If the results have all scores, samples are ranked by them.

    Attributes
    ----------
    confusion
        The counts of (label, prediction) pairs; the numbers of the classes are their indices.
    ranking
        The scores of the classes.
    n_unlabeled, n_skipped
        The numbers of unlabeled and of rejected rows.

    """

    def __init__(self, classes: Sequence[Hashable]) -> None:
        self.classes = list(classes)
        self.confusion, self.ranking = Confusion(), Ranking(len(classes))
        self.n_unlabeled = self.n_skipped = 0
        # The classes, None (the prediction of a model without classes), and further labels.
        self._numbers = {label: i for i, label in enumerate([*classes, None])}

    def update(self, result: StepResult) -> None:
        """Count the labeled samples of a batch, and the rows that are unlabeled or rejected."""
        labels, predictions, numbers = result.labels, result.predictions, self._numbers
        labeled = [i for i, label in enumerate(labels) if label is not None]
        # Sorting breaks ties for the majority class deterministically.
        for label in sorted({*labels, *predictions} - numbers.keys(), key=repr):
            numbers[label] = len(numbers)
        targets = np.array([numbers[labels[i]] for i in labeled], np.intp)
        predicted = np.array([numbers[predictions[i]] for i in labeled], np.intp)
        if result.all_scores is not None:
            self.ranking.update(targets, result.all_scores[labeled])
        self.confusion.update(targets, predicted)
        self.n_unlabeled += len(labels) - len(labeled)
        self.n_skipped += len(result.rejected)

    def figures(self) -> dict[str, Any]:
        """Return the figures for all samples, each class and each (label, prediction) pair."""
        confusion, labels = self.confusion, list(self._numbers)
        unknown = sorted(self._numbers.keys() - {*self.classes, None}, key=repr)
        order = [self._numbers[label] for label in [*self.classes, *unknown]]
        metrics = confusion.compute_metrics(len(labels))
        is_small = len(order) <= _MAX_MATRIX_CLASSES
        return {
            "samples": confusion.tested,
            **confusion.compute_figures(labels),
            "classes": [labels[i] for i in order],
            "confusion": confusion.matrix(order).tolist() if is_small else None,
            "pairs": [[labels[i], labels[j], n] for i, j, n in confusion.pairs.tolist()],
            "per_class": [
                {
                    "class": labels[i],
                    "precision": float(metrics.precision[i]),
                    "recall": float(metrics.recall[i]),
                    "samples": int(metrics.support[i]),
                    **self._compute_ranking_figures(i),
                }
                for i in order
            ],
            "unlabeled": self.n_unlabeled,
            "skipped": self.n_skipped,
        }

    def _compute_ranking_figures(self, label: int) -> dict[str, float | None]:
        """Return the metrics for samples ranked by the score of a class."""
        figures = self.ranking.figures(label) if label < len(self.classes) else None
        return dict.fromkeys(RankingFigures._fields) if figures is None else figures._asdict()
