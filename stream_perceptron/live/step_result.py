"""The result of a step over one batch of rows."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch, Rejection
from stream_perceptron.data.naming import is_pixel, suggest_options
from stream_perceptron.data.notices import Notice, build_warning
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.errors import DivergedError, ModelSizeError, StreamPerceptronError
from stream_perceptron.live.findings import FindingCode
from stream_perceptron.model.results import TrainResult
from stream_perceptron.model.validation import look_up_labels

if TYPE_CHECKING:
    from stream_perceptron.live.model import LiveModel

# Larger features drive net inputs into the range where bounded activations are flat.
LARGE_FEATURE = 16.0
_SMALL_FEATURE = 0.1
_MAX_REACH_RATIO = 100  # the maximum ratio of two features' reaches

_STANDARDIZE = suggest_options(
    {"to start over with standardized features (in Python: a Standardizer)": "--standardize"}
)


@dataclass(eq=False, repr=False)
class StepResult:
    """The result of a step over a batch with n samples."""

    # The row number of each sample in the run, from 1, with rejected rows counted; shape (n,).
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
        return look_up_labels(self.predicted, self.classes)


def build_result(
    live: LiveModel, batch: Batch, result: TrainResult, rows: NDArray[np.intp], done: Batch,
    to_learn: bool = True,
) -> StepResult:  # fmt: skip
    """Build the result for the first usable rows of a batch; `done` contains the rows processed."""
    n, failure = len(result), result.memory_error
    place = "" if done.n_rows == batch.n_rows else batch.format_location(done.n_rows)
    if result.diverged and to_learn and batch.labels[n] is not None:
        failure = DivergedError(live.model.n_seen + 1, place)
    elif result.diverged:
        reason = "its net input is not finite: scale the features"
        failure = StreamPerceptronError(f"{place}: {reason}")
    elif isinstance(failure, ModelSizeError):
        failure = ModelSizeError(f"{place}: {failure}")
    return StepResult(
        rows=rows,
        predicted=result.predicted,
        classes=live.model.classes_,
        scores=result.scores,
        all_scores=result.all_scores,
        labels=batch.labels[:n],
        updated=result.updated,
        targets=result.targets,
        batch=done,
        rejected=done.rejections() if done.rejected else [],
        copied_columns=collect_copied_columns(batch, n, live.read_options),
        stopped=result.stopped,
        failure=failure,
    )


def collect_copied_columns(
    batch: Batch, n: int, asked: ReadOptions
) -> list[dict[str, object]] | None:
    """Return the position, passthrough and ID columns of the first n usable rows, by name."""
    offsets = [batch.offsets[i] for i in batch.rows[:n].tolist()] if batch.offsets else []
    positions = [
        dict(zip(asked.position, [*offset.partition, offset.value], strict=True))
        for offset in offsets
        if offset is not None
    ]
    if not batch.passthrough:
        return positions or None
    # Rows to predict may lack the last column.
    passthrough = [
        dict(zip(asked.passthrough, values, strict=False)) for values in batch.passthrough[:n]
    ]
    if not positions:
        return passthrough
    return [position | columns for position, columns in zip(positions, passthrough, strict=True)]


def find_scaling_problem(live: LiveModel) -> tuple[str, str] | None:
    """Return evidence that features need scaling, and a suggestion; None if they do not."""
    model, largest = live.model, live.progress.largest
    reach = {name: value for name, value in (live.progress.reach or {}).items() if value}
    # If each sample has only a few of many features, such as words, scaling does not help.
    has_columns = bool(live.schema.columns) or live.schema.is_list
    is_sparse = not has_columns and len(live.progress.reach or {}) < len(model.features_)
    if model.network.scaler is not None or not model.features_ or is_sparse:
        return None
    are_pixels = all(is_pixel(str(name)) for name in model.features_)
    min_name, max_name = (f(reach, key=reach.__getitem__, default="") for f in (min, max))
    has_wide_range = (
        bool(reach) and not are_pixels and reach[max_name] > _MAX_REACH_RATIO * reach[min_name]
    )
    if 0 < largest < _SMALL_FEATURE:
        return f"they reach only {largest:g}, and steps are tiny", _STANDARDIZE
    if not has_wide_range and largest <= LARGE_FEATURE:
        return None
    has_largest = bool(reach) and reach[max_name] == largest
    subject = f"{max_name!r} reaches" if has_largest else "they reach"
    contrast = f" and {min_name!r} only {reach[min_name]:g}" if has_wide_range else ""
    evidence = f"{subject} {largest:g}{contrast}, and a step grows with their square"
    if not are_pixels:
        return evidence, _STANDARDIZE
    scale = f"--scale 1/{largest / abs(live.read_options.scale or 1):g}"
    return evidence, suggest_options({"to start over with smaller features": scale})


def collect_notes(batch: Batch, live: LiveModel) -> list[Notice]:
    """Return the notices for a batch, with a warning about the features seen so far."""
    notices = list(batch.notices)
    if notices and live.progress.largest > LARGE_FEATURE and (advice := find_scaling_problem(live)):
        text = f"unscaled features: {'; '.join(advice)}"
        notices.append(build_warning(text, FindingCode.UNSCALED_FEATURES))
    return notices
