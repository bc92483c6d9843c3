"""LiveModel, a model with all that it needs to resume."""

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
from stream_perceptron.data.byte_stream import Idle
from stream_perceptron.data.identity import PipeHeader
from stream_perceptron.data.naming import is_position
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.data.source import (
    Interpreter,
    Knowledge,
    RawRows,
    Request,
    Source,
    are_interrupted,
)
from stream_perceptron.errors import (
    CheckpointError,
    SourceError,
    StreamPerceptronError,
)
from stream_perceptron.live.cursor import Cursor, Shards
from stream_perceptron.live.driver import Step, StepOptions, Turns, cut, drive, read
from stream_perceptron.live.ledger import Ledger
from stream_perceptron.live.lineage import Lineage
from stream_perceptron.live.marks import Marks
from stream_perceptron.live.metrics import WINDOW, Progress
from stream_perceptron.live.saved import read_live, write_live
from stream_perceptron.live.step_result import StepResult, build_result, notes_about
from stream_perceptron.live.waiting import JoinedBatch, Waiting
from stream_perceptron.model.kernel import NAME as KERNEL
from stream_perceptron.model.results import TrainOptions, TrainResult
from stream_perceptron.model.rows import Samples
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.vocabulary import Vocabulary
from stream_perceptron.model.weights import MAX_WEIGHTS, NAME_COST
from stream_perceptron.perceptron import SGDPerceptron

# Called with the step and a batch, in place of the step, to examine the model before and after.
Around = Callable[[Step, Batch], StepResult]

# Returns the model for the next rows, given a check whether a model fits the source.
Reload = Callable[[Callable[["LiveModel"], None]], "LiveModel"]

