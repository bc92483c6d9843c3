"""Rows of a batch that can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stream_perceptron.model.features import NamedRows
from stream_perceptron.model.kernel import ByteRows

__all__ = ["Place", "Rows", "largest_of", "place_of"]

# The values of the --position columns in a row.
Place = tuple[Any, ...]


@dataclass
class Rows:
    """The usable rows of a record batch, and why the others are not.

    Parameters
    ----------
    index
        The place of each row in its batch, ascending, shape (n,).
    X
        The features, finite: an array of shape (n, d), bytes, or rows with names of their own.
    features
        The names of the columns of an array, length d; None where rows have their own.
    labels
        The labels; None where there is none. Length n.
    weights
        The sample weights, shape (n,).
    bad
        The reason for every row that is missing here, by its place in the batch.
    places
        The position of every row of the batch, None where a bad row has none; empty if nobody asked
        for positions.

    """

    index: NDArray[np.intp]
    X: NDArray[Any] | ByteRows | NamedRows
    features: tuple[str, ...] | None
    labels: list[Any]
    weights: NDArray[np.float64]
    bad: dict[int, str]
    places: list[Place | None]

    def samples(self) -> Iterator[dict[Hashable, float]]:
        """Yield the features of each row by name."""
        names: Iterable[tuple[Hashable, ...]] = repeat(self.features or ())
        rows: Iterable[NDArray[Any]] = self._values()
        if isinstance(self.X, NamedRows):
            names = self.X.names
        elif isinstance(self.X, ByteRows):
            # Equal numbers are one object: to make them costs less, and so does reading them.
            every = ByteRows(np.arange(256, dtype=np.uint8), self.X.scale).numbers(float)
            rows = every.astype(object)[self.X.values]
        for row_names, x in zip(names, rows, strict=False):
            yield dict(zip(row_names, x.tolist(), strict=True))

    def cast(self, dtype: DTypeLike, n: int) -> Rows:
        """Return the rows as a type; those of the batch of n that it cannot hold are bad."""
        if np.dtype(dtype) == np.float64:
            return self
        rows = self._within(float(np.finfo(dtype).max), n)
        if isinstance(rows.X, np.ndarray):
            rows.X = rows.X.astype(dtype)
        return rows

    def _within(self, limit: float, n: int) -> Rows:
        if largest_of(self.X) <= limit:
            return self
        beyond = np.zeros(n, bool)
        for i, x in zip(self.index.tolist(), self._values(), strict=True):
            beyond[i] = np.abs(x).max(initial=0.0) > limit
        rows = self.without(beyond)
        for i in np.flatnonzero(beyond).tolist():
            rows.bad[i] = f"a feature is beyond {limit:.3g}, the largest number of its type"
        return rows

    def _values(self) -> Iterable[NDArray[np.float64]]:
        if isinstance(self.X, ByteRows):
            return self.X.numbers(np.float64)
        return self.X.values if isinstance(self.X, NamedRows) else self.X

    def cut(self, start: int, end: int) -> Rows:
        """Return the rows of the batch from start to before end."""
        part = slice(*np.searchsorted(self.index, [start, end]).tolist())
        return Rows(
            self.index[part] - start,
            self.X[part],
            self.features,
            self.labels[part],
            self.weights[part],
            {i - start: why for i, why in self.bad.items() if start <= i < end},
            self.places[start:end],
        )

    def without(self, left_out: NDArray[np.bool_]) -> Rows:
        """Return the rows without some of the batch, which are not bad either."""
        kept = np.flatnonzero(~left_out[self.index])
        return Rows(
            self.index[kept],
            self.X[kept],
            self.features,
            [self.labels[i] for i in kept.tolist()],
            self.weights[kept],
            {i: why for i, why in self.bad.items() if not left_out[i]},
            self.places,
        )


def largest_of(X: NDArray[Any] | ByteRows | NamedRows) -> float:
    """Return the largest absolute value of a feature, 0 if there is none."""
    if isinstance(X, NamedRows):
        return max((float(np.abs(x).max(initial=0.0)) for x in X.values), default=0.0)
    if isinstance(X, ByteRows):
        return float(X.values.max(initial=0)) * abs(X.scale)
    return max(float(X.max(initial=0.0)), -float(X.min(initial=0.0)))


def place_of(
    names: tuple[str, ...], values: Sequence[Any], row: int, bad: dict[int, str]
) -> Place | None:
    """Return the position that the values of its columns say; a row without is named in `bad`."""
    for name, value in zip(names, values, strict=True):
        is_last = name == names[-1]
        if type(value) is int or (type(value) is str and not is_last):
            continue
        wanted = "a whole number" if is_last else "a whole number or a text"
        bad.setdefault(row, f"position {name!r} is {value!r}, not {wanted}")
        return None
    return tuple(values)
