"""What one batch of rows brought."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch, Rejection
from stream_perceptron.data.describe import Note
from stream_perceptron.data.schema import Selection
from stream_perceptron.model.validation import names_of


@dataclass(frozen=True, eq=False, repr=False)
class StepResult:
    """What one batch of rows brought."""

    # The number of each sample in the run, counted from 1 with the rows that were rejected; shape
    # (n,).
    rows: NDArray[np.intp]
    # The number of the label predicted for each sample before it was learned; -1 where none was
    # known. Shape (n,).
    predicted: NDArray[np.intp]
    classes: list[Hashable]  # the labels by their number
    # The probability of each prediction if it was asked for, else NaN. Shape (n,).
    probabilities: NDArray[np.float64]
    # The probability of each label if that was asked for, NaN for one that was not known yet; shape
    # (n, k).
    every_probability: NDArray[np.float64] | None
    labels: list[Hashable]  # the label of each sample; None where there is none
    # Whether each sample changed the weights, shape (n,).
    updated: NDArray[np.bool_]
    taken: int  # how many rows of the batch are done, with those that were rejected or replayed
    # What was wrong with each row that was rejected, and where it stands.
    rejected: list[Rejection] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)  # what a user should be told, one line each
    # The values of the position columns and of those to keep of each sample, by name; None if
    # nobody asked for them, or they are not there.
    carried: list[dict[str, Any]] | None = None
    # Whether the last sample ended the training, as its error is below epsilon.
    stopped: bool = False
    # Why the row after these was refused: it would diverge, or the model would become too large.
    refused: Exception | None = None

    @property
    def predictions(self) -> list[Hashable]:
        """The label predicted for each sample; None where none was known."""
        return names_of(self.predicted, self.classes)


def carried(batch: Batch, n: int, asked: Selection) -> list[dict[str, Any]] | None:
    """Return the offsets of the first n usable rows, and what is kept of them."""
    offsets = [batch.offsets[i] for i in batch.rows[:n].tolist()] if batch.offsets else []
    carried = [
        dict(zip(asked.position, [*offset.partition, offset.value], strict=True))
        for offset in offsets
        if offset is not None
    ]
    if not batch.kept:
        return carried or None
    kept = [dict(zip(asked.keep, values, strict=True)) for values in batch.kept[:n]]
    if not carried:
        return kept
    return [one | other for one, other in zip(carried, kept, strict=True)]
