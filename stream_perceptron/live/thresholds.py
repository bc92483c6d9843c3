"""Thresholds for the scores of classes, in place of the largest output."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.live.step_result import StepResult
from stream_perceptron.model.class_weights import list_spellings

_TINY = np.finfo(np.float64).tiny


class Thresholds:
    """Predictions by thresholds.

    Among the classes whose score reaches their threshold, the one with the largest ratio of score
    to threshold is predicted. If there is none, it is the class with the largest output among those
    without a threshold, or among all if all have one.

    Parameters
    ----------
    given
        The threshold of each class, from 0 to 1, by a text of the label.

    Examples
    --------
    >>> thresholds = Thresholds({"yes": 0.2})
    >>> scores = np.array([[0.7, 0.3], [0.9, 0.1]])
    >>> thresholds.choose(["no", "yes"], scores, np.array([0, 0])).tolist()
    [1, 0]

    """

    def __init__(self, given: Mapping[str, float]) -> None:
        self.given = given

    def choose(
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
            The score of each class, NaN if it was unknown; shape (n, k).
        predicted
            The number of the class with the largest output, -1 if none was known; shape (n,).

        """
        limits = np.array([self._find(label) for label in classes], np.float64)
        has_threshold = limits < np.inf
        if not has_threshold.any() or not len(predicted):
            return predicted
        # Scores and thresholds of 0 have a ratio, too.
        ratios = np.where(scores >= limits, (scores + _TINY) / (limits + _TINY), -1.0)
        chosen = predicted.copy()
        if not has_threshold.all():
            others = np.where(has_threshold | np.isnan(scores), -1.0, scores)
            is_replaced = (predicted >= 0) & has_threshold[predicted] & (others.max(axis=1) >= 0)
            chosen[is_replaced] = others.argmax(axis=1)[is_replaced]
        reaches = ratios.max(axis=1) > 0
        chosen[reaches] = ratios.argmax(axis=1)[reaches]
        return chosen

    def _find(self, label: Hashable) -> float:
        """Return the threshold of a label; infinite if it has none."""
        return next(
            (self.given[text] for text in list_spellings(label) if text in self.given), np.inf
        )

    def apply(self, result: StepResult, with_every: bool) -> StepResult:
        """Return a result with the predictions by thresholds and their scores.

        The result has the score of every class, which is left out unless `with_every`.
        """
        scores = result.every_probability
        if scores is None or not scores.shape[1]:
            return replace(result, every_probability=scores if with_every else None)
        predicted = self.choose(result.classes, scores, result.predicted)
        chosen = scores[np.arange(len(predicted)), predicted]
        return replace(
            result,
            predicted=predicted,
            probabilities=np.where(predicted < 0, result.probabilities, chosen),
            every_probability=scores if with_every else None,
        )
