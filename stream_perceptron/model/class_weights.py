"""Class weights: factors chosen by the user, or factors that balance the class frequencies."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

MAX_BALANCED_FACTOR = 100.0  # the largest factor for a rare class

_NO_COUNTS = np.zeros(0, np.int64)


class ClassWeights:
    """Factors by which sample weights are multiplied, depending on the class of the sample.

    Parameters
    ----------
    class_weight
        The factor for each class, by label or the text of the label; the factor for other classes
        is 1. "balanced" means n / (k * n_class), as in scikit-learn[^1], but at most 100: n is the
        number of labeled samples learned from so far, including the current sample; n_class is the
        number of these samples in the current sample's class; and k is the number of different
        classes among them. Sample weights do not affect the counts.
    counts
        The number of samples of each class that were learned from, in the order of the labels; only
        for "balanced".

    Examples
    --------
    >>> balanced = ClassWeights("balanced")
    >>> balanced.compute_factors(np.array([0, 0, 0, 1]), ["no", "yes"]).tolist()
    [1.0, 1.0, 1.0, 2.0]
    >>> class_weight = ClassWeights({"yes": 50, "1": 2})
    >>> class_weight.compute_factors(np.array([0, 1, 2]), ["no", "yes", 1]).tolist()
    [1.0, 50.0, 2.0]

    References
    ----------
    [^1]: Gary King and Langche Zeng. 2001. Logistic regression in rare events data. Political
    Analysis 9(2). https://doi.org/10.1093/oxfordjournals.pan.a004868

    """

    def __init__(
        self, class_weight: str | Mapping[Hashable, float], counts: NDArray[np.int64] = _NO_COUNTS
    ) -> None:
        self.class_weight = class_weight if isinstance(class_weight, str) else dict(class_weight)
        self.counts = counts

    @property
    def is_balanced(self) -> bool:
        """Whether the factors follow from the frequencies of the classes."""
        return self.class_weight == "balanced"

    def compute_factor(self, target: int, label: Hashable) -> float:
        """Return the factor for the next sample, given its label and the label's index."""
        if not isinstance(self.class_weight, str):
            return self._find_factor(label)
        counts = self.counts
        count = 1 + int(counts[target]) if target < len(counts) else 1
        n_classes = int(np.count_nonzero(counts)) + (count == 1)
        return min((1 + int(counts.sum())) / (n_classes * count), MAX_BALANCED_FACTOR)

    def compute_factors(
        self, targets: NDArray[np.intp], labels: Sequence[Hashable]
    ) -> NDArray[np.float64]:
        """Return the factors for consecutive samples, given the indices of their labels.

        A sample without a label has the index -1 and the factor 1, and is not counted.
        """
        factors = np.ones(len(targets))
        is_labeled = targets >= 0
        labeled_targets = targets[is_labeled]
        if not isinstance(self.class_weight, str):
            unique, inverse = np.unique(labeled_targets, return_inverse=True)
            unique_factors = [self._find_factor(labels[target]) for target in unique.tolist()]
            factors[is_labeled] = np.array(unique_factors, np.float64)[inverse]
            return factors
        before = self.copy_counts(len(labels))
        order = np.argsort(labeled_targets, kind="stable")
        ordered = labeled_targets[order]
        # The number of earlier samples of the same class among these samples.
        earlier = np.empty(len(order), np.int64)
        earlier[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        counts = before[labeled_targets] + earlier + 1
        n_classes = np.count_nonzero(before) + np.cumsum(counts == 1)
        n = before.sum() + 1 + np.arange(len(order))
        factors[is_labeled] = np.minimum(n / (n_classes * counts), MAX_BALANCED_FACTOR)
        return factors

    def count_samples(self, targets: NDArray[np.intp]) -> None:
        """Count samples that were learned from, given their labels' indices; -1 means no label."""
        if self.is_balanced:
            added = np.bincount(targets[targets >= 0], minlength=len(self.counts)).astype(np.int64)
            self.counts = self.copy_counts(len(added)) + added

    def count_sample(self, target: int) -> None:
        """Count a sample that was learned from, given the index of its label."""
        if self.is_balanced:
            if target >= len(self.counts):
                self.counts = self.copy_counts(target + 1)
            self.counts[target] += 1

    def copy_counts(self, k: int) -> NDArray[np.int64]:
        """Return a copy of the counts of the first k labels."""
        counts = np.zeros(k, np.int64)
        known = self.counts[:k]
        counts[: len(known)] = known
        return counts

    def _find_factor(self, label: Hashable) -> float:
        """Return the factor given for a label, 1 by default."""
        assert not isinstance(self.class_weight, str)
        for name in (label, *list_spellings(label)):
            if name in self.class_weight:
                return float(self.class_weight[name])
        return 1.0


def list_spellings(label: Hashable) -> tuple[str, ...]:
    """Return the spellings of a label, beginning with the one used in files.

    Examples
    --------
    >>> list_spellings("yes"), list_spellings(7), list_spellings(True)
    (('yes',), ('7', '7.0'), ('true', 'True'))

    """
    if isinstance(label, bool):
        return str(label).lower(), str(label)
    return (str(label), f"{label}.0") if isinstance(label, int) else (str(label),)


def require_class_weight(class_weight: object) -> None:
    """Check the parameter class_weight of a perceptron."""
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return
    if not isinstance(class_weight, Mapping):
        raise ValueError(
            f"class_weight is {str(class_weight)[:50]!r}: "
            'pass "balanced" or a dict of weights by label'
        )
    for label, weight in class_weight.items():
        is_number = isinstance(weight, int | float | np.integer | np.floating)
        if not is_number or isinstance(weight, bool) or not 0 <= weight <= sys.float_info.max:
            raise ValueError(
                f"class_weight of {str(label)[:50]!r} is {str(weight)[:50]}: choose a finite "
                "number greater than or equal to 0"
            )


def format_class_weight(class_weight: str | Mapping[Hashable, float]) -> str:
    """Return class weights as text.

    Examples
    --------
    >>> format_class_weight({"spam": 2.0, True: 0.5})
    'spam=2, true=0.5'

    """
    if isinstance(class_weight, str):
        return class_weight
    pairs = class_weight.items()
    return ", ".join(f"{list_spellings(label)[0]}={weight:g}" for label, weight in pairs)
