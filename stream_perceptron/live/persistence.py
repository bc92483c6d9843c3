"""Saving and loading live models."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from stream_perceptron.checkpoint.archive import (
    add_path_to_errors,
    read_checkpoint,
    write_checkpoint,
)
from stream_perceptron.checkpoint.codec import from_json, to_json
from stream_perceptron.checkpoint.pipelines import absorb_scaler
from stream_perceptron.checkpoint.state import encode_model, split_checkpoint
from stream_perceptron.data.labels import LABEL_TYPES
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.errors import CheckpointError
from stream_perceptron.live.cursor import Cursor
from stream_perceptron.live.ledger import Ledger
from stream_perceptron.live.lineage import Lineage
from stream_perceptron.live.marks import Mark, Marks
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.pending import PendingSamples
from stream_perceptron.perceptron import SGDPerceptron


@dataclass(eq=False, repr=False)
class _Run:
    """The saved state of a run, apart from the model and the arrays."""

    read_options: ReadOptions
    schema: Schema
    progress: Progress
    curve_bin: int
    cursor: Cursor
    lineage: Lineage
    pending: PendingSamples | None = None
    marks: list[Mark] = field(default_factory=list)


class SavedModel(NamedTuple):
    """The parts of a live model that a checkpoint holds."""

    model: SGDPerceptron
    read_options: ReadOptions
    schema: Schema
    ledger: Ledger
    pending: PendingSamples | None
    python_step: str | None


def read_live_model(path: Path) -> SavedModel:
    """Load the state of a live model from a checkpoint.

    A file written by `stream_perceptron.save` contains only the model, so all other parts are new.
    """
    with add_path_to_errors(path):
        meta, members = read_checkpoint(path)
        steps = meta.get("steps")
        model, run, arrays = split_checkpoint(meta, members)
        python_step = absorb_scaler(steps, model)
        if run is None:
            names = tuple(str(name) for name in model.features_)
            read_options = ReadOptions(standardize=model.network.scaler is not None)
            lineage = Lineage(is_complete=model.n_seen == 0)
            ledger = Ledger(Progress(), Cursor(), lineage)
            types = {type(label).__name__ for label in model.classes_}
            label_type = types.pop() if len(types) == 1 and types < set(LABEL_TYPES) else None
            schema = Schema(names or None, label_type)
            return SavedModel(model, read_options, schema, ledger, None, python_step)
        saved = from_json(_Run, run, "run")
        read_options, pending = saved.read_options, saved.pending
        if pending is not None:
            pending.restore(arrays, read_options.max_pending, len(model.classes_))
        saved.progress.restore(arrays, saved.curve_bin, len(model.classes_))
        marks = Marks(saved.marks)
        ledger = Ledger(saved.progress, saved.cursor, saved.lineage, marks)
        return SavedModel(model, read_options, saved.schema, ledger, pending, python_step)


def write_live_model(
    path: Path,
    model: SGDPerceptron,
    read_options: ReadOptions,
    schema: Schema,
    ledger: Ledger,
    pending: PendingSamples,
) -> None:
    """Save a live model atomically."""
    if not ledger.is_consistent:
        raise CheckpointError(f"{path}: not saved, because an error interrupted a step")
    ledger.update_mark()
    meta, arrays = encode_model(model)
    progress = ledger.progress
    arrays |= progress.arrays
    cursor = ledger.cursor.copy_for_saving()
    run = _Run(
        read_options, schema, progress, progress.curve.bin, cursor, ledger.lineage,
        marks=list(ledger.marks),
    )  # fmt: skip
    if read_options.has_join:
        known = model.network.features.ids_by_name
        pending.names = sorted(set(pending.known_names).difference(map(str, known)))
        arrays |= pending.arrays()
        run.pending = pending
    write_checkpoint(path, meta | {"extra": {}, "run": to_json(run)}, arrays)
