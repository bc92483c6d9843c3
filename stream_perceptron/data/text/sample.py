"""Samples read from records of text, and the interface of decoders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Offset
from stream_perceptron.data.describe import Note
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Names, Rows

if TYPE_CHECKING:
    from stream_perceptron.data.interpreter import Context
    from stream_perceptron.data.text.scanning import Scanner

# A number; float() would accept more.
NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"


class Sample(NamedTuple):
    """A record that can be used."""

    names: Names
    values: NDArray[np.float64]  # NaN for a feature that is missing
    label: Any
    weight: float
    offset: Offset | None
    schema: Schema  # after this record, if it is learned
    indicators: tuple[str, ...] = ()  # features that are 1 for the texts of --one-hot
    n_nulls: int = 0  # null features, which are not in `names`
    kept: tuple[Any, ...] = ()  # values of the kept columns
    other_label: str | None = None  # a usual name of a label that is no label here


class Row(NamedTuple):
    """The features in a record."""

    names: Names
    values: NDArray[np.float64]
    indicators: tuple[str, ...] = ()
    n_nulls: int = 0


NO_FEATURES = Row((), np.empty(0))


class Rejected(NamedTuple):
    """Why a record cannot be used, with its offset if that can be read."""

    why: str
    offset: Offset | None = None
    record: bytes = b""


class Redelivered(NamedTuple):
    """A redelivered record, with its offset if that can be read."""

    offset: Offset | None


class Decoder(Protocol):
    """Reads the records of a source by a schema; immutable."""

    selection: Selection
    schema: Schema

    @property
    def label(self) -> str | None:
        """The label column or key, if one is known."""

    @property
    def context(self) -> Context:
        """What the meaning of a record depends on."""

    def scanner(self) -> Scanner:
        """Return a scanner of the records."""

    def with_schema(self, schema: Schema) -> Decoder:
        """Return the decoder for a later schema."""

    def outlook(self, first: bytes) -> Schema:
        """Return the schema after the first record, if that is learned."""

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return the sample in a record, or why it is rejected."""

    def describe(
        self, told: Sequence[tuple[bytes, Sample]], first: Sequence[bytes | None]
    ) -> tuple[Note, ...]:
        """Return notes on the columns, given the records that decided them and the first ones."""


def scale_features(
    selection: Selection, names: Names, values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return values times the scale asked for; missing ones stay NaN.

    Raises
    ------
    SampleError
        If a product is infinite.

    """
    if selection.factor is None:
        return values
    with np.errstate(over="ignore"):
        scaled = values * selection.factor
    if np.isinf(scaled).any():
        place = int(np.flatnonzero(np.isinf(scaled))[0])
        feature = f"feature {names[place]!r} is {values[place]:g}"
        raise SampleError(f"{feature}, too large for --scale {selection.scale:g}")
    return scaled


def rows_of(samples: Sequence[Sample]) -> Rows:
    """Return the features of samples as rows."""
    if not samples:
        return Rows.from_rows([], [])
    first = samples[0]
    if all(sample.names is first.names or sample.names == first.names for sample in samples):
        values = np.stack([sample.values for sample in samples])
        rows = Rows.of_table(first.names, values, ~np.isnan(values))
    else:
        masks = [~np.isnan(sample.values) for sample in samples]
        rows = Rows.from_rows(
            [tuple(compress(s.names, mask)) for s, mask in zip(samples, masks, strict=True)],
            [sample.values[mask] for sample, mask in zip(samples, masks, strict=True)],
        )
    ones = [(i, name) for i, sample in enumerate(samples) for name in sample.indicators]
    return rows.with_one_hot([i for i, _ in ones], [name for _, name in ones])
