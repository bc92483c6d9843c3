"""Weights of classes: given ones, or ones that balance their frequencies."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BALANCED = 100.0  # the largest factor of a rare class

_NO_COUNTS = np.zeros(0, np.int64)


class ClassWeights:
    """The factors by which the classes of samples multiply the sample weights.

    Parameters
    ----------
    given
        The factor of each class, by label or by the text of the label; others have 1. Or
        "balanced": n / (k * n_class), at most 100, as in scikit-learn[^1], where n is the number of
        labeled samples learned so far, with the present one; n_class that of its class; and k the
        number of classes that these samples have. Sample weights do not enter the counts.
    counts
        How often each class was learned, by the number of the label; only for "balanced".

    Examples
    --------
    >>> balanced = ClassWeights("balanced")
    >>> balanced.compute_factors(np.array([0, 0, 0, 1]), ["no", "yes"]).tolist()
    [1.0, 1.0, 1.0, 2.0]
    >>> given = ClassWeights({"yes": 50, "1": 2})
    >>> given.compute_factors(np.array([0, 1, 2]), ["no", "yes", 1]).tolist()
    [1.0, 50.0, 2.0]

    References
    ----------
    [^1]: Gary King and Langche Zeng. 2001. Logistic regression in rare events data. Political
    Analysis 9(2). https://doi.org/10.1093/oxfordjournals.pan.a004868

    """

    def __init__(
        self, given: str | Mapping[Hashable, float], counts: NDArray[np.int64] = _NO_COUNTS
    ) -> None:
        self.given = given if isinstance(given, str) else dict(given)
        self.counts = counts

    @property
    def is_balanced(self) -> bool:
        """Whether the factors follow from the frequencies of the classes."""
        return self.given == "balanced"

    def compute_factor(self, target: int, label: Hashable) -> float:
        """Return the factor of the next sample, given the number of its label and the label."""
        if not isinstance(self.given, str):
            return self._find(label)
        counts = self.counts
        count = 1 + int(counts[target]) if target < len(counts) else 1
        n_classes = int(np.count_nonzero(counts)) + (count == 1)
        return min((1 + int(counts.sum())) / (n_classes * count), MAX_BALANCED)

    def compute_factors(
        self, targets: NDArray[np.intp], labels: Sequence[Hashable]
    ) -> NDArray[np.float64]:
        """Return the factors of consecutive samples, given the numbers of their labels.

        A sample without a label, whose number is -1, has 1 and is not counted.
        """
        factors = np.ones(len(targets))
        is_labeled = targets >= 0
        of_labeled = targets[is_labeled]
        if not isinstance(self.given, str):
            numbers, places = np.unique(of_labeled, return_inverse=True)
            by_number = [self._find(labels[number]) for number in numbers.tolist()]
            factors[is_labeled] = np.array(by_number, np.float64)[places]
            return factors
        before = self.copy_counts(len(labels))
        order = np.argsort(of_labeled, kind="stable")
        ordered = of_labeled[order]
        # The number of earlier samples of the same class among these.
        earlier = np.empty(len(order), np.int64)
        earlier[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        counts = before[of_labeled] + earlier + 1
        n_classes = np.count_nonzero(before) + np.cumsum(counts == 1)
        n = before.sum() + 1 + np.arange(len(order))
        factors[is_labeled] = np.minimum(n / (n_classes * counts), MAX_BALANCED)
        return factors

    def count(self, targets: NDArray[np.intp]) -> None:
        """Count learned samples, given the numbers of their labels; -1 for none."""
        if self.is_balanced:
            added = np.bincount(targets[targets >= 0], minlength=len(self.counts)).astype(np.int64)
            self.counts = self.copy_counts(len(added)) + added

    def count_one(self, target: int) -> None:
        """Count a learned sample, given the number of its label."""
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

    def _find(self, label: Hashable) -> float:
        """Return the given factor of a label."""
        assert not isinstance(self.given, str)
        return next(
            (float(self.given[n]) for n in (label, *list_spellings(label)) if n in self.given), 1.0
        )


def list_spellings(label: Hashable) -> tuple[str, ...]:
    """Return the spellings of a label, first as in a file.

    Examples
    --------
    >>> list_spellings("yes"), list_spellings(7), list_spellings(True)
    (('yes',), ('7', '7.0'), ('true', 'True'))

    """
    if isinstance(label, bool):
        return str(label).lower(), str(label)
    return (str(label), f"{label}.0") if isinstance(label, int) else (str(label),)


def require_class_weight(given: Any) -> None:
    """Check the parameter class_weight of a perceptron."""
    if given is None or (isinstance(given, str) and given == "balanced"):
        return
    if not isinstance(given, Mapping):
        raise ValueError(
            f'class_weight is {str(given)[:50]!r}: pass "balanced" or a dict of label and weight'
        )
    for label, weight in given.items():
        is_number = isinstance(weight, int | float | np.integer | np.floating)
        if not is_number or isinstance(weight, bool) or not 0 <= weight <= sys.float_info.max:
            raise ValueError(
                f"class_weight of {str(label)[:50]!r} is {str(weight)[:50]}: choose a finite "
                "number of at least 0"
            )
