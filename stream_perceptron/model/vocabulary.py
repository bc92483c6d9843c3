"""Names of labels and features, and their IDs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import repeat
from threading import RLock

import numpy as np
from numpy.typing import NDArray


def find_duplicates(names: Sequence[Hashable]) -> list[Hashable]:
    """Return the names that repeat an earlier name, in order.

    Examples
    --------
    >>> find_duplicates(["a", "b", "b", "a"]), find_duplicates(["a", "b"])
    (['b', 'a'], [])

    """
    seen: set[Hashable] = set()
    duplicates: list[Hashable] = []
    if len(set(names)) < len(names):
        for name in names:
            if name in seen:
                duplicates.append(name)
            seen.add(name)
    return duplicates


class Vocabulary:
    """Names in order of arrival. The ID of a name is its index.

    Examples
    --------
    >>> vocabulary = Vocabulary(["a", "b"])
    >>> vocabulary.extend(["c"])
    >>> vocabulary.find_ids(("c", "a", "unknown")).tolist()
    [2, 0, -1]

    """

    def __init__(self, names: Iterable[Hashable] = ()) -> None:
        self.names: list[Hashable] = []
        # The ID of each name; the last names are absent until a name is looked up, which may be
        # never: the names that a reader adds have numbers.
        self._ids_by_name: dict[Hashable, int] = {}
        # A thread may look up names while another adds some. A signal handler may look up names,
        # too, so the lock is reentrant.
        self._lock = RLock()
        self.extend(names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def ids_by_name(self) -> dict[Hashable, int]:
        """The ID of each name."""
        names, ids = self.names, self._ids_by_name
        if len(ids) < len(names):
            with self._lock:
                ids.update(zip(names[len(ids) :], range(len(ids), len(names)), strict=True))
        return ids

    def extend(self, names: Iterable[Hashable]) -> None:
        """Append new names; after an error, `truncate` removes them."""
        with self._lock:
            self.names.extend(names)

    def truncate(self, length: int) -> None:
        """Remove all names after the first `length`."""
        with self._lock:
            for name in self.names[length:]:
                self._ids_by_name.pop(name, None)
            del self.names[length:]

    def find_ids(self, names: Sequence[Hashable]) -> NDArray[np.int32]:
        """Return the ID of each name, or -1 if it is unknown."""
        return np.fromiter(map(self.ids_by_name.get, names, repeat(-1)), np.int32, len(names))
