"""LiveModel, a model with all that it needs to resume."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Batch
from stream_perceptron.data.byte_stream import Idle
from stream_perceptron.data.identity import Identity
from stream_perceptron.data.schema import KnownNames, Schema, Selection
from stream_perceptron.data.source import Request, Source
from stream_perceptron.errors import (
    CheckpointError,
    SampleError,
    SourceError,
    StreamPerceptronError,
)
from stream_perceptron.live.cursor import Cursor, Shards
from stream_perceptron.live.driver import RunOptions, Step, ahead, cut, drive, read, singly
from stream_perceptron.live.ledger import Ledger
from stream_perceptron.live.lineage import Lineage
from stream_perceptron.live.metrics import Progress
from stream_perceptron.live.saved import read_live, write_live
from stream_perceptron.live.step_result import StepResult, notes_about, told_of
from stream_perceptron.live.waiting import Joined, Waiting
from stream_perceptron.model.kernel import NAME as KERNEL
from stream_perceptron.model.results import TrainOptions, TrainResult
from stream_perceptron.model.rows import Samples
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.weights import MAX_WEIGHTS, NAME_COST
from stream_perceptron.perceptron import SGDPerceptron

# Called with the step and a batch, in place of the step, to examine the model before and after.
Around = Callable[[Step, Batch], StepResult]

_PLAIN = RunOptions()
_MIN_NAME_ROWS = 1000  # rows after which the names of evicted samples are forgotten
_RELOAD_ROWS = 100  # rows predicted between two checks for another model


class LiveModel:
    """A model with its selection, schema, progress, cursor and lineage.

    Parameters
    ----------
    model
        The perceptron.
    selection
        The columns asked for, and how to read them.
    schema
        The columns and types found in the learned rows.
    ledger
        The progress, the cursor and the lineage.

    Attributes
    ----------
    kernel : str
        The kernel that the model was saved with.
    waiting : Waiting
        The samples that wait for their labels, if labels are joined.
    python_step : str or None
        The step of a saved pipeline that only Python can run, so that this model cannot.
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
    (5000, '84.4%')

    """

    def __init__(
        self,
        model: SGDPerceptron,
        selection: Selection | None = None,
        schema: Schema | None = None,
        ledger: Ledger | None = None,
        kernel: str = KERNEL,
        waiting: Waiting | None = None,
        python_step: str | None = None,
    ) -> None:
        self.model = model
        self.selection = selection or Selection()
        self.schema = schema or Schema()
        is_new = model.n_seen == 0
        self.ledger = ledger or Ledger(Progress(), Cursor(), Lineage(is_complete=is_new))
        self.kernel = kernel
        self.waiting = waiting or Waiting()
        self.needs_label = False
        self.python_step = python_step

    @classmethod
    def start(
        cls,
        sources: Sequence[Source],
        selection: Selection | None = None,
        classes: Sequence[str] | None = None,
        needs_label: bool = False,
        **parameters: Any,
    ) -> LiveModel:
        """Make a new model for some sources.

        Parameters
        ----------
        sources
            The sources to read.
        selection
            The columns to read, and how.
        classes
            The labels known from the start, as text; None for those that the first source declares.
        needs_label
            As the attribute.
        parameters
            Parameters of `SGDPerceptron`.

        Raises
        ------
        SourceError
            If a source has no rows, or lacks a column that was asked for.
        ValueError
            If a parameter is out of its range, or a class is not of the labels' type.

        """
        asked = selection or Selection()
        most = parameters.get("max_weights", MAX_WEIGHTS) // NAME_COST
        request = Request(asked, needs_label=needs_label, most_features=most)
        declared: list[Any] | None = None
        schema = Schema()
        for i, source in enumerate(sources):
            fit = source.fit(request)
            if fit is None:
                raise SourceError(f"{source.name}: it has no rows")
            if i == 0:
                declared = source.classes if fit.label is not None else None
                # Keep its name, because the columns of the next source may have another order.
                asked = replace(asked, join=fit.join or asked.join)
                request = replace(request, selection=asked)
            request = request.after(fit.schema)
        if classes is not None:
            declared, typed = request.schema.with_classes(classes)
            schema = Schema(label_type=typed.label_type)
        live = cls(SGDPerceptron(classes=declared, **parameters), asked, schema)
        live.needs_label = needs_label
        if asked.standardize:
            live.model.network.scaler = Scaler()
        return live

    @classmethod
    def load(cls, path: Path) -> LiveModel:
        """Load a live model, or a model written by `stream_perceptron.save`.

        Raises
        ------
        CheckpointError
            If the file is damaged, forged or of a newer version.
        OSError
            If the file cannot be read.

        """
        return cls(*read_live(path))

    def save(self, path: Path) -> None:
        """Save everything needed to resume, in one step; see `write_checkpoint`.

        Raises
        ------
        CheckpointError
            If something in the model cannot be saved, or an error interrupted a step.
        OSError
            If the file cannot be written; the old one is unchanged.

        """
        self.require_runnable()
        with self.ledger.lock:
            write_live(path, self.model, self.selection, self.schema, self.ledger, self.waiting)

    def __deepcopy__(self, memo: dict[int, Any]) -> LiveModel:
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
        """The place reached in the sources."""
        return self.ledger.cursor

    @property
    def lineage(self) -> Lineage:
        """The record of the rows that the model learned from."""
        return self.ledger.lineage

    @property
    def is_of_python(self) -> bool:
        """Whether the model learned in Python only, so the first source decides its columns."""
        is_traced = self.lineage.is_complete or self.lineage.entries
        return not is_traced and not self.cursor.sources

    @property
    def stopped(self) -> bool:
        """Whether an error below the model's epsilon ended the run."""
        return self.cursor.stopped_below == self.model.epsilon

    def require_runnable(self) -> None:
        """Check that the model can learn and predict without River.

        Raises
        ------
        CheckpointError
            If it was saved behind a step that only Python can run.

        """
        if self.python_step is not None:
            raise CheckpointError(
                f"the step {self.python_step} of this model runs only in Python: use predict_one "
                "and learn_one of stream_perceptron.load(PATH).model"
            )

    def request(self, to_learn: bool = True) -> Request:
        """Return the request for a source; it detects no redelivered rows."""
        self.require_runnable()
        known = dict.fromkeys([*self.model.features_, *self.waiting.names, *self.schema.numbers])
        numbers = KnownNames(known if self.schema.is_open else ())
        return Request(
            roles.named(self.selection, self.schema) if to_learn else self.selection,
            replace(self.schema, numbers=numbers),
            to_learn,
            needs_label=to_learn and self.needs_label,
            most_features=self.model.max_weights // NAME_COST,
        )

    def resume(
        self, sources: Sequence[Source], go_next: bool = False, shards: Shards | None = None
    ) -> Cursor:
        """Return the cursor from which to resume in these sources; the model stays unchanged."""
        request = self.request()
        for source in sources:
            fit = source.fit(request)
            request = request if fit is None else request.after(fit.schema)
        before, identities, new = self.cursor.sources, [], []
        for i, source in enumerate(sources):
            found = source.identities(before[i : i + 1])
            identities += found
            new += [Identity.of_text(source.name)] if source.grows else found
        at_random = any(source.is_random for source in sources)
        return self.cursor.resumed(identities, new, at_random, go_next, shards)

    def grown_but_passed(self, sources: Sequence[Source], cursor: Cursor | None) -> list[str]:
        """Return the sources that have grown but lie before the cursor in this pass."""
        if cursor is None or cursor.at_random or cursor.shards is not None:
            return []
        before = zip(sources[: cursor.index], cursor.sources, strict=False)
        return [source.name for source, known in before if source.has_grown(known)]

    def run(
        self,
        sources: Sequence[Source],
        cursor: Cursor | None = None,
        idle: Idle | None = None,
        around: Around | None = None,
        **options: Any,
    ) -> Generator[StepResult, None, None]:
        """Test and train on the rows of some sources; yield after every batch.

        At each yield the model, its progress and its cursor are consistent and may be saved. The
        model stays unchanged until the first row is learned.

        Parameters
        ----------
        sources
            The sources to read, in order.
        cursor
            The cursor to begin from, as returned by `resume`; None for the model's own.
        idle
            Called before and during a wait for rows, when you may save too. It returns the seconds
            until the next call, or None for no further call.
        around
            Called with the step and each batch, in place of the step.
        options
            The fields of `RunOptions`, such as `epochs`, `limit` or `every`.

        Raises
        ------
        SourceError
            If a source is damaged or does not fit.
        SampleError, DivergedError
            If a row cannot be used, or a weight or an error would become infinite or NaN. The model
            is as after the row before.

        """
        asked = RunOptions(**options)
        is_random = any(source.is_random for source in sources)
        if self.selection.join and (asked.stop or asked.epochs != 1 or is_random):
            raise ValueError("labels are joined in one pass over rows in order, without stop")
        here = (cursor or self.cursor).begun(self.model.epsilon, asked.stop)
        if not here.finished:
            request = replace(self.request(), holds_rejected=asked.holds_rejected)
            drops_names = self.selection.joins and self._may_name_features(sources, request)
            if drops_names:
                request = replace(
                    request, renew=self._without_unused_names, renew_every=self._name_rows
                )
            rows = read(sources, request, here, asked.epochs)
            rows = ahead(rows, sources, idle, uses_thread=not drops_names)
            batches = cut(rows, here, asked.limit, asked.every)
            if asked.one_by_one:
                batches = singly(batches, asked.one_by_one)
            step: Step = partial(self.step, options=asked, here=here, sources=sources)
            if around is not None:
                step = partial(around, step)
            yield from drive(batches, step, asked.skip_rejected)
            here.finished = True
            here.outputs, here.untaken = self.cursor.outputs, self.cursor.untaken
        self.ledger.cursor = here

    def _may_name_features(self, sources: Sequence[Source], request: Request) -> bool:
        """Whether rows may name their own features."""
        if not self.schema.is_new:
            return self.schema.is_open
        fit = sources[0].fit(request)
        return fit is not None and fit.schema.features is None

    @property
    def _name_rows(self) -> int:
        """The number of rows after which the names of evicted samples are forgotten."""
        return max(_MIN_NAME_ROWS, self.selection.waiting)

    def _without_unused_names(self, row: int) -> Request | None:
        """Forget the names that neither the model nor a pending sample has; return the request.

        The rows where this is done are fixed, so that a resumed run does it at the same ones.
        """
        if not self.schema.is_open or (row - 1) % self._name_rows:
            return None
        with self.ledger.lock:
            used = map(str, [*self.model.features_, *self.waiting.feature_names()])
            self.waiting.names = []
            self.schema = replace(self.schema, numbers=KnownNames(dict.fromkeys(used)))
        return self.request()

    def joined(self, batch: Batch) -> Joined | None:
        """Return a batch with labels joined to their samples; None if labels are not joined."""
        if not self.selection.joins:
            return None
        return self.waiting.joined(batch, self.selection)

    def step(
        self,
        batch: Batch,
        options: RunOptions = _PLAIN,
        here: Cursor | None = None,
        sources: Sequence[Source] = (),
    ) -> StepResult:
        """Test and train on the rows of a batch; rejected rows are counted and left out.

        The model, its progress and its schema change together with the cursor `here`, if given. A
        label without a waiting sample ends the step, unless rejected rows are skipped.
        """
        with self.ledger.lock:
            ledger, seen, rows_before = self.ledger, self.model.n_seen, self.ledger.rows
            whole, joined = batch, self.joined(batch)
            if joined is not None:
                batch = joined.batch if options.skip_rejected else joined.batch.before_rejected()
            ledger.is_whole = False
            try:
                result = self._train(batch, batch.labels, options)
            except StreamPerceptronError:
                ledger.is_whole = self.model.n_seen == seen
                raise
            n, taken = len(result), len(batch)
            answers = None if joined is None else joined.settle(result)
            if result.diverged or result.memory_error is not None:
                taken = int(batch.rows[n])
            elif result.stopped:
                taken = int(batch.rows[n - 1]) + 1
            done = batch[:taken]
            rows = rows_before + 1 + batch.rows[:n]
            if batch.redelivered is not None:
                # Redelivered rows have no number.
                rows = rows_before + np.cumsum(~batch.redelivered)[batch.rows[:n]]
            told = told_of(self, batch, result, rows, done)
            told.answers = answers
            if joined is not None:
                self._take(whole, joined, told)
            ledger.count(done, result, rows)
            if any(label is not None for label in batch.labels[:n]):
                self.schema = batch.schema
            if here is not None and taken:
                ledger.move(here, sources, done, self.model, self.selection.keep)
                if result.stopped:
                    here.stopped_below = float(self.model.epsilon)
            ledger.is_whole = True
            told.notes.extend(notes_about(batch, self))
            return told

    def _take(self, whole: Batch, joined: Joined, told: StepResult) -> None:
        """Keep the unlabelled samples of the rows done waiting for their labels."""
        if told.taken < len(whole):
            if told.refused is None:
                told.refused = SampleError(str(joined.batch.rejections()[0]))
            done = self.joined(whole[: told.taken])
            assert done is not None
            joined = done
        if len(whole[: told.taken].rows):
            self.schema = whole.schema
        self.waiting.take(joined, told.predicted)

    def predict(self, batch: Batch, with_every: bool = False) -> StepResult:
        """Predict the rows of a batch without learning; row numbers are those in the source.

        `with_every` adds the probability of each label.
        """
        options = RunOptions(with_probabilities=True, with_every=with_every)
        result = self._train(batch, [None] * len(batch.rows), options)
        n = len(result)
        done = batch[: int(batch.rows[n])] if result.diverged else batch
        rows = batch.first_row + batch.rows[:n]
        return told_of(self, batch, result, rows, done, to_learn=False)

    def batches(
        self,
        source: Source,
        idle: Idle | None = None,
        reload: Callable[[], LiveModel] | None = None,
    ) -> Generator[Batch, None, None]:
        """Yield the rows of a source to predict.

        Parameters
        ----------
        source
            The source to read.
        idle
            As for `run`.
        reload
            Called before every 100 rows, or fewer if fewer have arrived; returns the model that
            predicts them.

        """
        live, request = self, self.request(to_learn=False)

        def renew(row: int) -> Request | None:
            nonlocal live
            before, live = live, live if reload is None else reload()
            return None if live is before else live.request(to_learn=False)

        if reload is not None:
            request = replace(request, renew=renew, renew_every=_RELOAD_ROWS)
        rows = read([source], request, Cursor(), 1)
        for batch in ahead(rows, [source], idle, uses_thread=reload is None):
            if live.selection.joins:
                batch = batch.without(batch.features.lengths == 0, "it has no features")
            yield batch

    def _train(self, batch: Batch, labels: Sequence[Any], options: RunOptions) -> TrainResult:
        samples = Samples(batch.features, labels, batch.weights, batch.indicators)
        return self.model.train(
            samples, TrainOptions(options.stop, options.with_probabilities, options.with_every)
        )
