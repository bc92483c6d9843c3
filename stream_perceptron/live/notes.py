"""What a person should know of the rows that a model learns."""

from __future__ import annotations

from stream_perceptron.data.batch import Batch
from stream_perceptron.perceptron import SGDPerceptron

# Beyond this net inputs are far out where bounded activations are flat.
_LARGE_FEATURE = 16.0

_ENOUGH = 1000  # samples to judge labels by


def notes_about(batch: Batch, model: SGDPerceptron) -> list[str]:
    """Return the notes of a batch, and warnings about its features and about all labels so far."""
    notes = list(batch.notes)
    if notes and model.activation != "identity" and model.network.scaler is None:
        largest = batch.features.largest()
        if largest > _LARGE_FEATURE:
            notes.append(
                f"warning: features reach {largest:g}, where {model.activation} is flat and "
                "hardly learns: --standardize scales them, and --scale 1/255 does for pixels"
            )
    if model.n_seen >= _ENOUGH and len(model.network.store.biases) >= model.n_seen / 2:
        notes.append(
            "warning: more than half of the samples brought a new label: the label column looks "
            "like an id or a quantity; choose another with --label"
        )
    return notes
