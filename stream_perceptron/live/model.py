"""LiveModel: a model with everything needed to resume its training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
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
from stream_perceptron.checkpoint.encoding import from_json, to_json
from stream_perceptron.checkpoint.state import (
    decode_extra,
    decode_model,
    decode_steps,
    encode_model,
)
from stream_perceptron.data.batch import Batch, Redeliveries
from stream_perceptron.data.meaning.labels import LABEL_TYPES, parse_classes
from stream_perceptron.data.naming import is_position
from stream_perceptron.data.notices import build_full_model_warning
from stream_perceptron.data.opening import infer_from_sources
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.data.source import Source
from stream_perceptron.errors import (
    CheckpointError,
    DivergedError,
    ModelSizeError,
    SourceError,
    StreamPerceptronError,
)
from stream_perceptron.live.history import History
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.pending import PendingSamples, restore_predictions
from stream_perceptron.live.step_result import StepResult, collect_copied_columns
from stream_perceptron.model import defaults
from stream_perceptron.model.arrays import NamedArrays
from stream_perceptron.model.results import TrainOptions, TrainResult
from stream_perceptron.model.rows import REDELIVERED
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.perceptron import SGDPerceptron

_DEFAULT_OPTIONS = TrainOptions()


@dataclass(eq=False, repr=False)
class LiveState:
    """The state of a live model in a checkpoint, apart from the perceptron and the arrays."""

    read_options: ReadOptions = field(default_factory=ReadOptions)
    schema: Schema = field(default_factory=Schema)
    string_columns: dict[str, int] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    history: History = field(default_factory=History)
    command_state: Any = field(default=None, metadata={"is_json": True})
    redeliveries: Redeliveries = field(default_factory=Redeliveries)
    pending: PendingSamples | None = None


class LiveModel:
    """A model with its read options, schema, progress and history.

    Parameters
    ----------
    model
        The perceptron.
    read_options
        The read options: which columns to read, and how.
    schema
        What the learned rows have decided about the label, the columns and the features.

    Attributes
    ----------
    progress : Progress
        The metrics up to the last row.
    history : History
        What the model was trained on, and where each file continues.
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
    >>> live.progress.samples, f"{live.progress.accuracy:.1%}"
    (5000, '84.5%')

    """

    def __init__(
        self,
        model: SGDPerceptron,
        read_options: ReadOptions | None = None,
        schema: Schema | None = None,
    ) -> None:
        self.model = model
        self.read_options = read_options or ReadOptions()
        self.schema = schema or Schema()
        self.progress = Progress()
        self.history = History(is_complete=model.n_seen == 0)
        self.command_state: Any = None  # what the command line saves for its next run, as JSON
        self.redeliveries = Redeliveries()  # the highest offset of each partition
        self.pending = PendingSamples()  # the pending samples, if labels are joined
        # The columns and paths whose strings have been learned, in order.
        self.string_columns: dict[str, int] = {}
        # For a new model, the names in options that no row has had, if rows name their own cells.
        self.unseen_columns: set[str] = set()
        self.seen_columns: set[str] = set()  # what rows have had until then
        self.needs_label = False  # whether a table without a label column is an error
        # The saved pipeline's step that runs only in Python.
        self.python_only_step: str | None = None
        self.n_redelivered = 0  # redelivered rows since the model was created or loaded
        self.extra: dict[str, Any] = {}
        self.lock = RLock()  # held while the model changes or is copied
        # Whether all parts are consistent; they are not if an error interrupted a step.
        self.is_consistent = True

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
        read_options = read_options or ReadOptions()
        max_weights = parameters.get("max_weights", defaults.MAX_WEIGHTS)
        request = ReadRequest(read_options, needs_label=needs_label, max_weights=max_weights)
        inferred = infer_from_sources(sources, request, is_new=True)
        if inferred.first is None or inferred.layout is None:
            source, problem = sources[0], "it has no rows"
            if source.n_unread_bytes:
                problem = "its first row ends within a quoted cell"
            raise SourceError(f"{source.name}: {problem}")
        read_options, schema = inferred.read_options, Schema()
        declared = (
            inferred.first.classes if inferred.layout.read_options.label is not None else None
        )
        if classes is not None:
            declared, label_type = parse_classes(classes, inferred.schema.label_type)
            schema = Schema(label_type=label_type)
        live = cls(SGDPerceptron(classes=declared, **parameters), read_options, schema)
        live.needs_label = needs_label
        names = {*read_options.roles, *read_options.categorical, *read_options.keep}
        names.update(filter(None, [read_options.label]))
        live.unseen_columns = {name for name in names if not is_position(name)}
        if read_options.standardize:
            live.model.network.scaler = Scaler()
        return live

    @classmethod
    def load(cls, path: str | Path) -> LiveModel:
        """Load a live model, or a model written by `stream_perceptron.save`.

        Raises
        ------
        CheckpointError
            If the file is damaged, forged or from a newer version.
        OSError
            If the file cannot be read.

        """
        path = Path(path)
        with add_path_to_errors(path):
            meta, arrays = read_checkpoint(path)
            live, state = cls(decode_model(meta, arrays)), meta.get("live")
            live.python_only_step = decode_steps(meta).python_only_step
            live.extra = decode_extra(meta)
            if state is None:
                live._infer_state()
            else:
                live._restore(from_json(LiveState, state, "state"), arrays)
            return live

    def _infer_state(self) -> None:
        """Set the read options and the schema of a model saved by `stream_perceptron.save`."""
        model = self.model
        self.read_options = ReadOptions(standardize=model.network.scaler is not None)
        types = {type(label).__name__ for label in model.classes_}
        label_type = types.pop() if len(types) == 1 and types < set(LABEL_TYPES) else None
        self.schema = Schema(tuple(str(name) for name in model.features_), label_type)

    def _restore(self, state: LiveState, arrays: NamedArrays) -> None:
        """Restore the state from a checkpoint."""
        n_labels = len(self.model.classes_)
        self.read_options, self.schema = state.read_options, state.schema
        self.string_columns = state.string_columns
        self.progress, self.history = state.progress, state.history
        self.command_state, self.redeliveries = state.command_state, state.redeliveries
        self.progress.restore(arrays, n_labels)
        if state.pending is not None:
            self.pending = state.pending
            self.pending.restore(arrays, self.read_options.max_pending, n_labels)

    def save(self, path: Path) -> None:
        """Save everything needed to resume, atomically; see `write_checkpoint`.

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
            write_checkpoint(path, *self.encode())

    def encode(self) -> tuple[dict[str, Any], NamedArrays]:
        """Encode everything needed to resume as JSON and arrays.

        Raises
        ------
        CheckpointError
            If something in the model cannot be saved.

        """
        self.require_runnable()
        meta, arrays = encode_model(self.model)
        arrays |= self.progress.arrays
        state = LiveState(
            self.read_options, self.schema, self.string_columns, self.progress,
            self.history, self.command_state, self.redeliveries,
        )  # fmt: skip
        if self.read_options.has_join:
            known = map(str, self.model.network.features.ids_by_name)
            self.pending.names = sorted(set(self.pending.known_names).difference(known))
            arrays |= self.pending.arrays()
            state.pending = self.pending
        return meta | {"extra": self.extra, "live": to_json(state)}, arrays

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, lock=RLock())

    def __deepcopy__(self, memo: dict[int, object]) -> LiveModel:
        with self.lock:
            new = object.__new__(type(self))
            new.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return new

    @property
    def is_trained_in_python(self) -> bool:
        """Whether the model learned only in Python; if so, its first source defines the columns."""
        history = self.history
        return not (history.is_complete or history.entries or history.positions)

    @property
    def is_unused(self) -> bool:
        """Whether the model has no learned, predicted or pending samples."""
        has_rows = self.progress.samples or self.progress.unlabeled
        return not (self.model.n_seen or has_rows or self.pending.samples)

    @property
    def stopped(self) -> bool:
        """Whether an error below the model's epsilon ended the run."""
        return self.history.stopped_below == self.model.epsilon

    @property
    def python_only_part(self) -> str | None:
        """The part of a model saved in Python that sources cannot provide, or None.

        This is a pipeline step, a feature name that is not a string, or labels that are not all
        strings, all whole numbers or all bools.
        """
        if self.python_only_step is not None:
            return f"step {self.python_only_step}"
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
            If a part of the model runs only in Python; see `python_only_part`.

        """
        if part := self.python_only_part:
            raise CheckpointError(
                f"this model runs only in Python, because of its {part}: use predict_one and "
                "learn_one of stream_perceptron.load(PATH).model"
            )

    def build_request(self, to_learn: bool = True) -> ReadRequest:
        """Return a request for the rows of a source, to learn or to predict them."""
        self.require_runnable()
        known_names = *self.model.features_, *self.pending.known_names
        return ReadRequest(
            self.read_options.resolve_positions(self.schema) if to_learn else self.read_options,
            self.schema,
            list(dict.fromkeys(map(str, known_names))),
            self.model.classes_,
            self.read_options.has_join,
            self.string_columns,
            self.unseen_columns,
            self.seen_columns,
            to_learn,
            needs_label=to_learn and self.needs_label,
            n_records=self.progress.rows,
            max_weights=self.model.max_weights,
        )

    @property
    def lacks_labels(self) -> bool:
        """Whether no row has had a label, although rows must have one or the user has named it."""
        options = self.read_options
        is_misspelt = options.label in self.unseen_columns and not options.has_join
        return (self.needs_label or is_misspelt) and not self.progress.samples

    def require_compatible(self, sources: Sequence[Source]) -> None:
        """Check that sources fit the model, before any is read.

        The first source of a model that was trained in Python decides the scale of features.

        Raises
        ------
        SourceError
            If a source does not fit.

        """
        request = self.build_request()
        inferred = infer_from_sources(sources, request, is_new=self.is_trained_in_python)
        if self.is_trained_in_python:
            self.read_options = inferred.read_options

    def step(
        self, batch: Batch, options: TrainOptions = _DEFAULT_OPTIONS, is_repeated: bool = False
    ) -> StepResult:
        """Test and train on the rows of a batch; rejected rows are counted and left out.

        `is_repeated` says whether the rows were learned before.
        """
        with self.lock:
            seen, rows_before = self.model.n_seen, self.progress.rows
            self.is_consistent = False
            was_full = self.model.network.is_full
            try:
                trained = self.model.train(batch, options)
            except StreamPerceptronError:
                self.is_consistent = self.model.n_seen == seen
                raise
            is_late_label = None if batch.joins is None else restore_predictions(batch, trained)
            done, rows = batch[: trained.end], rows_before + 1 + np.arange(trained.end)
            if batch.offsets:  # redelivered rows have no number
                rows = rows_before + np.cumsum(done.status != REDELIVERED)
            rows = rows[trained.usable_rows]
            result = self._build_result(batch, trained, rows, done)
            if batch.offsets and batch.counts_redelivered_rows:
                result.rows = (batch.first_row + np.arange(trained.end))[trained.usable_rows]
            result.is_late_label, result.is_repeated = is_late_label, is_repeated
            if self.model.network.is_full and not was_full:
                result.notices.append(build_full_model_warning())
            if trained.end:
                self.schema = done.schema
                self.string_columns.update((name, n) for _, name, n in done.added_strings)
                self._update_progress(done, trained, rows, is_repeated)
            if done.joins is not None:
                self.pending.commit(done, trained)
            self.is_consistent = True
            return result

    def _update_progress(
        self, batch: Batch, trained: TrainResult, rows: NDArray[np.intp], is_repeated: bool
    ) -> None:
        """Count the rows of a batch that has been processed, and the results of its usable rows."""
        progress, usable = self.progress, trained.usable_rows
        features = batch if usable is ... else batch.take(usable)
        progress.update(trained, rows, features, is_repeated)
        progress.skipped += len(batch.rejected)
        if batch.offsets:
            self.n_redelivered += batch.count_redelivered()
        if batch.n_missing is not None:
            progress.missing += int(batch.n_missing[usable].sum())

    def predict(self, batch: Batch, with_all_scores: bool = False) -> StepResult:
        """Predict the rows of a batch without learning; row numbers are those in the source.

        `with_all_scores` adds the score of each label.
        """
        options = TrainOptions(with_scores=True, with_all_scores=with_all_scores, learns=False)
        result = self.model.train(batch, options)
        rows = batch.first_row + np.arange(result.end)[result.usable_rows]
        return self._build_result(batch, result, rows, batch[: result.end], to_learn=False)

    def _build_result(
        self, batch: Batch, result: TrainResult, rows: NDArray[np.intp], done: Batch,
        to_learn: bool = True,
    ) -> StepResult:  # fmt: skip
        """Build the result for the first usable rows of a batch; `done` has the rows processed."""
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
            rows=rows,
            predicted=result.predicted,
            classes=self.model.classes_,
            scores=result.scores,
            all_scores=result.all_scores,
            labels=done.list_labels(result.usable_rows),
            updated=result.updated,
            targets=result.targets,
            batch=done,
            rejected=done.rejections() if done.rejected else [],
            notices=list(batch.notices) if to_learn else [],
            copied_columns=collect_copied_columns(done, self.read_options),
            stopped=result.stopped,
            failure=failure,
        )
