"""What a person should know of the rows that a model learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.describe import Note, warning

if TYPE_CHECKING:
    from stream_perceptron.live.model import LiveModel

# Beyond this net inputs are far out where bounded activations are flat.
_LARGE_FEATURE = 16.0

_ENOUGH = 1000  # samples to judge labels by


def notes_about(batch: Batch, live: LiveModel) -> list[Note]:
    """Return the notes of a batch, and warnings about its features and about all labels so far."""
    notes, model = list(batch.notes), live.model
    if notes and model.activation != "identity" and model.network.scaler is None:
        largest = batch.features.largest()
        if largest > _LARGE_FEATURE:
            notes.append(
                warning(
                    f"features reach {largest:g}, where {model.activation} is flat and hardly "
                    "learns: --standardize scales them, and --scale 1/255 does for pixels"
                )
            )
    k = len(model.network.store.biases)
    # To ask for the progress has its cost.
    if k >= _ENOUGH / 2 and _ENOUGH <= live.progress.samples <= 2 * k:
        notes.append(
            warning(
                "more than half of the samples brought a new label: the label column looks like "
                "an id or a quantity; choose another with --label"
            )
        )
    return notes
