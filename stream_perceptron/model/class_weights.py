"""Class weights: factors chosen by the user, or factors that balance the class frequencies."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from stream_perceptron.model import kernel


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

    Attributes
    ----------
    counts : ndarray of int, shape (k,), or None
        The number of samples of each class that were learned from, by the number of the label; only
        for "balanced".
    factors : ndarray of float, shape (k,), or None
        The given factors, by the number of the label; None for "balanced".

    Examples
    --------
    >>> balanced = ClassWeights("balanced")
    >>> balanced.extend(["no", "yes"])
    >>> balanced.counts[:] = 3, 0
    >>> balanced.compute_factor(1)
    2.0
    >>> class_weight = ClassWeights({"yes": 50, "1": 2})
    >>> class_weight.extend(["no", "yes", 1])
    >>> class_weight.factors.tolist()
    [1.0, 50.0, 2.0]

    References
    ----------
    [^1]: Gary King and Langche Zeng. 2001. Logistic regression in rare events data. Political
    Analysis 9(2). https://doi.org/10.1093/oxfordjournals.pan.a004868

    """

    def __init__(self, class_weight: str | Mapping[Hashable, float]) -> None:
        self.class_weight = class_weight if isinstance(class_weight, str) else dict(class_weight)
        is_balanced = isinstance(class_weight, str)
        self.counts = np.zeros(0, np.int64) if is_balanced else None
        self.factors = None if is_balanced else np.zeros(0)

    def extend(self, labels: Sequence[Hashable]) -> None:
        """Add labels to the known ones."""
        if self.counts is not None:
            self.counts = np.concatenate([self.counts, np.zeros(len(labels), np.int64)])
        if self.factors is not None:
            self.factors = np.concatenate([self.factors, [*map(self._find_factor, labels)]])

    def truncate(self, k: int) -> None:
        """Keep only the first k labels."""
        self.counts = None if self.counts is None else self.counts[:k]
        self.factors = None if self.factors is None else self.factors[:k]

    def compute_factor(self, target: int) -> float:
        """Return the factor for the next sample, given the number of its label."""
        return kernel.compute_class_factor(self, target)

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
