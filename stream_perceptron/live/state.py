"""What a checkpoint stores of a live model, besides the perceptron."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from stream_perceptron.checkpoint.encoding import convert_from_json_value, convert_to_json_value
from stream_perceptron.data.batch import Batch, Redeliveries
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.live.files import SourceSegment
from stream_perceptron.live.history import ROWS, Entry, History, try_encode_lr
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.pending import PendingSamples
from stream_perceptron.model.arrays import NamedArrays
from stream_perceptron.perceptron import SGDPerceptron


@dataclass(eq=False, repr=False)
class LiveState:
    """The state of a live model, apart from its perceptron."""

    # Which columns to read, and how.
    read_options: ReadOptions = field(default_factory=ReadOptions)
    # What the learned rows have decided about the label, the columns and the features.
    schema: Schema = field(default_factory=Schema)
    # The columns and paths that have had strings, each with the number of features that these have
    # added.
    string_columns: dict[str, int] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)  # the metrics up to the last row
    # What the model was trained on, and where each file continues.
    history: History = field(default_factory=History)
    redeliveries: Redeliveries = field(default_factory=Redeliveries)
    pending: PendingSamples = field(default_factory=PendingSamples)  # if labels are joined
    # What the command line saves for its next run, as JSON.
    command_state: Any = field(default=None, metadata={"is_json": True})
    # The names of the steps of the River pipeline; none for a perceptron alone, and None for the
    # default pipeline, which takes raw records.
    steps: list[str] | None = None

    def record_rows(self, segment: SourceSegment, batch: Batch, model: SGDPerceptron) -> None:
        """Record the rows of a segment that the model has learned, and move past them."""
        before, after = segment.advance(batch)
        history = self.history
        for offset in batch.offsets:
            self.redeliveries.update(offset)
        if after.rows > before.rows or not segment.is_stream:
            history.set_last_file(segment.progress)
            entry = Entry(
                (after,), ROWS, before.rows, after.rows, before.offset, len(batch.rejected),
                try_encode_lr(model.lr_), float(model.epsilon), self.read_options.keep,
                segment.is_repeated,
            )  # fmt: skip
            history.add(entry, before)
        history.stopped_below = None

    def encode(self, features: Iterable[object]) -> tuple[object, NamedArrays]:
        """Return the state as JSON and arrays, given the features of the perceptron."""
        arrays = dict(self.progress.arrays)
        if self.read_options.has_join:
            known = map(str, features)
            self.pending.unlearned_names = sorted(set(self.pending.known_names).difference(known))
            arrays |= self.pending.arrays()
        return convert_to_json_value(self), arrays

    @classmethod
    def decode(cls, saved: object, arrays: NamedArrays, n_labels: int) -> LiveState:
        """Return the state that `encode` has returned.

        Raises
        ------
        CheckpointError
            If its parts are inconsistent.

        """
        state = convert_from_json_value(cls, saved, "state")
        state.progress.restore(arrays, n_labels)
        if state.read_options.has_join:
            state.pending.restore(arrays, state.read_options.max_pending, n_labels)
        return state
