"""Plain records of text, read many at once by the compiled reader where there is one.

A plan says how the records of a decoder are read, once they are known to be alike. What it cannot
read with certainty is left to the decoder.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import LONGEST_LINE, RawLines
from stream_perceptron.errors import SampleError
from stream_perceptron.model.features import Dense, Features, Names, Sparse

try:
    text: Any = import_module("stream_perceptron.data._text")
except ImportError:  # there was no compiler
    text = None

SKIP, LABEL, BLANK, VECTOR = -1, -2, -3, -4  # the role of what is no feature

_MOST_PLACES = 2**20  # that are kept for the numbers of features

Floats = NDArray[np.float64]
# Returns the label that some bytes stand for.
ToLabel = Callable[[bytes], Any]


class Block(NamedTuple):
    """Records that were read together."""

    features: Features
    labels: list[Any]
    missing: NDArray[np.intp] | None  # how many features each lacks; None for none

    def __len__(self) -> int:
        return len(self.labels)


class Plan(ABC):
    """How plain records are read."""

    def __init__(self, to_label: ToLabel | None, scale: float | None) -> None:
        self._to_label = to_label
        self._scale = 1.0 if scale is None else scale
        self._known: dict[bytes, Any] = {}

    @abstractmethod
    def reader(self, lines: RawLines) -> Reader:
        """Return what reads these lines."""

    def labels(self, data: bytes, places: NDArray[np.intp]) -> list[Any]:
        """Return the labels at some places, up to the first that is none."""
        if self._to_label is None:
            return [None] * len(places)
        found = []
        known = self._known
        for start, end in places.tolist():
            label = data[start:end]
            if label not in known:
                try:
                    known[label] = self._to_label(label)
                except (SampleError, UnicodeDecodeError):
                    break
            found.append(known[label])
        return found

    def scaled(self, values: Floats) -> Floats | None:
        """Return values times the scale, in their place; None if one would be too large."""
        if self._scale != 1.0:
            with np.errstate(over="ignore"):
                values *= self._scale
        return None if abs(self._scale) > 1.0 and np.isinf(values).any() else values


class Reader(ABC):
    """Reads lines by a plan, from any on."""

    @abstractmethod
    def read(self, first: int) -> Block | None:
        """Return the plain records from one on, None if that one is not plain."""


class TablePlan(Plan):
    """Records that each have a value for all features, or a blank."""

    def __init__(
        self,
        names: Names,
        are_columns: bool,
        to_label: ToLabel | None,
        scale: float | None,
        parse: Callable[..., int],
    ) -> None:
        super().__init__(to_label, scale)
        self.names, self.are_columns, self.parse = names, are_columns, parse

    def reader(self, lines: RawLines) -> Reader:
        return _TableReader(self, lines)


class _TableReader(Reader):
    def __init__(self, plan: TablePlan, lines: RawLines) -> None:
        n = len(lines)
        self._plan, self._lines = plan, lines
        self._values = np.empty((n, len(plan.names)))
        self._labels = np.zeros((n, 2), np.intp)
        self._missing = np.zeros(n, np.intp)

    def read(self, first: int) -> Block | None:
        plan, lines = self._plan, self._lines
        args = self._values, self._labels, self._missing
        end = plan.parse(np.frombuffer(lines.data, np.uint8), lines.ends, first, *args)
        if end == first:
            return None
        labels = plan.labels(lines.data, self._labels[first:end])
        part = slice(first, first + len(labels))
        values = plan.scaled(self._values[part])
        if not labels or values is None:
            return None
        n_columns = len(plan.names) if plan.are_columns else 0
        missing = self._missing[part]
        if not missing.any():
            return Block(Dense(plan.names, values, None, n_columns), labels, None)
        there = ~np.isnan(values)
        if there.all():
            return Block(Dense(plan.names, values, None, n_columns), labels, missing)
        values = np.where(there, values, 0.0)
        return Block(Dense(plan.names, values, there, n_columns), labels, missing)


def csv_plan(
    delimiter: str,
    roles: Sequence[int],
    names: Names,
    to_label: ToLabel | None,
    scale: float | None,
) -> Plan:
    """Return how records of CSV are read, by the role of each column."""
    places = np.array(roles, np.intp)

    def parse(data: Any, ends: Any, first: int, *out: Any) -> int:
        return int(text.csv(data, ends, first, ord(delimiter), places, *out))

    return TablePlan(names, True, to_label, scale, parse)


def json_plan(
    keys: Sequence[str] | None,
    roles: Sequence[int],
    names: Names,
    are_columns: bool,
    to_label: ToLabel | None,
    scale: float | None,
) -> Plan:
    """Return how objects are read, by the role of each key in their order; None for bare lists."""
    quoted = [json.dumps(key).encode() for key in keys or ()]
    joined = np.frombuffer(b"".join(quoted) or b" ", np.uint8)
    ends = np.cumsum([len(key) for key in quoted] or [1]).astype(np.intp)
    places = np.array(roles, np.intp)

    def parse(data: Any, line_ends: Any, first: int, *out: Any) -> int:
        bare = keys is None
        return int(text.json(data, line_ends, first, joined, ends, places, *out, bare))

    return TablePlan(names, are_columns, to_label, scale, parse)


class LibsvmPlan(Plan):
    """Records of LIBSVM."""

    def __init__(self, to_label: ToLabel, scale: float | None) -> None:
        super().__init__(to_label, scale)
        self._names: Names = ()
        # The place of each feature that was read among the names, by its number; -1 for none.
        self._places: NDArray[np.intp] = np.zeros(0, np.intp)

    def reader(self, lines: RawLines) -> Reader:
        return _LibsvmReader(self, lines)

    def named(self, features: NDArray[np.int64]) -> tuple[Names, NDArray[np.intp]]:
        """Return names for features, and which of them each one has."""
        most = int(features.max(initial=-1)) + 1
        if most > _MOST_PLACES:
            found, columns = np.unique(features, return_inverse=True)
            return tuple(map(str, found.tolist())), columns.astype(np.intp)
        if most > len(self._places):
            more = np.full(most - len(self._places), -1, np.intp)
            self._places = np.concatenate([self._places, more])
        columns = self._places[features]
        if columns.min(initial=0) < 0:
            new = np.unique(features[columns < 0])
            self._places[new] = np.arange(len(self._names), len(self._names) + len(new))
            self._names = (*self._names, *map(str, new.tolist()))
            columns = self._places[features]
        return self._names, columns


class _LibsvmReader(Reader):
    def __init__(self, plan: LibsvmPlan, lines: RawLines) -> None:
        n, most = len(lines), len(lines.data) // 4 + 1  # a pair takes four bytes at least
        self._plan, self._lines = plan, lines
        self._starts = np.zeros(n + 1, np.intp)
        self._features = np.empty(most, np.int64)
        self._values = np.empty(most)
        self._labels = np.zeros((n, 2), np.intp)

    def read(self, first: int) -> Block | None:
        plan, lines = self._plan, self._lines
        self._starts[first] = 0
        end = text.libsvm(
            np.frombuffer(lines.data, np.uint8), lines.ends, first, self._starts, self._features,
            self._values, self._labels,
        )  # fmt: skip
        if end == first:
            return None
        labels = plan.labels(lines.data, self._labels[first:end])
        if not labels:
            return None
        starts = self._starts[first : first + len(labels) + 1].copy()
        n = int(starts[-1])
        values = plan.scaled(self._values[:n].copy())
        if values is None:
            return None
        names, columns = plan.named(self._features[:n])
        return Block(Sparse(names, starts, columns, values), labels, None)


def can_be_plain(lines: RawLines) -> bool:
    """Whether lines are such that a plan may read them."""
    if text is None or lines.are_too_long or not len(lines):
        return False
    return int(np.diff(lines.ends, prepend=0).max()) <= LONGEST_LINE
