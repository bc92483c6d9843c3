"""Predictions based on decision thresholds instead of on the largest output."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.live.step_result import StepResult
from stream_perceptron.model.class_weights import list_spellings

_TINY = np.finfo(np.float64).tiny


class Thresholds:
    """Predictions based on decision thresholds.

    Among the classes whose scores reach their thresholds, the class with the largest ratio of score
    to threshold is predicted. If no score reaches its threshold, the prediction is the class with
    the largest output among those without a threshold, or among all classes if each has one.

    Parameters
    ----------
    thresholds
        The decision threshold of each class, from 0 to 1, keyed by a spelling of its label; None
        for no thresholds.

    Examples
    --------
    >>> thresholds = Thresholds({"yes": 0.2})
    >>> scores = np.array([[0.7, 0.3], [0.9, 0.1]])
    >>> thresholds.choose_classes(["no", "yes"], scores, np.array([0, 0])).tolist()
    [1, 0]

    """

    def __init__(self, thresholds: Mapping[str, float] | None) -> None:
        self.thresholds = thresholds or {}

    def choose_classes(
        self,
        classes: Sequence[Hashable],
        scores: NDArray[np.float64],
        predicted: NDArray[np.intp],
    ) -> NDArray[np.intp]:
        """Return the number of the class predicted for each of n samples; -1 if none was known.

        Parameters
        ----------
        classes
            The k classes.
        scores
            The score of each class, NaN if the class was unknown; shape (n, k).
        predicted
            The number of the class with the largest output, -1 if none was known; shape (n,).

        """
        limits = np.array([self._find_threshold(label) for label in classes], np.float64)
        has_threshold = limits < np.inf
        if not has_threshold.any() or not len(predicted):
            return predicted
        # With `_TINY`, the ratio is defined for scores and thresholds of 0, too.
        ratios = np.where(scores >= limits, (scores + _TINY) / (limits + _TINY), -1.0)
        chosen = predicted.copy()
        if not has_threshold.all():
            other_scores = np.where(has_threshold | np.isnan(scores), -1.0, scores)
            is_replaced = (
                (predicted >= 0) & has_threshold[predicted] & (other_scores.max(axis=1) >= 0)
            )
            chosen[is_replaced] = other_scores.argmax(axis=1)[is_replaced]
        reaches = ratios.max(axis=1) > 0
        chosen[reaches] = ratios.argmax(axis=1)[reaches]
        return chosen

    def _find_threshold(self, label: Hashable) -> float:
        """Return the threshold of a label; infinity if it has none."""
        return next(
            (self.thresholds[text] for text in list_spellings(label) if text in self.thresholds),
            np.inf,
        )

    def apply(self, result: StepResult, with_all_scores: bool) -> StepResult:
        """Return a result with the predictions based on thresholds, and their scores.

        `result` contains the scores of all classes, which are removed unless `with_all_scores` is
        true. Without thresholds, it is returned as it is.
        """
        if not self.thresholds:
            return result
        scores = result.all_scores
        if scores is None or not scores.shape[1]:
            return replace(result, all_scores=scores if with_all_scores else None)
        predicted = self.choose_classes(result.classes, scores, result.predicted)
        chosen = scores[np.arange(len(predicted)), predicted]
        return replace(
            result,
            predicted=predicted,
            scores=np.where(predicted < 0, result.scores, chosen),
            all_scores=scores if with_all_scores else None,
        )
