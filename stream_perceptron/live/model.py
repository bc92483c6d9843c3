"""LiveModel: a model with everything needed to resume its training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.checkpoint.archive import (
    add_path_to_errors,
    read_checkpoint,
    write_checkpoint,
)
from stream_perceptron.checkpoint.perceptron import decode_perceptron, encode_perceptron
from stream_perceptron.data.batch import Batch
from stream_perceptron.data.meaning.labels import LABEL_TYPES
from stream_perceptron.data.notices import build_max_weights_warning
from stream_perceptron.data.opening import infer_from_sources
from stream_perceptron.data.reasons import LABEL_DOES_NOT_FIT
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.data.source import Source
from stream_perceptron.errors import (
    CheckpointError,
    DivergedError,
    ModelSizeError,
    StreamPerceptronError,
)
from stream_perceptron.live.files import SourceSegment
from stream_perceptron.live.history import History
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.pending import restore_predictions
from stream_perceptron.live.starting import create_model, infer_state, list_named_columns
from stream_perceptron.live.state import LiveState
from stream_perceptron.live.step_result import StepResult, collect_output_columns
from stream_perceptron.model.arrays import NamedArrays
from stream_perceptron.model.results import TrainOptions, TrainResult
from stream_perceptron.model.rows import REDELIVERED
from stream_perceptron.perceptron import SGDPerceptron

_DEFAULT_OPTIONS = TrainOptions()


class LiveModel:
    """A model with its read options, schema, progress and history.

    Parameters
    ----------
    model
        The perceptron.
    state
        Everything else that a checkpoint stores; None to infer it from the perceptron.

    Attributes
    ----------
    extra : dict
        The data that `stream_perceptron.save` stored with the model.

    Examples
    --------
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> from stream_perceptron.live import learn
    >>> sources = [open_source(str(sample_path()))]
    >>> live = LiveModel.start(sources, lr=0.1, seed=0)
    >>> results = list(learn(live, sources))
    >>> live
    LiveModel(n_seen=5000, accuracy=0.8452, classes=10, features=784)

    """

    def __init__(self, model: SGDPerceptron, state: LiveState | None = None) -> None:
        self.model = model
        self.state = infer_state(model) if state is None else state
        # For a new model, the names in options that no row has had, if rows name their own cells.
        self.unseen_columns: set[str] = set()
        self.seen_columns: set[str] = set()  # what rows have had until then
        self.needs_label = False  # whether a table without a label column is an error
        self.n_redelivered = 0  # redelivered rows since the model was created or loaded
        self.extra: dict[str, Any] = {}
        self.lock = RLock()  # held while the model changes or is copied
        # Whether all parts are consistent; they are not if an error interrupted a step.
        self.is_consistent = True

    def __repr__(self) -> str:
        model, accuracy = self.model, self.progress.accuracy
        figures = "" if accuracy is None else f", accuracy={accuracy:.4f}"
        return (
            f"LiveModel(n_seen={model.n_seen}{figures}, classes={len(model.classes_)}, "
            f"features={len(model.features_)})"
        )

    @classmethod
    def start(
        cls,
        sources: Sequence[Source],
        read_options: ReadOptions | None = None,
        classes: Sequence[str] | None = None,
        needs_label: bool = False,
        **parameters: Any,
    ) -> LiveModel:
        """Create a new model for some sources.

        Parameters
        ----------
        sources
            The sources to read.
        read_options
            The read options: which columns to read, and how.
        classes
            The labels known from the start, as text; None for those that the first source declares.
        needs_label
            Whether a table without a label column is an error.
        parameters
            Parameters of `SGDPerceptron`.

        Raises
        ------
        SourceError
            If no source has rows, or a source lacks a requested column.
        ValueError
            If a parameter is out of range, or a class does not have the labels' type.

        """
        options = read_options or ReadOptions()
        live = cls(*create_model(sources, options, classes, needs_label, parameters))
        live.needs_label = needs_label
        live.unseen_columns = list_named_columns(live.read_options)
        return live

    def resume(
        self, sources: Sequence[Source], read_options: ReadOptions, needs_label: bool = False
    ) -> None:
        """Change the read options, and check that sources fit the model, before any is read.

        The columns of a model that was trained in Python are those of its first source.

        Raises
        ------
        SourceError
            If a source does not fit.

        """
        self.needs_label = needs_label and not read_options.has_join
        inferred = infer_from_sources(sources, self.build_request(read_options=read_options))
        self.state.read_options = inferred.read_options if self.history.is_empty else read_options
        if len(self.state.steps or ()) <= 1 + bool(self.read_options.standardize):
            self.state.steps = None  # rows are raw records, which only an encoder takes

    def continue_reading_of(self, other: LiveModel) -> None:
        """Continue where another model, which has learned nothing, has read its sources."""
        self.state = replace(
            self.state, progress=other.progress, history=other.history,
            redeliveries=other.state.redeliveries,
        )  # fmt: skip

    def replace_with(self, other: LiveModel) -> None:
        """Become another model, such as the average of copies that learned in parallel."""
        with self.lock:
            self.model, self.state = other.model, other.state

    # --- Checkpoints

    @classmethod
    def load(cls, path: str | Path) -> LiveModel:
        """Load a live model, or a model written by `stream_perceptron.save`.

        Raises
        ------
        CheckpointError
            If the file is damaged, forged, or in a format that this version does not read.
        OSError
            If the file cannot be read.

        """
        path = Path(path)
        with add_path_to_errors(path):
            return cls.decode(*read_checkpoint(path))

    def save(self, path: Path, command_state: object = None) -> None:
        """Save everything needed to resume, atomically; see `write_checkpoint`.

        `command_state` is what the command line saves for its next run, as JSON.

        Raises
        ------
        CheckpointError
            If something in the model cannot be saved, or an error interrupted a step.
        OSError
            If the file cannot be written; the old one is unchanged.

        """
        with self.lock:
            if not self.is_consistent:
                raise CheckpointError(f"{path}: not saved, because an error interrupted a step")
            if command_state is not None:
                self.state.command_state = command_state
            write_checkpoint(path, *self.encode())

    def encode(self) -> tuple[dict[str, Any], NamedArrays]:
        """Encode everything needed to resume as JSON and arrays.

        Raises
        ------
        CheckpointError
            If something in the model cannot be saved.

        """
        model, arrays = encode_perceptron(self.model)
        state, more_arrays = self.state.encode(self.model.network.features.ids_by_name)
        meta = {"model": model, "state": state, "extra": self.extra}
        return meta, arrays | more_arrays

    @classmethod
    def decode(cls, meta: dict[str, Any], arrays: NamedArrays) -> LiveModel:
        """Build the live model that `encode` has encoded.

        A forged checkpoint may raise any error; see `convert_to_checkpoint_error`.
        """
        model = decode_perceptron(meta["model"], arrays)
        live = cls(model, LiveState.decode(meta["state"], arrays, len(model.classes_)))
        if not isinstance(meta["extra"], dict):
            raise CheckpointError("extra is not a dict")
        live.extra = meta["extra"]
        return live

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, lock=RLock())

    def __deepcopy__(self, memo: dict[int, object]) -> LiveModel:
        with self.lock:
            new = object.__new__(type(self))
            new.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return new

    # --- What the model is

    @property
    def read_options(self) -> ReadOptions:
        """Which columns to read, and how."""
        return self.state.read_options

    @property
    def schema(self) -> Schema:
        """What the learned rows have decided about the label, the columns and the features."""
        return self.state.schema

    @property
    def progress(self) -> Progress:
        """The metrics up to the last row."""
        return self.state.progress

    @property
    def history(self) -> History:
        """What the model was trained on, and where each file continues."""
        return self.state.history

    @property
    def is_unused(self) -> bool:
        """Whether the model has no learned, predicted or pending samples."""
        has_rows = self.progress.samples or self.progress.unlabeled
        return not (self.model.n_seen or has_rows or self.state.pending.samples)

    @property
    def stopped(self) -> bool:
        """Whether an error below the model's epsilon ended the run."""
        return self.history.stopped_below == self.model.epsilon

    @property
    def lacks_labels(self) -> bool:
        """Whether no row has had a label, although rows must have one or the user has named it."""
        options = self.read_options
        is_misspelt = options.label in self.unseen_columns and not options.has_join
        return (self.needs_label or is_misspelt) and not self.progress.samples

    @property
    def part_not_in_sources(self) -> str | None:
        """The part of a model trained in Python that sources cannot provide, or None.

        This is a feature name that is not a string, or labels that are not all strings, all whole
        numbers or all bools.
        """
        for name in self.model.features_:
            if not isinstance(name, str):
                return f"feature name {name!r:.50}, which is not a string"
        label_types = {type(label).__name__ for label in self.model.classes_}
        if len(label_types) > 1 or not label_types <= LABEL_TYPES.keys():
            return f"labels of type {' and '.join(sorted(label_types))}"
        return None

    def require_runnable(self) -> None:
        """Check that the model can learn and predict the rows of sources.

        Raises
        ------
        CheckpointError
            If a part of the model runs only in Python; see `part_not_in_sources`.

        """
        if part := self.part_not_in_sources:
            raise CheckpointError(
                f"this model runs only in Python, because of its {part}: use predict_one and "
                "learn_one of stream_perceptron.load(PATH).model"
            )

    # --- Rows

    def build_request(
        self, to_learn: bool = True, read_options: ReadOptions | None = None
    ) -> ReadRequest:
        """Return a request for the rows of a source, to learn or to predict them.

        `read_options` are those to use instead of the model's.
        """
        self.require_runnable()
        state, options = self.state, read_options or self.read_options
        known_names = *self.model.features_, *state.pending.known_names
        return ReadRequest(
            options.resolve_positions(state.schema) if to_learn else options,
            state.schema,
            list(dict.fromkeys(map(str, known_names))),
            self.model.classes_,
            options.has_join,
            state.string_columns,
            self.unseen_columns,
            self.seen_columns,
            to_learn,
            needs_label=to_learn and self.needs_label,
            n_records=state.progress.rows,
            max_weights=self.model.max_weights,
        )

    def join_labels(self, batch: Batch) -> Batch:
        """Join late labels with their pending samples, if the read options say so.

        A label that does not fit into the model rejects its row.
        """
        if not self.state.read_options.has_join:
            return batch
        batch = self.state.pending.join(batch, self.read_options)
        rows = self.model.network.find_rows_beyond_max_weights(batch)
        return batch.reject_rows(dict.fromkeys(rows, LABEL_DOES_NOT_FIT)) if rows else batch

    def step(
        self,
        batch: Batch,
        options: TrainOptions = _DEFAULT_OPTIONS,
        is_repeated: bool = False,
        segment: SourceSegment | None = None,
    ) -> StepResult:
        """Test and train on the rows of a batch; rejected rows are counted and left out.

        `is_repeated` says whether the rows were learned before; the history records them if they
        are those of a segment.
        """
        with self.lock:
            n_seen, was_full = self.model.n_seen, self.model.network.is_full
            self.is_consistent = False
            try:
                trained = self.model.train(batch, options)
            except StreamPerceptronError:
                self.is_consistent = self.model.n_seen == n_seen
                raise
            is_late_label = None if batch.joins is None else restore_predictions(batch, trained)
            done = batch[: trained.end]
            rows = self._number_rows(done)[trained.usable_rows]
            result = self._build_result(batch, trained, rows, done, self.state.read_options)
            if batch.offsets and batch.counts_redelivered_rows:
                result.rows = (batch.first_row + np.arange(trained.end))[trained.usable_rows]
            result.is_late_label, result.is_repeated = is_late_label, is_repeated
            if self.model.network.is_full and not was_full:
                result.notices.append(build_max_weights_warning())
            self._commit(done, trained, rows, is_repeated, segment)
            self.is_consistent = True
            return result

    def _number_rows(self, batch: Batch) -> NDArray[np.intp]:
        """Return the number of each row in all runs, from 1; redelivered rows have none."""
        n_before = self.state.progress.rows
        if not batch.offsets:
            return n_before + 1 + np.arange(len(batch))
        return n_before + np.cumsum(batch.status != REDELIVERED)

    def _commit(
        self, batch: Batch, trained: TrainResult, row_numbers: NDArray[np.intp], is_repeated: bool,
        segment: SourceSegment | None,
    ) -> None:  # fmt: skip
        """Record the rows of a batch, which has been processed, and move past them."""
        state, usable = self.state, trained.usable_rows
        if trained.end:
            state.schema = batch.schema
            state.string_columns.update((name, n) for _, name, n in batch.added_strings)
            features = batch if usable is ... else batch.take(usable)
            state.progress.update(trained, row_numbers, features, is_repeated)
            state.progress.skipped += len(batch.rejected)
            if batch.offsets:
                self.n_redelivered += batch.count_redelivered()
            if batch.n_missing is not None:
                state.progress.missing += int(batch.n_missing[usable].sum())
            if segment is not None:
                state.record_rows(segment, batch, self.model)
        if batch.joins is not None:
            state.pending.commit(batch, trained)
        if trained.stopped:
            state.history.stopped_below = float(self.model.epsilon)

    def predict(
        self, batch: Batch, with_all_scores: bool = False, read_options: ReadOptions | None = None
    ) -> StepResult:
        """Predict the rows of a batch without learning; row numbers are those in the source.

        `with_all_scores` adds the score of each label, and `read_options` are those with which the
        batch was read, if they are not the model's.
        """
        options = TrainOptions(with_scores=True, with_all_scores=with_all_scores, learns=False)
        result = self.model.train(batch, options)
        rows = batch.first_row + np.arange(result.end)[result.usable_rows]
        return self._build_result(
            batch, result, rows, batch[: result.end], read_options or self.read_options,
            to_learn=False,
        )  # fmt: skip

    def _build_result(
        self, batch: Batch, result: TrainResult, row_numbers: NDArray[np.intp], processed: Batch,
        read_options: ReadOptions, to_learn: bool = True,
    ) -> StepResult:  # fmt: skip
        """Build the result for the usable rows of a batch up to the last one `processed`."""
        failure, end = result.memory_error, result.end
        place = "" if end == len(batch) else batch.format_location(end)
        if result.diverged and to_learn and batch.label_ids[end] >= 0:
            failure = DivergedError(self.model.n_seen + 1, place)
        elif result.diverged:
            reason = "its net input is not finite: scale the features"
            failure = StreamPerceptronError(f"{place}: {reason}")
        elif isinstance(failure, ModelSizeError):
            failure = ModelSizeError(f"{place}: {failure}")
        return StepResult(
            rows=row_numbers,
            predicted=result.predicted,
            classes=self.model.classes_,
            scores=result.scores,
            all_scores=result.all_scores,
            labels=processed.list_labels(result.usable_rows),
            updated=result.updated,
            targets=result.targets,
            batch=processed,
            rejected=processed.rejections() if processed.rejected else [],
            notices=list(batch.notices) if to_learn else [],
            copied_columns=collect_output_columns(processed, read_options),
            stopped=result.stopped,
            failure=failure,
        )
