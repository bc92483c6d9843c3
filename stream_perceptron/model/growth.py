"""The names that a model knows, and its growth by rows with new ones."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, repeat

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.kernel.types import Counters
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.vocabulary import (
    FirstNames,
    Vocabulary,
    natural_key,
    require_short,
)
from stream_perceptron.model.weights import WeightStore

Places = NDArray[np.intp]

UNKNOWN = -2  # stands for the number of a new label


@dataclass(frozen=True, eq=False, repr=False)
class Growth:
    """The new features, in the order of growth, and the new labels that some rows bring."""

    names: list[Hashable]
    places: Places  # the place of each in the rows' names
    brought_by: Places  # the row that brings each, ascending
    labels: dict[int, Hashable]  # by the row that brings each

    @classmethod
    def plan(
        cls, rows: Rows, labels: Sequence[Hashable], targets: Places, columns: NDArray[np.int32]
    ) -> Growth:
        """Return the growth by rows, given the numbers of their labels and of their names.

        New names of one row are added in natural order.
        """
        if columns.min(initial=0) >= 0 and targets.min(initial=0) > UNKNOWN:
            return _NOTHING
        fresh = {labels[i] for i in np.flatnonzero(targets == UNKNOWN).tolist()}
        require_short(fresh)
        new_labels = {labels.index(label): label for label in fresh}
        unknown = np.flatnonzero(columns < 0)
        first = rows.first_rows(unknown, targets != -1) if len(unknown) else unknown
        order = np.argsort(first, kind="stable")[np.count_nonzero(first < 0) :]
        new, brought_by = unknown[order], first[order]
        every = rows.names.all if isinstance(rows.names, FirstNames) else rows.names
        names = [every[i] for i in new.tolist()]
        require_short(names)
        keys = list(zip(brought_by.tolist(), map(natural_key, names), strict=True))
        sorted_places = sorted(range(len(names)), key=keys.__getitem__)
        return cls(
            [names[i] for i in sorted_places], new[sorted_places], brought_by, new_labels
        )  # fmt: skip

    def parts(self, n: int) -> list[tuple[int, int]]:
        """Return n rows as parts (start, end), the first last; a new label begins a new part.

        The kernel learns all rows of a part at once.
        """
        return list(pairwise(sorted({0, n, *self.labels})))[::-1]

    def within(self, start: int, end: int) -> slice:
        """Return the slice of `names` that the rows [start, end) bring."""
        if not self.names:
            return slice(0, 0)
        first, last = np.searchsorted(self.brought_by, [start, end]).tolist()
        return slice(first, last)

    def widths(self, start: int, end: int, d: int) -> Places | None:
        """Return the number of known features before and after each row; None if none is new."""
        new = self.within(start, end)
        if new.stop == new.start:
            return None
        known = np.searchsorted(self.brought_by[new], np.arange(start, end + 1))
        return np.asarray(d + known)

    def middle(self, start: int, end: int) -> int:
        """Return the middle one of the rows with new names; `start` if the part cannot be split."""
        growing = np.unique(self.brought_by[self.within(start, end)]).tolist()
        return growing[len(growing) // 2] if growing else start


_NOTHING = Growth([], np.empty(0, np.intp), np.empty(0, np.intp), {})


class Known:
    """Labels and features with their weights, which grow and shrink together.

    Names beyond the shape of the weights are left over from interrupted growth. They are ignored,
    and the next growth removes them.
    """

    def __init__(self, store: WeightStore) -> None:
        self.store = store
        self.labels = Vocabulary()
        self.features = Vocabulary()
        self._label_types: set[type] = set()

    def add(self, features: Sequence[Hashable], labels: Sequence[Hashable]) -> None:
        """Add new features and new labels with their initial weights."""
        k, d = self.store.shape
        # The weights come first: if memory is short, no name is left without weights.
        grown = self.store.grown(k + len(labels), d + len(features))
        self.take(features, labels)
        self.store.use(grown)

    def take(self, features: Sequence[Hashable], labels: Sequence[Hashable]) -> None:
        """Add names whose weights exist or are about to be installed."""
        self.labels.extend(labels)
        self.features.extend(features)
        self._label_types |= set(map(type, labels))

    def targets_of(self, labels: Sequence[Hashable]) -> Places:
        """Return the numbers of labels: -1 for None, `UNKNOWN` for a new one."""
        found = map(self.labels.numbers.get, labels, repeat(UNKNOWN))
        targets = np.fromiter(found, np.intp, len(labels))
        if np.count_nonzero(targets == UNKNOWN):
            targets[[label is None for label in labels]] = -1
        return targets

    def columns_of(self, rows: Rows) -> NDArray[np.int32]:
        """Return the column of each name of the rows, -1 if it is new."""
        columns = self.features.numbers_of(rows.names).copy()
        if len(self.features) > self.store.shape[1]:
            columns[columns >= self.store.shape[1]] = -1
        return columns

    def warn_of_twins(self, label: Hashable) -> None:
        """Warn of a new label written like a known one of another type."""
        # Labels of one type, the usual case, have no twins.
        others = self.labels.names if self._label_types - {type(label)} else []
        twins = [known for known in others if str(known) == str(label)]
        if twins:
            warnings.warn(
                f"label {label!r} ({type(label).__name__}) is new beside {twins[0]!r} "
                f"({type(twins[0]).__name__}): convert all labels to one type",
                stacklevel=8,  # the caller of learn_one
            )

    @contextmanager
    def narrowed_to_what_is_learned(
        self, widths: Places | None, targets: Places, counters: Counters
    ) -> Iterator[None]:
        """Undo, on exit, the growth by rows that were not learned, even after an error."""
        (k, d), seen = self.store.shape, int(counters.counts[0])
        is_labelled = targets != -1
        try:
            yield
        finally:
            learned = int(counters.counts[0]) - seen
            if learned:
                k, d = self.store.shape
                if widths is not None:
                    d = int(widths[1:][is_labelled][learned - 1])
            if self.store.shape != (k, d):
                self.store.shrink(k, d)
            self.forget_interrupted_growth()

    def forget_interrupted_growth(self) -> None:
        """Remove names that have no weights."""
        k, d = self.store.shape
        if (len(self.labels.names), len(self.features.names)) != (k, d):
            self.labels.truncate(k)
            self.features.truncate(d)
