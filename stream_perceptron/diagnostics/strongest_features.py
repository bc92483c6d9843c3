"""The features with the largest weights of each class."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from stream_perceptron.perceptron import SGDPerceptron


def find_strongest_features(
    model: SGDPerceptron, label_id: int, n: int
) -> list[tuple[Hashable, float]]:
    """Return the n features with the largest absolute weights for a label, with their weights.

    Examples
    --------
    >>> model = SGDPerceptron(lr=1.0, seed=0)
    >>> for x, y in [({"a": 1.0}, "u"), ({"a": -1.0, "b": 0.5}, "v")] * 20:
    ...     model.learn_one(x, y)
    >>> [name for name, _ in find_strongest_features(model, 0, 1)]
    ['a']

    """
    features, weights = model.features_, model.weights[label_id]
    sizes, n = np.abs(weights), min(n, len(weights))
    smallest = np.partition(sizes, -n)[-n] if n else 0.0
    strongest = np.flatnonzero(sizes >= smallest)
    order = strongest[np.argsort(-sizes[strongest], kind="stable")][:n].tolist()
    return [(features[i], float(weights[i])) for i in order]
