"""The outputs for the most recent samples, from which the ROC AUC of a class is computed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.live.metrics import WINDOW
from stream_perceptron.live.ranking import compute_figures, compute_precision_recall
from stream_perceptron.model import kernel
from stream_perceptron.model.activations import Activation

# For n samples: the numbers of their labels, shape (n,), and their net inputs, shape (n, k).
Outputs: TypeAlias = tuple[NDArray[np.intp], NDArray[np.float64]]

_MAX_CLASSES = 1000  # outputs for more classes are not kept
_MAX_UNTRIMMED = 2 * WINDOW  # samples, because trimming once costs hardly more than adding one


class RecentScores:
    """The outputs for the last 1,000 labeled samples; they are not saved.

    Examples
    --------
    >>> from stream_perceptron.model.activations import get_activation
    >>> recent = RecentScores()
    >>> recent.add([(np.array([0, 1, -1, 1]), np.array([[2.0, -2], [0, 0], [0, 0], [-1, 3]]))])
    >>> len(recent), recent.compute_auc(1, get_activation("sigmoid"))
    (3, 1.0)

    """

    def __init__(self) -> None:
        self._parts: list[Outputs] = []  # may include older and unlabeled samples
        self._n = 0  # the number of samples in these parts

    def __len__(self) -> int:
        self._trim()
        return self._n

    def add(self, parts: Iterable[Outputs]) -> None:
        """Add the outputs for samples, in order."""
        for targets, nets in parts:
            if nets.shape[1] > _MAX_CLASSES:
                self._parts, self._n = [], 0
                continue
            self._parts.append((targets, nets))
            self._n += len(targets)
        if self._n > _MAX_UNTRIMMED:
            self._trim()

    def _trim(self) -> None:
        """Keep only the last labeled samples, as one part for each number of classes."""
        groups = groupby(self._parts, lambda part: part[1].shape[1])
        parts = [tuple(map(np.concatenate, zip(*group, strict=True))) for _, group in groups]
        self._parts, self._n = [], 0
        for targets, nets in reversed(parts):
            labeled = np.flatnonzero(targets >= 0)[self._n - WINDOW :]
            if self._n < WINDOW and len(labeled):
                self._parts.insert(0, (targets[labeled], nets[labeled]))
                self._n += len(labeled)

    def compute_auc(self, label: int, activation: Activation) -> float | None:
        """Return the area under the ROC curve of a class against all others.

        Return None if all or none of these samples belong to the class. Samples that came before
        the class was known are left out.
        """
        self._trim()
        known_parts = [(targets, nets) for targets, nets in self._parts if label < nets.shape[1]]
        if not known_parts:
            return None
        is_hit = np.concatenate([targets == label for targets, _ in known_parts])
        if is_hit.all() or not is_hit.any():
            return None
        scores = [kernel.compute_scores(activation, nets)[:, label] for _, nets in known_parts]
        return compute_figures(compute_precision_recall(np.concatenate(scores), is_hit)).roc_auc
