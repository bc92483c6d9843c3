"""What a record of text says, and what reads it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Offset
from stream_perceptron.data.describe import Note
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.data.text.plan import Layout
from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Names, Rows

# A number, and nothing else that float() takes.
NUMBER = r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"


class Sample(NamedTuple):
    """A record that can be used."""

    names: Names
    values: NDArray[np.float64]  # NaN for a feature that is missing
    label: Any
    weight: float
    offset: Offset | None
    schema: Schema  # what is known if it is learned
    indicators: tuple[str, ...] = ()  # features that are 1, as a text is theirs
    are_columns: bool = True  # whether the names are those of every record
    n_nulls: int = 0  # how many features were null, and have no name here
    kept: tuple[Any, ...] = ()  # what goes with the prediction


class Row(NamedTuple):
    """The features in a record."""

    names: Names
    values: NDArray[np.float64]
    indicators: tuple[str, ...] = ()
    n_nulls: int = 0


NO_FEATURES = Row((), np.empty(0))


class Rejected(NamedTuple):
    """Why a record cannot be used, and its offset if that can be read all the same."""

    why: str
    offset: Offset | None = None
    record: bytes = b""


class Replayed(NamedTuple):
    """A record that came before."""

    offset: Offset


class Decoder(Protocol):
    """Reads the records of a source, by what is known; it never changes."""

    selection: Selection
    schema: Schema

    @property
    def label(self) -> str | None:
        """The label column or key, if one is known."""

    def with_schema(self, schema: Schema) -> Decoder:
        """Return what reads records once more is known."""

    def outlook(self, first: bytes) -> Schema:
        """Return what would be known if the first record is learned."""

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return what a record says."""

    def layout(self, record: bytes) -> Layout | None:
        """Return where values stand in records like one that can be used, None if it is odd."""

    def describe(
        self, told: Sequence[tuple[bytes, Sample]], first: Sequence[bytes | None]
    ) -> tuple[Note, ...]:
        """Say in a few lines what is used and what is not, by what told it and the first."""


def scaled(selection: Selection, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values times the scale that was asked for; missing ones stay so."""
    if selection.factor is None:
        return values
    with np.errstate(over="ignore"):
        found = values * selection.factor
    if np.isinf(found).any():
        raise SampleError("a feature is not finite when it is scaled")
    return found


def rows_of(samples: Sequence[Sample]) -> Rows:
    """Return the features of samples."""
    if not samples:
        return Rows.from_rows([], [])
    first = samples[0]
    if all(sample.names is first.names or sample.names == first.names for sample in samples):
        values = np.stack([sample.values for sample in samples])
        n_columns = len(first.names) if first.are_columns else 0
        rows = Rows.of_table(first.names, values, ~np.isnan(values), n_columns=n_columns)
    else:
        masks = [~np.isnan(sample.values) for sample in samples]
        rows = Rows.from_rows(
            [tuple(compress(s.names, mask)) for s, mask in zip(samples, masks, strict=True)],
            [sample.values[mask] for sample, mask in zip(samples, masks, strict=True)],
        )
    ones = [(i, name) for i, sample in enumerate(samples) for name in sample.indicators]
    return rows.with_ones([i for i, _ in ones], [name for _, name in ones])
