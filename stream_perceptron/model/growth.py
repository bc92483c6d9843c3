"""The names that rows add to a model."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import count, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.rows import Samples
from stream_perceptron.model.vocabulary import NamesPrefix, Vocabulary
from stream_perceptron.model.weights import count_weights

_NEW_LABEL = -2  # marks a new label, which has no index yet
_NO_ROWS = np.empty(0, np.intp)


class Growth(NamedTuple):
    """The new labels and features that rows add to a model, in order.

    A labeled row adds its label and its features, except names that the model or an earlier labeled
    row already contains. An unlabeled row adds nothing.

    Examples
    --------
    >>> from stream_perceptron.model.rows import Rows
    >>> rows = Rows.from_rows([("b", "a"), ("c", "a")], [np.ones(2), np.ones(2)])
    >>> samples = Samples(rows, ["left", "right"], np.ones(2))
    >>> growth = Growth.plan(samples, Vocabulary(["left"]), Vocabulary(["z"]))
    >>> growth.labels, growth.features, growth.shape_after(1)
    (['right'], ['b', 'a', 'c'], (1, 3))

    """

    shape: tuple[int, int]  # the numbers of labels and features before the first row
    targets: NDArray[np.intp]  # the index of each row's label, -1 if it is missing; shape (n,)
    # The feature index of each name in the rows, -1 if the name is neither known nor added; shape
    # (len(names),).
    feature_ids: NDArray[np.int32]
    is_labeled: bool  # whether any row has a label
    has_looked_up: bool = False  # whether the names in the rows had to be looked up
    adds_names: bool = False  # whether the rows add any label or feature
    labels: Sequence[Hashable] = ()  # the new labels
    label_rows: NDArray[np.intp] = _NO_ROWS  # the rows that add the new labels, in ascending order
    features: Sequence[Hashable] = ()  # the new features
    feature_rows: NDArray[np.intp] = _NO_ROWS  # rows that add the new features, in ascending order

    @classmethod
    def plan(cls, samples: Samples, labels: Vocabulary, features: Vocabulary) -> Growth:
        """Determine the labels and features that samples add to those of a model."""
        rows = samples.rows
        find_label = labels.ids_by_name.get
        ids = [-1 if label is None else find_label(label, _NEW_LABEL) for label in samples.labels]
        targets, is_labeled = np.array(ids, np.intp), max(ids, default=-1) >= 0
        shape, unknown, new_labels = (len(labels.names), len(features.names)), _NO_ROWS, {}
        if _NEW_LABEL in ids:
            new_labels, is_labeled = _number_new_labels(samples.labels, targets, shape[0]), True
        feature_ids = features.get_known_ids(rows.names)
        has_looked_up = feature_ids is None
        if feature_ids is None:
            feature_ids = features.find_ids(rows.names)
            unknown = np.flatnonzero(feature_ids < 0)
        if not (len(unknown) or new_labels):
            return cls(shape, targets, feature_ids, is_labeled, has_looked_up)
        new_features: list[Hashable] = []
        feature_rows = _NO_ROWS
        if len(unknown):
            if rows.added_rows is None:
                name_ids, feature_rows = rows.find_first_rows(unknown, targets >= 0)
            else:
                first = len(rows.names) - len(rows.added_rows)
                name_ids = unknown[unknown >= first]
                feature_rows = rows.added_rows[name_ids - first]
            all_names = rows.names.all if isinstance(rows.names, NamesPrefix) else rows.names
            new_features = [all_names[i] for i in name_ids.tolist()]
            feature_ids = feature_ids.copy()
            feature_ids[name_ids] = len(features) + np.arange(len(name_ids))
        label_rows = np.array([*new_labels.values()], np.intp)
        adds_names = bool(new_labels or new_features)
        return cls(
            shape, targets, feature_ids, is_labeled, has_looked_up, adds_names, list(new_labels),
            label_rows, new_features, feature_rows,
        )  # fmt: skip

    def split_rows(self, n: int) -> list[tuple[int, int]]:
        """Split the first n rows that a new model learns into parts (start, end).

        The first labeled row is a part of its own, because the initial weights of its names are
        drawn, whereas those of later names are 0.
        """
        first = np.flatnonzero(self.targets[:n] >= 0)[:1]
        return list(pairwise(sorted({0, n, *first.tolist(), *(first + 1).tolist()})))

    def find_new_names(self, start: int, end: int) -> tuple[Sequence[Hashable], Sequence[Hashable]]:
        """Return the features and the labels that the rows [start, end) add."""
        (k, d), (first_k, first_d), (last_k, last_d) = map(self.shape_after, (0, start, end))
        return self.features[first_d - d : last_d - d], self.labels[first_k - k : last_k - k]

    def shape_after(self, end: int) -> tuple[int, int]:
        """Return the numbers of labels and features after the first `end` rows."""
        k, d = self.shape
        return (
            k + int(np.searchsorted(self.label_rows, end)),
            d + int(np.searchsorted(self.feature_rows, end)),
        )

    def count_names(self) -> list[NDArray[np.intp] | None]:
        """Return the numbers of labels and of features before each row, and after the last one.

        Instead of numbers that stay the same, return None.
        """
        ends = np.arange(len(self.targets) + 1)
        pairs = zip(self.shape, (self.label_rows, self.feature_rows), strict=True)
        return [n + np.searchsorted(rows, ends) if len(rows) else None for n, rows in pairs]

    def count_fitting_rows(self, max_weights: int) -> int:
        """Count the rows before the first row that would make the model too large."""
        n = len(self.targets)
        if count_weights(*self.shape_after(n)) <= max_weights:
            return n
        rows = sorted({*self.label_rows.tolist(), *self.feature_rows.tolist()})
        is_too_large = [count_weights(*self.shape_after(row + 1)) > max_weights for row in rows]
        return int(rows[is_too_large.index(True)])


def _number_new_labels(
    labels: Sequence[Hashable], targets: NDArray[np.intp], n_known: int
) -> dict[Hashable, int]:
    """Set the targets of rows with new labels; return the first row of each of these labels."""
    new_rows = np.flatnonzero(targets == _NEW_LABEL).tolist()
    first_rows: dict[Hashable, int] = {}
    for row in new_rows:
        first_rows.setdefault(labels[row], row)
    ids_by_name = dict(zip(first_rows, count(n_known)))
    targets[new_rows] = [ids_by_name[labels[row]] for row in new_rows]
    return first_rows
