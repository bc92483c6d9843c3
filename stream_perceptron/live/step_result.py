"""The result of a step over one batch of rows."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch, Rejection
from stream_perceptron.data.describe import Note, warning
from stream_perceptron.data.naming import is_pixel
from stream_perceptron.data.schema import Selection
from stream_perceptron.errors import DivergedError, FullError, StreamPerceptronError
from stream_perceptron.model.results import TrainResult
from stream_perceptron.model.validation import names_of

if TYPE_CHECKING:
    from stream_perceptron.live.model import LiveModel

# Features beyond this drive net inputs to where bounded activations are flat.
LARGE_FEATURE = 16.0
_SMALL_FEATURE = 0.1
_FAR_APART = 100  # the ratio of two features' reaches

_ENOUGH = 1000  # samples needed to judge labels


@dataclass(eq=False, repr=False)
class StepResult:
    """The result of a step over a batch with n samples."""

    # The number of each sample in the run, counted from 1, rejected rows included; shape (n,).
    rows: NDArray[np.intp]
    # The number of the label predicted for each sample, -1 if none was known; shape (n,).
    predicted: NDArray[np.intp]
    classes: list[Hashable]  # the labels by number
    # The probability of each prediction if it was asked for, else NaN; shape (n,).
    probabilities: NDArray[np.float64]
    # The probability of each label if it was asked for, NaN if it was unknown; shape (n, k).
    every_probability: NDArray[np.float64] | None
    labels: list[Hashable]  # the label of each sample, or None
    # Whether each sample changed the weights, shape (n,).
    updated: NDArray[np.bool_]
    # The number of each label, -1 for a sample that was only predicted; shape (n,).
    targets: NDArray[np.intp]
    n_learned: int  # samples the model has learned, these included
    taken: int  # rows of the batch that are done, rejected and redelivered ones included
    # Place and reason of each rejected row.
    rejected: list[Rejection] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)  # messages to the user, one line each
    # Values of position columns and kept columns of each sample, by name; None without any.
    carried: list[dict[str, Any]] | None = None
    # Which rows brought the label of a sample predicted before; None if labels are not joined.
    answers: NDArray[np.bool_] | None = None
    # Whether the last sample ended the training with an error below epsilon.
    stopped: bool = False
    # Why the next row was refused: it would diverge, or the model would become too large.
    refused: Exception | None = None

    @property
    def predictions(self) -> list[Hashable]:
        """The label predicted for each sample; None if no label was known."""
        return names_of(self.predicted, self.classes)

    @property
    def learned(self) -> NDArray[np.intp]:
        """The number of samples learned before each of these was predicted; shape (n,)."""
        return self.n_learned - np.cumsum(self.targets[::-1] >= 0)[::-1]


def build_result(
    live: LiveModel, batch: Batch, result: TrainResult, rows: NDArray[np.intp], done: Batch,
    to_learn: bool = True,
) -> StepResult:  # fmt: skip
    """Return the result of a batch's first usable rows; `done` is the part of the batch done."""
    n, refused = len(result), result.memory_error
    place = "" if len(done) == len(batch) else batch.place(len(done))
    if result.diverged and to_learn and batch.labels[n] is not None:
        refused = DivergedError(live.model.n_seen + 1, place)
    elif result.diverged:
        reason = "its net input is not finite: scale the features"
        refused = StreamPerceptronError(f"{place}: {reason}")
    elif isinstance(refused, FullError):
        refused = FullError(f"{place}: {refused}")
    return StepResult(
        rows=rows,
        predicted=result.predicted,
        classes=live.model.classes_,
        probabilities=result.probabilities,
        every_probability=result.all_probabilities,
        labels=batch.labels[:n],
        updated=result.updated,
        targets=result.targets,
        n_learned=live.model.n_seen,
        taken=len(done),
        rejected=done.rejections(),
        carried=carried(batch, n, live.selection),
        stopped=result.stopped,
        refused=refused,
    )


def carried(batch: Batch, n: int, asked: Selection) -> list[dict[str, Any]] | None:
    """Return the position and kept columns of the first n usable rows, by name."""
    offsets = [batch.offsets[i] for i in batch.rows[:n].tolist()] if batch.offsets else []
    carried = [
        dict(zip(asked.position, [*offset.partition, offset.value], strict=True))
        for offset in offsets
        if offset is not None
    ]
    if not batch.kept:
        return carried or None
    # Rows to predict may lack the last column.
    kept = [dict(zip(asked.kept, values, strict=False)) for values in batch.kept[:n]]
    if not carried:
        return kept
    return [one | other for one, other in zip(carried, kept, strict=True)]


def unscaled(live: LiveModel) -> tuple[str, str] | None:
    """Return evidence that features need scaling, and advice; None if they do not."""
    model, largest = live.model, live.progress.largest
    reach = {name: value for name, value in (live.progress.reach or {}).items() if value}
    # If each sample has a few features of many, such as words, scaling does not help.
    is_sparse = live.schema.is_open and len(live.progress.reach or {}) < len(model.features_)
    if model.network.scaler is not None or not model.features_ or is_sparse:
        return None
    are_pixels = all(is_pixel(str(name)) for name in model.features_)
    least, most = (f(reach, key=reach.__getitem__, default="") for f in (min, max))
    is_apart = bool(reach) and not are_pixels and reach[most] > _FAR_APART * reach[least]
    if 0 < largest < _SMALL_FEATURE:
        return f"they reach only {largest:g}, and steps are tiny", "start over with --standardize"
    if not is_apart and largest <= LARGE_FEATURE:
        return None
    who = f"{most!r} reaches" if reach and reach[most] == largest else "they reach"
    beside = f" and {least!r} only {reach[least]:g}" if is_apart else ""
    how = (
        f"--scale 1/{largest / abs(live.selection.scale or 1):g}"
        if are_pixels
        else "--standardize (in Python: a StandardScaler)"
    )
    evidence = f"{who} {largest:g}{beside}, and a step grows with their square"
    return evidence, f"start over with {how}"


def notes_about(batch: Batch, live: LiveModel) -> list[Note]:
    """Return the notes of a batch, with warnings about features and labels so far."""
    notes, model = list(batch.notes), live.model
    if notes and live.progress.largest > LARGE_FEATURE and (advice := unscaled(live)):
        notes.append(warning(f"unscaled features: {'; '.join(advice)}"))
    k = len(model.network.store.biases)
    # Reading the progress takes time, so check k first.
    if k >= _ENOUGH / 2 and _ENOUGH <= live.progress.samples <= 2 * k:
        notes.append(
            warning(
                "more than half of the samples brought a new label: the label column looks like "
                "an id or a quantity; choose another with --label"
            )
        )
    return notes
