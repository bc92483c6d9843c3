"""LiveModel: a model with everything needed to resume its training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Batch
from stream_perceptron.data.byte_stream import IdleCallback
from stream_perceptron.data.labels import LABEL_TYPES
from stream_perceptron.data.naming import is_position
from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.data.source import Source, is_any_interrupted
from stream_perceptron.errors import (
    CheckpointError,
    SourceError,
    StreamPerceptronError,
)
from stream_perceptron.live.cursor import Cursor, Shards
from stream_perceptron.live.driver import (
    SourceHooks,
    Step,
    StepOptions,
    drive,
    read_batches,
    slice_batches,
)
from stream_perceptron.live.ledger import Ledger
from stream_perceptron.live.lineage import Lineage
from stream_perceptron.live.marks import Marks
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.pending import JoinedBatch, PendingSamples
from stream_perceptron.live.persistence import read_live_model, write_live_model
from stream_perceptron.live.step_result import StepResult, build_result, collect_notes
from stream_perceptron.model import defaults
from stream_perceptron.model.results import TrainOptions, TrainResult
from stream_perceptron.model.rows import Samples
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.weights import NAME_COST
from stream_perceptron.perceptron import SGDPerceptron

# Called with a step and a batch, in place of the step; may examine the model before and after the
# step.
StepWrapper = Callable[[Step, Batch], StepResult]

# Returns the model for the next rows; its argument checks whether a model fits the source.
Reload = Callable[[Callable[["LiveModel"], None]], "LiveModel"]

_DEFAULT_OPTIONS = StepOptions()
_MIN_NAME_LIFETIME = 1000  # rows after which the names of evicted samples are forgotten
_RELOAD_ROWS = 100  # rows predicted between two checks for another model


class LiveModel:
    """A model with its read options, schema, progress, cursor and lineage.

    Parameters
    ----------
    model
        The perceptron.
    read_options
        The read options: which columns to read, and how.
    schema
        The columns and types found in the learned rows.
    ledger
        The progress, the cursor and the lineage.

    Attributes
    ----------
    pending : PendingSamples
        The pending samples, if labels are joined.
    unseen : frozenset of str
        For a new model, the names in options that have not yet occurred in a row, if rows name
        their own cells.
    python_step : str or None
        The step of a saved pipeline that runs only in Python.
    needs_label : bool
        Whether learning from a table without a label column is an error.

    Examples
    --------
    >>> from stream_perceptron.data.opening import open_source
    >>> from stream_perceptron.datasets.mnist import sample_path
    >>> sources = [open_source(str(sample_path()))]
    >>> live = LiveModel.start(sources, lr=0.1, seed=0)
    >>> results = list(live.run(sources))
    >>> live.progress.samples, f"{live.progress.accuracy:.1%}"
    (5000, '84.5%')

    """

    def __init__(
        self,
        model: SGDPerceptron,
        read_options: ReadOptions | None = None,
        schema: Schema | None = None,
        ledger: Ledger | None = None,
        pending: PendingSamples | None = None,
        python_step: str | None = None,
    ) -> None:
        self.model = model
        self.read_options = read_options or ReadOptions()
        self.schema = schema or Schema()
        self.unseen: frozenset[str] = frozenset()
        is_new = model.n_seen == 0
        self.ledger = ledger or Ledger(Progress(), Cursor(), Lineage(is_complete=is_new))
        self.pending = pending or PendingSamples()
        self.needs_label = False
        self.python_step = python_step

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
        max_features = parameters.get("max_weights", defaults.MAX_WEIGHTS) // NAME_COST
        request = Request(read_options, needs_label=needs_label, max_features=max_features)
        declared: list[object] | None = None
        schema, is_first = Schema(), True
        for source in sources:
            opening = source.open(request)
            if opening is None:
                continue
            if is_first:
                is_first = False
                options = opening.layout.read_options
                declared = source.classes if options.label is not None else None
                # Keep the name of the join column: the column order may differ in the next source.
                read_options = replace(
                    opening.scale_pixels(read_options), join=options.join or read_options.join
                )
                request = replace(request, read_options=read_options)
            request = request.after(opening.schema)
        if is_first:
            raise SourceError(f"{sources[0].name}: it has no rows")
        if classes is not None:
            declared, typed = request.schema.parse_classes(classes)
            schema = Schema(label_type=typed.label_type)
        live = cls(SGDPerceptron(classes=declared, **parameters), read_options, schema)
        live.needs_label = needs_label
        live.unseen = frozenset(
            name for name in read_options.named_columns if not is_position(name)
        )
        if read_options.standardize:
            live.model.network.scaler = Scaler()
        return live

    @classmethod
    def load(cls, path: Path) -> LiveModel:
        """Load a live model, or a model written by `stream_perceptron.save`.

        Raises
        ------
        CheckpointError
            If the file is damaged, forged or from a newer version.
        OSError
            If the file cannot be read.

        """
        saved = read_live_model(path)
        return cls(
            saved.model, saved.read_options, saved.schema, saved.ledger,
            saved.pending, saved.python_step,
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Save everything needed to resume, atomically; see `write_checkpoint`.

        Raises
        ------
        CheckpointError
            If something in the model cannot be saved, or an error interrupted a step.
        OSError
            If the file cannot be written; the old one is unchanged.

        """
        self.require_runnable()
        with self.ledger.lock:
            write_live_model(
                path, self.model, self.read_options, self.schema, self.ledger, self.pending
            )

    def __deepcopy__(self, memo: dict[int, object]) -> LiveModel:
        with self.ledger.lock:
            new = object.__new__(type(self))
            vars(new).update(copy.deepcopy(vars(self), memo))
        return new

    @property
    def progress(self) -> Progress:
        """The metrics up to the last row."""
        return self.ledger.progress

    @property
    def cursor(self) -> Cursor:
        """The position in the sources; text files are identified when the model is saved."""
        return self.ledger.cursor

    @property
    def lineage(self) -> Lineage:
        """The record of the rows that the model learned from."""
        self.ledger.update_mark()
        return self.ledger.lineage

    @property
    def marks(self) -> Marks:
        """How far each file has been learned."""
        self.ledger.update_mark()
        return self.ledger.marks

    @property
    def is_trained_in_python(self) -> bool:
        """Whether the model learned only in Python; if so, its first source defines the columns."""
        is_traced = self.lineage.is_complete or self.lineage.entries
        return not is_traced and not self.cursor.sources

    @property
    def is_unused(self) -> bool:
        """Whether the model has neither learned nor predicted a sample, and none is pending."""
        has_rows = self.progress.samples or self.progress.unlabeled
        return not (self.model.n_seen or has_rows or self.pending.samples)

    @property
    def stopped(self) -> bool:
        """Whether an error below the model's epsilon ended the run."""
        return self.cursor.stopped_below == self.model.epsilon

    @property
    def python_only_part(self) -> str | None:
        """The part of a model saved in Python that sources cannot provide, or None.

        This is a pipeline step, a feature name that is not a text, or labels that are not all
        texts, all whole numbers or all bools.
        """
        if self.python_step is not None:
            return f"step {self.python_step}"
        for name in self.model.features_:
            if not isinstance(name, str):
                return f"feature name {name!r:.50}, which is not a text"
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

    def request(self, to_learn: bool = True) -> Request:
        """Return a request for the rows of a source, to learn or to predict them."""
        self.require_runnable()
        known_names = *self.model.features_, *self.pending.known_names
        return Request(
            roles.resolve_positions(self.read_options, self.schema)
            if to_learn
            else self.read_options,
            self.schema,
            list(dict.fromkeys(map(str, known_names))),
            self.unseen,
            to_learn,
            needs_label=to_learn and self.needs_label,
            max_features=self.model.max_weights // NAME_COST,
        )

    def resume(
        self,
        sources: Sequence[Source],
        *,
        again: bool = False,
        epochs: int | None = 1,
        shards: Shards | None = None,
    ) -> Cursor:
        """Return the cursor from which to resume in these sources; the model stays unchanged.

        Parameters
        ----------
        sources
            The sources to read. In the first pass, each file is read from its mark to its end.
        again
            Whether all files are read from the start, even if they were learned before.
        epochs
            As for `run`.
        shards
            The split of the rows into shards, if any.

        Raises
        ------
        SourceError
            If a source does not fit the model.
        CheckpointError
            If an unfinished run drew rows from some of these files at random or read them in
            shards.

        """
        request = self.request()
        for source in sources:
            opening = source.open(request)
            request = request if opening is None else request.after(opening.schema)
        self.ledger.update_mark()
        at_random = any(source.is_random for source in sources)
        if not at_random and shards is None:
            return self.cursor.resume(sources, again, epochs)
        fingerprints = [fingerprint for source in sources for fingerprint in source.fingerprints()]
        return self.cursor.resume_unordered(fingerprints, at_random, shards, again)

    def run(
        self,
        sources: Sequence[Source],
        cursor: Cursor | None = None,
        idle: IdleCallback | None = None,
        wrap_step: StepWrapper | None = None,
        *,
        epochs: int | None = 1,
        limit: int | None = None,
        stop: bool = False,
        skip_rejected: bool = False,
        with_scores: bool = False,
        with_all_scores: bool = False,
        every: int | None = None,
        n_single_rows: int = 0,
        reads_unused_columns: bool = False,
        notify: Callable[[str], None] = lambda text: None,
    ) -> Generator[StepResult, None, None]:
        """Test and train on the rows of some sources; yield after every batch.

        At each yield, the model, its progress and its cursor are consistent and may be saved. The
        model stays unchanged until the first row is learned. If a source is interrupted, the run
        ends as if there were no more rows, but its cursor is not marked as finished.

        Parameters
        ----------
        sources
            The sources to read, in order.
        cursor
            The cursor to begin from, as returned by `resume`; None for the model's own.
        idle
            Called before and during a wait for rows, when the model may be saved. It returns the
            seconds until the next call, or None for no further call.
        wrap_step
            Called in place of the step, with the step and each batch.
        epochs
            The number of times to read all sources; None for no limit.
        limit
            The maximum number of rows to read from these sources, including those read in earlier
            runs; for a pipe, only rows of this run count. None for no limit.
        stop
            Whether the first sample with an error below the model's epsilon ends the run.
        skip_rejected
            Whether rows that cannot be used are left out, instead of ending the run.
        with_scores, with_all_scores
            Whether results include the score of each prediction, and of each label.
        every
            Also yield at multiples of this number of rows read.
        n_single_rows
            The number of rows to learn one by one at the start of the run.
        reads_unused_columns
            Whether unused columns are read, too, so that rejected rows contain all their columns.
        notify
            Called with a line of text when a file is skipped because all of its rows were learned
            before, and when a file has replaced another one of the same name.

        Raises
        ------
        SourceError
            If a source is damaged or does not fit, or a file has changed since some of its rows
            were learned.
        SampleError, DivergedError
            If a row cannot be used, or a weight or an error would become infinite or NaN. The model
            has learned all rows before that row.

        """
        options = StepOptions(stop, skip_rejected, with_scores, with_all_scores)
        is_random = any(source.is_random for source in sources)
        if self.read_options.join and (stop or epochs != 1 or is_random):
            raise ValueError("late labels need a single pass in order, without stop=True")
        self.ledger.update_mark()
        run_cursor = (cursor or self.cursor).copy_for_run(self.model.epsilon, stop)
        run_cursor.at_random = run_cursor.at_random or is_random
        if not run_cursor.finished:
            request = replace(self.request(), reads_unused_columns=reads_unused_columns)
            step: Step = partial(self.step, options=options, run_cursor=run_cursor, sources=sources)
            if wrap_step is not None:
                step = partial(wrap_step, step)
            hooks = SourceHooks(
                partial(self.ledger.begin_source, notify),
                partial(self.ledger.end_source, run_cursor),
                self.name_lifetime,
                self._forget_names,
            )
            end = run_cursor.compute_end(limit)
            with closing(
                read_batches(sources, request, run_cursor, epochs, idle, hooks, end)
            ) as batches:
                parts = slice_batches(batches, sources, run_cursor, end, every, n_single_rows)
                yield from drive(self.join(parts), step, skip_rejected)
            self.ledger.update_mark()
            run_cursor.finished = not is_any_interrupted(sources)
            run_cursor.outputs = self.cursor.outputs
        if run_cursor.finished:
            self.ledger.cursor = run_cursor

    def join(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, with late labels joined."""
        for batch in batches:
            has_join = self.read_options.has_join
            yield self.pending.join(batch, self.read_options) if has_join else batch

    @property
    def name_lifetime(self) -> int | None:
        """The number of rows after which names of evicted samples are forgotten; None for never."""
        return (
            max(_MIN_NAME_LIFETIME, self.read_options.max_pending)
            if self.read_options.has_join
            else None
        )

    def _forget_names(self) -> Sequence[str]:
        """Forget the names that neither the model nor any pending sample uses; return the others.

        This happens at fixed rows, so that a resumed run forgets the names at the same rows.
        """
        with self.ledger.lock:
            self.pending.forget_names()
            used = map(str, [*self.model.features_, *self.pending.feature_names()])
            return list(dict.fromkeys(used))

    def step(
        self,
        batch: Batch,
        options: StepOptions = _DEFAULT_OPTIONS,
        run_cursor: Cursor | None = None,
        sources: Sequence[Source] = (),
    ) -> StepResult:
        """Test and train on the rows of a batch; rejected rows are counted and left out.

        The model, its progress and its schema change together with `run_cursor`, if given.
        """
        with self.ledger.lock:
            ledger, seen, rows_before = self.ledger, self.model.n_seen, self.ledger.rows
            ledger.is_consistent = False
            try:
                trained = self._train(batch, batch.labels, options)
            except StreamPerceptronError:
                ledger.is_consistent = self.model.n_seen == seen
                raise
            is_late_label = (
                batch.restore_predictions(trained) if isinstance(batch, JoinedBatch) else None
            )
            done = batch[: _count_done(batch, trained)]
            rows = rows_before + 1 + batch.rows[: len(trained)]
            if batch.redelivered is not None:
                # Redelivered rows have no number.
                rows = rows_before + np.cumsum(~batch.redelivered)[batch.rows[: len(trained)]]
            result = build_result(self, batch, trained, rows, done)
            result.is_late_label = is_late_label
            n_repeated = len(trained) if options.is_repeated else 0
            if run_cursor is not None and (n_known := run_cursor.count_repeated(len(done))):
                # Only usable rows are counted.
                n_repeated = int(np.searchsorted(done.rows[: len(trained)], n_known))
            if len(done):
                self.schema = done.schema
                self.unseen -= done.seen
            ledger.count_batch(done, trained, rows, n_repeated)
            if isinstance(done, JoinedBatch):
                self.pending.commit(done, result.predicted)
            if run_cursor is not None and len(done):
                ledger.advance_cursor(run_cursor, sources, done, self.model, self.read_options.keep)
                if trained.stopped:
                    run_cursor.stopped_below = float(self.model.epsilon)
            ledger.is_consistent = True
            result.notices.extend(collect_notes(batch, self))
            return result

    def predict(self, batch: Batch, with_all_scores: bool = False) -> StepResult:
        """Predict the rows of a batch without learning; row numbers are those in the source.

        `with_all_scores` adds the score of each label.
        """
        options = StepOptions(with_scores=True, with_all_scores=with_all_scores)
        result = self._train(batch, [None] * len(batch.rows), options)
        n = len(result)
        done = batch[: int(batch.rows[n])] if result.diverged else batch
        rows = batch.first_row + batch.rows[:n]
        return build_result(self, batch, result, rows, done, to_learn=False)

    def batches(
        self,
        source: Source,
        reload: Reload | None = None,
        joins_labels: bool = False,
        keeps_zeros: bool = False,
    ) -> Generator[Batch, None, None]:
        """Yield the rows of a source as batches to predict.

        Parameters
        ----------
        source
            The source to read.
        reload
            Called before every 100 rows, or fewer if fewer have arrived; returns the model that
            predicts them. Its argument is a function that checks whether the source fits a model
            and raises SourceError if not; the source must fit the model that is returned.
        joins_labels
            Whether late labels are joined to their samples, as they are in training. If not, label
            rows are rejected.
        keeps_zeros
            Whether features that are zero are among the values of a row.

        """
        pending = PendingSamples() if joins_labels and self.read_options.has_join else None
        live = self
        request = replace(self._request_predictions(source), keeps_zeros=keeps_zeros)
        if reload is None:
            batches = self._prefetch_predictions(source, request)
        else:  # another model may use other columns
            batches = self._reload_predictions(source, request, reload)
        with closing(batches):
            for live, batch in batches:
                # Without a column of IDs, all rows have their own labels.
                if pending is not None and batch.passthrough:
                    joined = pending.join(batch, live.read_options)
                    pending.commit(joined, np.full(len(joined.rows), -1))
                    batch = joined.without_samples()
                elif live.read_options.has_join:
                    batch = batch.reject_rows(batch.features.lengths == 0, "it has no features")
                yield batch

    def _prefetch_predictions(
        self, source: Source, request: Request
    ) -> Generator[tuple[LiveModel, Batch], None, None]:
        """Yield the rows of a source, each batch with this model."""
        with closing(read_batches([source], request, Cursor(), 1)) as batches:
            for batch in batches:
                yield self, batch

    def _reload_predictions(
        self, source: Source, request: Request, reload: Reload
    ) -> Generator[tuple[LiveModel, Batch], None, None]:
        """Yield the rows of a source, each batch with the model that `reload` returns for it."""
        live, batches = self, source.batches(replace(request, reads_unused_columns=True))

        def reopen(other: LiveModel) -> None:
            request = other._request_predictions(source)
            batches.reopen(replace(request, reads_unused_columns=True))

        def reload_model() -> None:
            nonlocal live
            live = reload(reopen)

        batches.max_rows, batches.before_read = _RELOAD_ROWS, reload_model
        for batch in batches:
            if source.should_stop:
                return
            yield live, batch

    def _request_predictions(self, source: Source) -> Request:
        """Return a request for the rows of a source, to predict them."""
        request = self.request(to_learn=False)
        # A model trained in Python has no read options of its own.
        opening = source.open(request) if self.is_trained_in_python else None
        if opening is None:
            return request
        return replace(request, read_options=opening.scale_pixels(request.read_options))

    def _train(self, batch: Batch, labels: Sequence[object], options: StepOptions) -> TrainResult:
        """Train the model on the rows of a batch; a row labeled None is only predicted."""
        samples = Samples(batch.features, labels, batch.weights)
        return self.model.train(
            samples,
            TrainOptions(options.stop, options.with_scores, options.with_all_scores),
        )


def _count_done(batch: Batch, result: TrainResult) -> int:
    """Return how many rows of a batch were processed, given the result for its usable rows."""
    n = len(result)
    if result.diverged or result.memory_error is not None:
        return int(batch.rows[n])
    return int(batch.rows[n - 1]) + 1 if result.stopped else len(batch)
