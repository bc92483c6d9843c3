"""Names of labels and features, and their IDs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import repeat
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NO_LOOKUP: tuple[Sequence[Hashable], NDArray[np.int32]] = (), np.zeros(0, np.int32)


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


class NamesPrefix(Sequence[Hashable]):
    """The first names of a list of distinct names, unaffected by names that are appended to it.

    Examples
    --------
    >>> names = ["a", "b"]
    >>> first = NamesPrefix(names)
    >>> names.append("c")
    >>> tuple(first), first[1], len(NamesPrefix(names))
    (('a', 'b'), 'b', 3)

    """

    def __init__(self, names: list[Any], n: int | None = None) -> None:
        self.all, self._n = names, len(names) if n is None else n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: Any) -> Any:
        indices = range(self._n)[i]
        if isinstance(indices, int):
            return self.all[indices]
        if indices.start == 0 and indices.step == 1:
            return NamesPrefix(self.all, indices.stop)
        return self.all[indices.start : indices.stop : indices.step]

    def has_same_list_as(self, other: Sequence[Hashable]) -> bool:
        """Whether `other` is a prefix of the same list."""
        return isinstance(other, NamesPrefix) and other.all is self.all


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
        # The ID of each name. The last names may be absent while all names are strings: other names
        # may run code of their own when they are compared, so their IDs are added at once.
        self._ids_by_name: dict[Hashable, int] = {}
        self._are_texts = True
        # A thread may look up names while another adds some. Comparisons of names may look up
        # names, too, so the lock is reentrant.
        self._lock = RLock()
        # The names in the latest lookup, and the IDs of those before the first unknown name. The
        # prefix of a growing list has a latest lookup of its own.
        self._last_lookup = self._last_prefix_lookup = _NO_LOOKUP
        self.extend(names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def ids_by_name(self) -> dict[Hashable, int]:
        """The ID of each name."""
        if self._are_texts and len(self._ids_by_name) < len(self.names):
            self._add_ids()
        return self._ids_by_name

    def _add_ids(self) -> None:
        """Add the IDs of the names that have none yet."""
        with self._lock:
            names, ids = self.names, self._ids_by_name
            ids.update(zip(names[len(ids) :], range(len(ids), len(names)), strict=True))

    def extend(self, names: Iterable[Hashable]) -> None:
        """Append new names; after an error, `truncate` removes them."""
        with self._lock:
            n = len(self.names)
            self.names.extend(names)
            # Strings get IDs only when a name is looked up, which may be never: names that rows add
            # are usually found by their index in the rows' list of names.
            self._are_texts = self._are_texts and set(map(type, self.names[n:])) <= {str}
            if not self._are_texts:
                self._add_ids()

    def truncate(self, length: int) -> None:
        """Remove all names after the first `length`."""
        self._last_lookup = self._last_prefix_lookup = _NO_LOOKUP
        with self._lock:
            for name in self.names[length:]:
                self._ids_by_name.pop(name, None)
            del self.names[length:]

    def find_ids(self, names: Sequence[Hashable]) -> NDArray[np.int32]:
        """Return the ID of each name, or -1 if it is unknown."""
        # Consecutive samples usually have the same names, or the same names followed by new ones.
        is_prefix = type(names) is NamesPrefix
        last_names, last_ids = self._last_prefix_lookup if is_prefix else self._last_lookup
        n = min(len(last_ids), len(names))
        is_same = names is last_names or (
            type(names) is NamesPrefix and names.has_same_list_as(last_names)
        )
        if not is_same and names[:n] != last_names[:n]:
            n = 0
        if n == len(names):
            return last_ids[:n]
        if is_prefix and is_same and n == len(self.names):
            # All known names are among the first n names of the list, so the others are unknown.
            further_ids = np.full(len(names) - n, -1, np.int32)
        else:
            further_ids = np.fromiter(
                map(self.ids_by_name.get, names[n:], repeat(-1)), np.int32, len(names) - n
            )
        ids = np.concatenate([last_ids[:n], further_ids])
        self.cache_ids(names, ids)
        return ids

    def get_known_ids(self, names: Sequence[Hashable]) -> NDArray[np.int32] | None:
        """Return the IDs of these names that the latest lookup cached.

        Return None if that lookup was of other names, or if any of these names is unknown.
        """
        n = len(names)
        if type(names) is NamesPrefix:
            last_names, last_ids = self._last_prefix_lookup
            is_same = names.has_same_list_as(last_names)
        else:
            last_names, last_ids = self._last_lookup
            is_same = names is last_names
        if not is_same or len(last_ids) < n:
            return None
        return last_ids if len(last_ids) == n else last_ids[:n]

    def cache_ids(self, names: Sequence[Hashable], ids: NDArray[np.int32]) -> None:
        """Cache the IDs of names, -1 if unknown, for lookups that begin with the same names."""
        n_known = int(np.argmin(ids)) if ids.min(initial=0) < 0 else len(ids)
        if type(names) is NamesPrefix:
            self._last_prefix_lookup = names, ids[:n_known]
        else:
            self._last_lookup = names, ids[:n_known]