_PLAIN = StepOptions()
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
        self.knowledge = Knowledge(schema or Schema())
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
            If no source has rows, or one lacks a column that was asked for.
        ValueError
            If a parameter is out of its range, or a class is not of the labels' type.

        """
        asked = selection or Selection()
        most = parameters.get("max_weights", MAX_WEIGHTS) // NAME_COST
        request = Request(asked, needs_label=needs_label, most_features=most)
        declared: list[Any] | None = None
        schema, is_first = Schema(), True
        for source in sources:
            opening = source.open(request)
            if opening is None:
                continue
            if is_first:
                is_first = False
                options = opening.context.selection
                declared = source.classes if options.label is not None else None
                # Keep its name, because the columns of the next source may have another order.
                asked = replace(asked, join=options.join or asked.join)
                request = replace(request, selection=asked)
            request = request.after(opening.schema)
        if is_first:
            raise SourceError(f"{sources[0].name}: it has no rows")
        if classes is not None:
            declared, typed = request.schema.with_classes(classes)
            schema = Schema(label_type=typed.label_type)
        live = cls(SGDPerceptron(classes=declared, **parameters), asked, schema)
        live.needs_label = needs_label
        unseen = frozenset(name for name in asked.named if not is_position(name))
        live.knowledge.unseen = unseen
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
        saved = read_live(path)
        return cls(
            saved.model, saved.selection, saved.schema, saved.ledger, saved.kernel, saved.waiting,
            saved.python_step,
        )  # fmt: skip

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
            write_live(path, self.model, self.selection, self.knowledge, self.ledger, self.waiting)

    def __deepcopy__(self, memo: dict[int, Any]) -> LiveModel:
        with self.ledger.lock:
            new = object.__new__(type(self))
            vars(new).update(copy.deepcopy(vars(self), memo))
        return new

    @property
    def schema(self) -> Schema:
        """The column types and roles found in the learned rows."""
        return self.knowledge.schema

    @schema.setter
    def schema(self, schema: Schema) -> None:
        self.knowledge.schema = schema

    @property
    def progress(self) -> Progress:
        """The metrics up to the last row."""
        return self.ledger.progress

    @property
    def recent_auc(self) -> float | None:
        """The area under the ROC curve of the rarest class, over the last 1,000 samples.

        None if they have one class only, or until 1,000 samples are learned after a resume.
        """
        progress, recent = self.progress, self.ledger.recent
        n_tested = progress.progressive.tested + progress.training.tested
        counts = progress.scores(len(self.model.classes_)).counts
        if len(recent) < min(WINDOW, n_tested) or np.count_nonzero(counts) < 2:
            return None
        rarest = int(np.where(counts > 0, counts, counts.sum()).argmin())
        return recent.compute_auc(rarest, self.model.network.activation)

    @property
    def cursor(self) -> Cursor:
        """The place in the sources; that in a text file is identified when it is saved."""
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
    def is_of_python(self) -> bool:
        """Whether the model learned in Python only, so the first source decides its columns."""
        is_traced = self.lineage.is_complete or self.lineage.entries
        return not is_traced and not self.cursor.sources

    @property
    def is_blank(self) -> bool:
        """Whether the model has learned and predicted no sample, and none is pending."""
        has_rows = self.progress.samples or self.progress.unlabelled
        return not (self.model.n_seen or has_rows or self.waiting.samples)

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
        knowledge, names = self.knowledge, {}
        if self.schema.is_open:
            every = *self.model.features_, *self.waiting.names, *knowledge.names.names
            names = dict.fromkeys(map(str, every))
        if len(names) != len(knowledge.names):
            knowledge.names = Vocabulary(names)
        return Request(
            roles.named(self.selection, self.schema) if to_learn else self.selection,
            self.schema,
            knowledge.names,
            to_learn,
            needs_label=to_learn and self.needs_label,
            most_features=self.model.max_weights // NAME_COST,
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
            The sources to read. In the first pass each file is read from its mark to its end.
        again
            Whether all files are read from their start, whatever was learned of them.
        epochs
            As for `run`.
        shards
            The split of the rows into shards, if any.

        Raises
        ------
        SourceError
            If a source does not fit the model.
        CheckpointError
            If a run over some of these files at random or in shards is not finished.

        """
        request = self.request()
        for source in sources:
            opening = source.open(request)
            request = request if opening is None else request.after(opening.schema)
        self.ledger.update_mark()
        at_random = any(source.is_random for source in sources)
        if not at_random and shards is None:
            return self.cursor.resume(sources, again, epochs)
        identities = [identity for source in sources for identity in source.identities()]
        return self.cursor.resume_whole(identities, at_random, shards, again)

    def run(
        self,
        sources: Sequence[Source],
        cursor: Cursor | None = None,
        idle: Idle | None = None,
        around: Around | None = None,
        *,
        epochs: int | None = 1,
        limit: int | None = None,
        stop: bool = False,
        skip_rejected: bool = False,
        with_probabilities: bool = False,
        with_every: bool = False,
        every: int | None = None,
        one_by_one: int = 0,
        holds_rejected: bool = False,
        notify: Callable[[str], None] = lambda text: None,
    ) -> Generator[StepResult, None, None]:
        """Test and train on the rows of some sources; yield after every batch.

        At each yield the model, its progress and its cursor are consistent and may be saved. The
        model stays unchanged until the first row is learned. After an interrupt of a source the run
        ends as at the end of the rows, but its cursor is not marked as finished.

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
        epochs
            How often to read all sources; None for no end.
        limit
            The largest number of rows to read of these sources, in earlier runs too; of a pipe,
            in this run. None for no limit.
        stop
            Whether the first sample with an error below the model's epsilon ends the run.
        skip_rejected
            Whether rows that cannot be used are left out, instead of ending the run.
        with_probabilities, with_every
            Whether results have the probability of each prediction, and of each label.
        every
            Yield at multiples of this number of rows read, too.
        one_by_one
            The number of next rows to learn one by one.
        holds_rejected
            Whether rejected rows are held with all of their columns.
        notify
            Called with a line of text when a file is skipped, because all of its rows were learned
            before, and when it has replaced another file of the same name.

        Raises
        ------
        SourceError
            If a source is damaged or does not fit, or a file was changed since rows of it were
            learned.
        SampleError, DivergedError
            If a row cannot be used, or a weight or an error would become infinite or NaN. The model
            is as after the row before.

        """
        options = StepOptions(stop, skip_rejected, with_probabilities, with_every)
        is_random = any(source.is_random for source in sources)
        if self.selection.join and (stop or epochs != 1 or is_random):
            raise ValueError("labels are joined in one pass over rows in order, without stop")
        self.ledger.update_mark()
        here = (cursor or self.cursor).begun(self.model.epsilon, stop)
        here.at_random = here.at_random or is_random
        if not here.finished:
            request = replace(self.request(), holds_rejected=holds_rejected)
            step: Step = partial(self.step, options=options, here=here, sources=sources)
            if around is not None:
                step = partial(around, step)
            turns = Turns(
                partial(self.ledger.begin_source, notify),
                partial(self.ledger.end_source, here),
            )
            end, knowledge = here.end_of(limit), self.knowledge
            with closing(read(sources, request, here, epochs, knowledge, idle, turns, end)) as rows:
                parts = cut(rows, sources, here, end, every, one_by_one, self.name_rows)
                yield from drive(self.interpret(parts, here, sources), step, skip_rejected)
            self.ledger.update_mark()
            here.finished = not are_interrupted(sources)
            here.outputs, here.untaken = self.cursor.outputs, self.cursor.untaken
        if here.finished:
            self.ledger.cursor = here
        if any(source.is_stream for source in sources):
            header = _last_header(sources) or self.cursor.header
            self.cursor.header = None if here.finished else header

    def interpret(
        self,
        parts: Iterable[tuple[Interpreter, RawRows]],
        cursor: Cursor,
        sources: Sequence[Source],
    ) -> Iterator[Batch]:
        """Yield rows as batches, on the present schema; labels are joined to their samples.

        The caller moves the cursor over them.
        """
        for interpreter, rows in parts:
            if self.name_rows is not None and cursor.row % self.name_rows == 0:
                self._forget_names()
                sources[rows.index].forget_names()
            first_row = 1 + cursor.row
            redeliveries = None if cursor.is_repeating else cursor.redeliveries
            batch = interpreter.interpret(rows, self.knowledge, first_row, redeliveries)
            yield self.waiting.join(batch, self.selection) if self.selection.joins else batch

    @property
    def name_rows(self) -> int | None:
        """The number of rows after which the names of evicted samples are forgotten, if any."""
        return max(_MIN_NAME_ROWS, self.selection.max_pending) if self.selection.joins else None

    def _forget_names(self) -> None:
        """Forget the names that neither the model nor a pending sample has.

        The rows where this is done are fixed, so that a resumed run does it at the same ones.
        """
        if not self.schema.is_open:
            return
        with self.ledger.lock:
            used = map(str, [*self.model.features_, *self.waiting.feature_names()])
            self.waiting.names = []
            self.knowledge.names = Vocabulary(dict.fromkeys(used))

    def step(
        self,
        batch: Batch,
        options: StepOptions = _PLAIN,
        here: Cursor | None = None,
        sources: Sequence[Source] = (),
    ) -> StepResult:
        """Test and train on the rows of a batch; rejected rows are counted and left out.

        The model, its progress and its schema change together with the cursor `here`, if given.
        """
        with self.ledger.lock:
            ledger, seen, rows_before = self.ledger, self.model.n_seen, self.ledger.rows
            ledger.is_whole = False
            try:
                trained = self._train(batch, batch.labels, options)
            except StreamPerceptronError:
                ledger.is_whole = self.model.n_seen == seen
                raise
            answers = batch.settle(trained) if isinstance(batch, JoinedBatch) else None
            done = batch.first(_count_done(batch, trained))
            rows = rows_before + 1 + batch.rows[: len(trained)]
            if batch.redelivered is not None:
                # Redelivered rows have no number.
                rows = rows_before + np.cumsum(~batch.redelivered)[batch.rows[: len(trained)]]
            result = build_result(self, batch, trained, rows, done)
            result.answers = answers
            n_repeated = len(trained) if options.is_repeated else 0
            if here is not None and (n_known := here.count_repeated(len(done))):
                # Only usable rows are counted.
                n_repeated = int(np.searchsorted(done.rows[: len(trained)], n_known))
            self.knowledge.adopt(done.inferred)
            ledger.count(done, trained, rows, n_repeated, self.knowledge)
            if isinstance(done, JoinedBatch):
                self.waiting.take(done, result.predicted)
            if here is not None and len(done):
                ledger.move(here, sources, done, self.model, self.selection.keep)
                if trained.stopped:
                    here.stopped_below = float(self.model.epsilon)
            ledger.is_whole = True
            result.notes.extend(notes_about(batch, self))
            return result

    def predict(self, batch: Batch, with_every: bool = False) -> StepResult:
        """Predict the rows of a batch without learning; row numbers are those in the source.

        `with_every` adds the probability of each label.
        """
        options = StepOptions(with_probabilities=True, with_every=with_every)
        result = self._train(batch, [None] * len(batch.rows), options)
        n = len(result)
        done = batch.first(int(batch.rows[n])) if result.diverged else batch
        rows = batch.first_row + batch.rows[:n]
        return build_result(self, batch, result, rows, done, to_learn=False)

    def batches(
        self,
        source: Source,
        reload: Reload | None = None,
        joins_labels: bool = False,
    ) -> Generator[Batch, None, None]:
        """Yield the rows of a source to predict.

        Parameters
        ----------
        source
            The source to read.
        reload
            Called before every 100 rows, or fewer if fewer have arrived; returns the model that
            predicts them. It is given a function that checks whether the source fits a model, and
            raises SourceError if not; the source must fit the model that is returned.
        joins_labels
            Whether late labels are joined to their samples, as when learning. If not, rows of
            labels are rejected.

        """
        pending = Waiting() if joins_labels and self.selection.joins else None
        live, request, first_row = self, self.request(to_learn=False), 1
        if reload is not None:  # another model may use other columns
            request = replace(request, holds_rejected=True)
        reopened: Interpreter | None = None

        def reopen(other: LiveModel) -> None:
            nonlocal reopened
            request = other.request(to_learn=False)
            reopened = source.interpreter(
                replace(request, start=first_row - 1, holds_rejected=True)
            )

        with closing(read([source], request, Cursor(), 1, live.knowledge)) as rows:
            for interpreter, part in _in_parts(rows, None if reload is None else _RELOAD_ROWS):
                if reload is not None:
                    live = reload(reopen)
                batch = (reopened or interpreter).interpret(part, live.knowledge, first_row)
                first_row = batch.number(len(batch))
                if pending is not None:
                    joined = pending.join(batch, live.selection)
                    pending.take(joined, np.full(len(joined.rows), -1))
                    batch = replace(joined, interpret_first=joined.slice_first)
                elif live.selection.joins:
                    batch = batch.without(batch.features.lengths == 0, "it has no features")
                yield batch

    def _train(self, batch: Batch, labels: Sequence[Any], options: StepOptions) -> TrainResult:
        samples = Samples(batch.features, labels, batch.weights, batch.unscaled)
        return self.model.train(
            samples, TrainOptions(options.stop, options.with_probabilities, options.with_every)
        )


def _count_done(batch: Batch, result: TrainResult) -> int:
    """Return the number of rows of a batch that are done, given the result of its usable ones."""
    n = len(result)
    if result.diverged or result.memory_error is not None:
        return int(batch.rows[n])
    return int(batch.rows[n - 1]) + 1 if result.stopped else len(batch)


def _last_header(sources: Sequence[Source]) -> PipeHeader | None:
    """Return the header of the last pipe that has been read."""
    headers = [source.header for source in sources if source.header is not None]
    return headers[-1] if headers else None


def _in_parts(
    rows: Iterable[tuple[Interpreter, RawRows]], n: int | None
) -> Iterator[tuple[Interpreter, RawRows]]:
    """Yield rows in parts that end at multiples of n, if given, or where they arrived."""
    n_done = 0
    for interpreter, whole in rows:
        start = 0
        while start < len(whole):
            end = len(whole) if n is None else min(len(whole), start + n - n_done % n)
            yield interpreter, whole[start:end]
            n_done, start = n_done + end - start, end
