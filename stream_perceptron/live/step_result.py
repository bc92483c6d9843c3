"""The result of a step over one batch of rows."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch, Rejection
from stream_perceptron.data.notices import Notice
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.model.validation import find_labels_by_id


@dataclass(eq=False, repr=False)
class StepResult:
    """The result of a step over a batch with n samples."""

    # The row number of each sample in the run, from 1, with rejected rows counted; in a file with
    # offsets, the number of the row in the file; shape (n,).
    rows: NDArray[np.intp]
    # The number of the label predicted for each sample, -1 if none was known; shape (n,).
    predicted: NDArray[np.intp]
    classes: list[Hashable]  # the labels by number
    # The score of each prediction if requested, else NaN; shape (n,).
    scores: NDArray[np.float64]
    # The score of each label, NaN if the label was unknown; shape (n, k). None if not
    # requested.
    all_scores: NDArray[np.float64] | None
    labels: list[Hashable]  # the label of each sample, or None
    # Whether each sample changed the weights, shape (n,).
    updated: NDArray[np.bool_]
    # The number of each label, -1 for a sample that was only predicted; shape (n,).
    targets: NDArray[np.intp]
    batch: Batch  # the processed rows, including rejected and redelivered ones
    # The location of each rejected row, and the reason.
    rejected: list[Rejection] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)  # messages for the user, one line each
    # The position, passthrough and ID columns of each sample, by name; None if there are none.
    copied_columns: list[dict[str, object]] | None = None
    # Which rows are late labels of samples predicted earlier; None if labels are not joined.
    is_late_label: NDArray[np.bool_] | None = None
    is_repeated: bool = False  # whether the rows were learned before
    # Whether progress should be reported, because 1,000, 2,000, 4,000, ... rows have been read.
    is_report_due: bool = False
    # Whether training stopped at the last sample because its error was below epsilon.
    stopped: bool = False
    # The error that ended the step because the next row would make the model diverge or become too
    # large; None if there is no error.
    failure: Exception | None = None

    @property
    def predictions(self) -> list[Hashable]:
        """The label predicted for each sample; None if no label was known."""
        return find_labels_by_id(self.predicted, self.classes)


def collect_output_columns(
    batch: Batch, read_options: ReadOptions
) -> list[dict[str, object]] | None:
    """Return the position, passthrough and ID columns of the usable rows, by name."""
    if not (batch.offsets or batch.passthrough):
        return None
    usable = np.arange(len(batch))[batch.usable_rows].tolist()
    offsets = [batch.offsets[i] for i in usable] if batch.offsets else []
    positions = [
        dict(zip(read_options.position, [*offset.partition, offset.value], strict=True))
        for offset in offsets
        if offset is not None
    ]
    if not batch.passthrough:
        return positions or None
    # Rows to predict may lack the last column.
    passthrough = [
        dict(zip(read_options.passthrough, batch.passthrough[i], strict=False)) for i in usable
    ]
    if not positions:
        return passthrough
    return [position | columns for position, columns in zip(positions, passthrough, strict=True)]
