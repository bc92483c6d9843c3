"""The names that rows add to a model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from itertools import count, pairwise, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.rows import Rows, Samples
from stream_perceptron.model.vocabulary import (
    FirstNames,
    Vocabulary,
    argsort_names,
    require_short,
)
from stream_perceptron.model.weights import count_weights

_NEW = -2  # stands for the number of a new label
_NO_ROWS = np.empty(0, np.intp)


class Growth(NamedTuple):
    """The new labels and features that rows add to a model, in order.

    A labeled row adds its label, and those of its features that no earlier row had, in natural
    order. An unlabeled row adds nothing.

    Examples
    --------
    >>> rows = Rows.from_rows([("b", "a"), ("c", "a")], [np.ones(2), np.ones(2)])
    >>> samples = Samples(rows, ["left", "right"], np.ones(2))
    >>> growth = Growth.plan(samples, Vocabulary(["left"]), Vocabulary(["z"]))
    >>> growth.labels, growth.features, growth.shape_at(1), growth.split(2, is_new=False)
    (['right'], ['a', 'b', 'c'], (1, 3), [(0, 1), (1, 2)])

    """

    shape: tuple[int, int]  # the numbers of labels and of features before
    targets: NDArray[np.intp]  # the number of each row's label, -1 without one; shape (n,)
    # The feature of each of the rows' names, -1 if none is added; shape (len(names),).
    feature_ids: NDArray[np.int32]
    labels: Sequence[Hashable] = ()  # the new labels
    label_rows: NDArray[np.intp] = _NO_ROWS  # the row that adds each, ascending
    features: Sequence[Hashable] = ()  # the new features
    feature_rows: NDArray[np.intp] = _NO_ROWS  # the row that adds each, ascending

    @classmethod
    def plan(cls, samples: Samples, labels: Vocabulary, features: Vocabulary) -> Growth:
        """Return the growth of a model with some labels and features by some samples."""
        rows = samples.rows
        targets, new_labels = _number_labels(samples.labels, labels)
        feature_ids = features.numbers_of(rows.names)
        shape, unknown = (len(labels), len(features)), _NO_ROWS
        if not features.knows(rows.names):
            unknown = np.flatnonzero(feature_ids < 0)
        if not (len(unknown) or new_labels):
            return cls(shape, targets, feature_ids)
        new_features: list[Hashable] = []
        feature_rows = _NO_ROWS
        if len(unknown):
            name_ids, new_features, feature_rows = _order_features(rows, unknown, targets >= 0)
            feature_ids = feature_ids.copy()
            feature_ids[name_ids] = len(features) + np.arange(len(name_ids))
        require_short([*new_labels, *new_features])
        label_rows = np.array([*new_labels.values()], np.intp)
        return cls(
            shape, targets, feature_ids, list(new_labels), label_rows, new_features, feature_rows
        )

    def split(self, n: int, is_new: bool) -> list[tuple[int, int]]:
        """Return the first n rows as parts (start, end), each of which a kernel learns at once.

        A row with a new label begins a part. If the model `is_new`, so that the names of the first
        labeled row get other weights than later ones, this row is a part.
        """
        if n and not (self.labels or is_new):
            return [(0, n)]
        bounds = {0, *self.label_rows.tolist()}
        if is_new and len(labeled := np.flatnonzero(self.targets >= 0)):
            first = int(labeled[0])
            bounds |= {first, first + 1}
        return list(pairwise(sorted({bound for bound in bounds if bound < n} | {n})))

    def names_in(self, start: int, end: int) -> tuple[Sequence[Hashable], Sequence[Hashable]]:
        """Return the features and the labels that the rows [start, end) add."""
        if not (self.labels or self.features):
            return (), ()
        (k, d), (first_k, first_d), (last_k, last_d) = map(self.shape_at, (0, start, end))
        return self.features[first_d - d : last_d - d], self.labels[first_k - k : last_k - k]

    def shape_at(self, end: int) -> tuple[int, int]:
        """Return the numbers of labels and of features when the first rows are learned."""
        if not (self.labels or self.features):
            return self.shape
        k, d = self.shape
        return (
            k + int(np.searchsorted(self.label_rows, end)),
            d + int(np.searchsorted(self.feature_rows, end)),
        )

    def count_fitting_rows(self, max_weights: int) -> int:
        """Return the number of rows before the first that would make the model too large."""
        n = len(self.targets)
        if count_weights(*self.shape_at(n)) <= max_weights:
            return n
        rows = sorted({*self.label_rows.tolist(), *self.feature_rows.tolist()})
        sizes = (count_weights(*self.shape_at(row + 1)) for row in rows)
        return int(rows[bisect_right(list(sizes), max_weights)])


def _number_labels(
    labels: Sequence[Hashable], vocabulary: Vocabulary
) -> tuple[NDArray[np.intp], dict[Hashable, int]]:
    """Return the number of each label, and the first row of each new label."""
    targets = np.fromiter(map(vocabulary.numbers.get, labels, repeat(_NEW)), np.intp, len(labels))
    if not np.count_nonzero(targets == _NEW):
        return targets, {}
    targets[[label is None for label in labels]] = -1
    new_rows = np.flatnonzero(targets == _NEW).tolist()
    first_rows: dict[Hashable, int] = {}
    for row in new_rows:
        first_rows.setdefault(labels[row], row)
    numbers = dict(zip(first_rows, count(len(vocabulary)), strict=False))
    targets[new_rows] = [numbers[labels[row]] for row in new_rows]
    return targets, first_rows


def _order_features(
    rows: Rows, name_ids: NDArray[np.intp], is_labeled: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], list[Hashable], NDArray[np.intp]]:
    """Return the names that labeled rows add, in order, as IDs and as names, and their rows."""
    first_rows = rows.find_first_rows(name_ids, is_labeled)
    is_added = first_rows >= 0
    name_ids, first_rows = name_ids[is_added], first_rows[is_added]
    all_names = rows.names.all if isinstance(rows.names, FirstNames) else rows.names
    names = [all_names[i] for i in name_ids.tolist()]
    order = argsort_names(names, first_rows)
    return name_ids[order], [names[i] for i in order.tolist()], first_rows[order]
