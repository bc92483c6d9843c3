"""Names and their numbers."""

from __future__ import annotations

import numbers
import re
import sys
from collections.abc import Hashable, Iterable, Sequence
from importlib import import_module
from itertools import repeat
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import SampleError

try:
    _argsort_names: Any = import_module("stream_perceptron.model._natural").argsort_names
except ImportError:  # built without a compiler
    _argsort_names = None

T = TypeVar("T", bound=Hashable)

_LONGEST = 13_000  # bits of an integer used as a name
_DIGITS = re.compile("([0-9]+)")


def natural_order(names: Iterable[T]) -> list[T]:
    """Sort feature names as a person would: by type first, then pixel2 before pixel10.

    Examples
    --------
    >>> natural_order(["pixel10", "pixel2", 7, "b", 1.5])
    [1.5, 7, 'b', 'pixel2', 'pixel10']

    """
    names = list(names)
    return [names[i] for i in argsort_names(names, np.zeros(len(names), np.intp)).tolist()]


def argsort_names(names: list[T], groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the indices that sort names by group, and in natural order within a group.

    Examples
    --------
    >>> argsort_names(["b", "a10", "a9"], np.array([0, 1, 1])).tolist()
    [0, 2, 1]

    """
    indices: NDArray[np.intp] | None = None
    if _argsort_names is not None:
        indices = _argsort_names(names, groups)
    if indices is not None:
        return indices
    keys = list(zip(groups.tolist(), map(natural_key, names), strict=True))
    return np.array(sorted(range(len(names)), key=keys.__getitem__), np.intp)


def natural_key(name: Hashable) -> tuple[str, Any, str]:
    """Return the sort key of a name for `natural_order`."""
    if isinstance(name, str):
        # Splitting on digits alternates text and number, so text is compared with text.
        parts = _DIGITS.split(name)
        for i in range(1, len(parts), 2):
            digits = parts[i].lstrip("0")
            parts[i] = chr(min(len(digits), sys.maxunicode)) + digits
        return "str", parts, name
    if isinstance(name, numbers.Real):
        return "", name, ""
    return type(name).__name__, repr(name), ""


def require_short(names: Iterable[Hashable]) -> None:
    """Check that names can be written: Python writes integers of at most 4,300 digits."""
    names = list(names)
    if int not in set(map(type, names)):
        return
    if any(type(name) is int and name.bit_length() > _LONGEST for name in names):
        raise SampleError("a name that is a whole number has more than 3,900 digits: use a string")


_NOTHING: tuple[Sequence[Hashable], NDArray[np.int32]] = (), np.zeros(0, np.int32)


def doubled(names: Sequence[Hashable]) -> list[Hashable]:
    """Return the repeated names in order; none if all differ.

    Examples
    --------
    >>> doubled(["a", "b", "b", "a"]), doubled(["a", "b"])
    (['b', 'a'], [])

    """
    seen: set[Hashable] = set()
    found: list[Hashable] = []
    if len(set(names)) < len(names):
        for name in names:
            if name in seen:
                found.append(name)
            seen.add(name)
    return found


class FirstNames(Sequence[Hashable]):
    """The first names of a list that may grow.

    Examples
    --------
    >>> names = ["a", "b"]
    >>> first = FirstNames(names)
    >>> names.append("c")
    >>> tuple(first), first[1], len(FirstNames(names))
    (('a', 'b'), 'b', 3)

    """

    def __init__(self, names: list[Hashable]) -> None:
        self.all, self._n = names, len(names)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: Any) -> Any:
        places = range(self._n)[i]
        if isinstance(places, int):
            return self.all[places]
        return self.all[places.start : places.stop : places.step]

    def shares_list_with(self, other: Sequence[Hashable]) -> bool:
        """Whether `other` is the beginning of the same list."""
        return isinstance(other, FirstNames) and other.all is self.all


class Vocabulary:
    """Names in order of arrival, each with its number.

    Examples
    --------
    >>> vocabulary = Vocabulary(["a", "b"])
    >>> vocabulary.extend(["c"])
    >>> vocabulary.numbers_of(("c", "a", "unknown")).tolist()
    [2, 0, -1]

    """

    def __init__(self, names: Iterable[Hashable] = ()) -> None:
        self.names: list[Hashable] = []
        self.numbers: dict[Hashable, int] = {}
        self._last = _NOTHING  # the last names looked up, and the numbers of the first of them
        self.extend(names)

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[list[Hashable]]]:
        return Vocabulary, (self.names,)  # the names determine the rest

    def extend(self, names: Iterable[Hashable]) -> None:
        """Number new `names` onwards; `truncate` undoes this after an error."""
        n = len(self.names)
        self.names.extend(names)
        self.numbers.update(zip(self.names[n:], range(n, len(self.names)), strict=True))

    def truncate(self, length: int) -> None:
        """Forget all names after the first `length`."""
        self._last = _NOTHING
        for name in self.names[length:]:
            self.numbers.pop(name, None)
        del self.names[length:]

    def numbers_of(self, names: Sequence[Hashable]) -> NDArray[np.int32]:
        """Return the number of each name, -1 if it is unknown."""
        # Consecutive samples mostly have the same names, or the same and some more.
        known, numbers = self._last
        n = min(len(numbers), len(names))
        is_same = names is known or (
            isinstance(names, FirstNames) and names.shares_list_with(known)
        )
        if not is_same and names[:n] != known[:n]:
            n = 0
        if n == len(names):
            return numbers[:n]
        found = map(self.numbers.get, names[n:], repeat(-1))
        new = np.fromiter(found, np.int32, len(names) - n)
        every = np.concatenate([numbers[:n], new])
        self.expect(names, every)
        return every

    def knows(self, names: Sequence[Hashable]) -> bool:
        """Return whether these are the names last looked up, and all are known."""
        return names is self._last[0] and len(self._last[1]) == len(names)

    def expect(self, names: Sequence[Hashable], numbers: NDArray[np.int32]) -> None:
        """Expect the next names to begin like these, given the number of each, -1 if unknown."""
        n_known = int(np.argmin(numbers)) if numbers.min(initial=0) < 0 else len(numbers)
        self._last = names, numbers[:n_known]
