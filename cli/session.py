"""A run of `learn`: how it opens, resumes, learns, saves and ends."""

from __future__ import annotations

import copy
import math
import signal
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import fields, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from stream_perceptron import (
    CheckpointError,
    DivergedError,
    FullError,
    LiveModel,
    SampleError,
    SourceError,
)
from stream_perceptron.checkpoint.archive import locked
from stream_perceptron.data.describe import warning
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.sampling import RandomDraws
from stream_perceptron.data.source import Source
from stream_perceptron.live.cursor import Cursor, Shards
from stream_perceptron.live.driver import RunOptions
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.model.kernel import NAME as KERNEL

from .files import require_different, require_regular
from .options import bad_parameters_are_usage_errors, hint_at_terminal, quiet_stderr
from .predictions import PredictionFile, csv_lines
from .printable import counted
from .progress_line import ProgressLine
from .reading import selection_of
from .rejections import Rejections
from .saver import Saver
from .signals import InterruptedWaitError, Signals
from .summary import summarise, tell_findings

if TYPE_CHECKING:
    from stream_perceptron.data.arrow.parquet import ParquetSource
    from stream_perceptron.data.batch import Batch
    from stream_perceptron.diagnostics.worked_sample import WorkedSample
    from stream_perceptron.distributed.ray import Round
    from stream_perceptron.live.driver import Step

_EVERY_ROUND = 1  # row, and no round has fewer

_PARAMETERS = ("lr", "epsilon", "activation", "init_range", "dtype", "seed", "max_weights")


def run(options: SimpleNamespace, given: set[str]) -> int:
    """Do what the options of `learn` ask for, and return the exit code."""
    hint_at_terminal(options.sources)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        session = _Session(options, given, signals, stack)
        try:
            session.open()
        except InterruptedWaitError:
            return signals.exit_code
        session.learn()
        return signals.exit_code if signals.caught is not None else 0


class _Session:
    def __init__(
        self, options: SimpleNamespace, given: set[str], signals: Signals, stack: ExitStack
    ) -> None:
        self._options = options
        self._given = given
        self._signals = signals
        self._stack = stack
        self._rejected = Rejections()
        self._worked: WorkedSample | None = None
        self._to_explain: int = options.n_traced or 0

    def open(self) -> None:
        """Open what is read and written; the checkpoint is not touched."""
        o = self._options
        require_different(SOURCE=o.sources, MODEL=o.path, the_predictions=o.output)
        if o.path is not None:
            require_regular(o.path)
            self._stack.enter_context(locked(o.path))
        saved = None
        if o.path is not None and o.path.exists() and not o.overwrite:
            saved = LiveModel.load(o.path)
            _require_agreement(saved, o, self._given)
        self._signals.call(partial(self._open_sources, saved), o.sources)
        live, sources = self._live, self._sources
        self._rows_before = live.progress.rows
        self._is_first_pass = (self._cursor or live.cursor).epoch == 0
        before = {identity.name for identity in live.cursor.sources if not identity.is_stream}
        changed = {}
        if saved is not None:
            names = self._given & {"lr", "epsilon", "max_weights"}
            changed = {name: getattr(o, name) for name in names}
        live.model.mutate(changed)
        if o.ray is not None:
            self._connect(o.ray)
        self._predictions = None
        if o.output is not None:
            folder = None if o.path is None else o.path.parent
            classes = live.model.classes_ if o.probabilities else None
            as_csv = csv_lines(o.output, o.output_format, live.selection, classes)
            if as_csv is not None and classes == []:
                raise click.UsageError(
                    "--probabilities in CSV need a column for each class: list them with --classes"
                )
            self._predictions = PredictionFile(
                o.output, folder, live.cursor.output, self._wait_to_write, self._signals.sleep,
                as_csv,
            )  # fmt: skip
        read = (self._cursor or live.cursor).read
        every = o.save_every
        if o.ray is not None and "save_every" not in self._given:
            every = _EVERY_ROUND
        self._saver = Saver(o.path, every, live, self._predictions, read)
        self._epochs = None if o.at_random and o.stop and o.epochs is None else o.epochs or 1
        self._line = ProgressLine(
            live,
            "quiet" if o.quiet else "json" if o.as_json else "text",
            None if o.stop else _rows_to_read(sources, self._epochs, o.limit),
            read,
        )
        self._announce(before, changed)

    def _open_sources(self, saved: LiveModel | None) -> None:
        """Open the sources, and find where to begin in them; make the model if there is none."""
        o = self._options
        sources: list[Source] = [
            open_source(source, o.file_format, self._signals.wait) for source in o.sources
        ]
        self._parquet = [] if o.ray is None else _parquet_files(sources)
        if o.at_random:
            sources = [RandomDraws(sources, o.seed if saved is None else saved.model.seed_)]
        live = saved
        if live is not None:
            live.needs_label = o.output is None
            live.selection = replace(live.selection, keep=o.keep)
        else:
            parameters = {name: getattr(o, name) for name in _PARAMETERS}
            with bad_parameters_are_usage_errors():
                live = LiveModel.start(
                    sources, selection_of(o), o.classes, o.output is None, **parameters
                )
        self._cursor: Cursor | None = None
        if o.path is not None or o.ray is not None:
            plan = None if o.ray is None else Shards(o.shards, o.round_rows)
            self._cursor = live.resume(sources, o.go_next, plan)
        self._live, self._sources = live, sources

    def _while_waiting(self) -> float | None:
        """Save if that is due, and end at a signal; return when to look again."""
        left = self._saver.save_if_due()
        # What was read of a pipe already is nowhere else; its own waiting ends such a run.
        if self._sources[0].is_stream:
            return left
        return min(self._signals.check(), math.inf if left is None else left)

    def _wait_to_write(self, descriptor: int) -> None:
        """Return when predictions can be written; save meanwhile when that is due."""
        while not self._signals.wait_to_write(descriptor, self._saver.save_if_due()):
            pass

    def _connect(self, address: str) -> None:
        """Connect to a Ray cluster until the run is over."""
        from stream_perceptron.distributed.ray import cluster, require_alike

        # Ray tells at length that it waits, and puts handlers of its own in place, which exit
        # with the number of the signal.
        try:
            with quiet_stderr():
                self._stack.enter_context(cluster(address or None))
        except SystemExit:
            self._signals.caught = self._signals.caught or signal.SIGTERM
            raise InterruptedWaitError from None
        self._signals.install()
        require_alike()

    def _announce(self, before: set[str], changed: dict[str, float]) -> None:
        """Tell where the run begins."""
        live, line = self._live, self._line
        if live.progress.rows:
            line.note(f"resuming {self._options.path} after {_place(live)}")
        if live.kernel != KERNEL:
            line.note(
                warning(
                    f"saved with the {live.kernel} kernel, resuming with the {KERNEL} kernel: "
                    "results agree to rounding, not bit for bit"
                )
            )
        if self._cursor is not None and self._cursor.read == 0:
            for name in before.intersection(source.name for source in self._sources):
                line.note(
                    warning(f"{name} changed after it was read; reading it again from the start")
                )
        for name in live.grown_but_passed(self._sources, self._cursor):
            line.note(
                warning(
                    f"{name} has grown, but a later source was begun, so its new rows are not "
                    "read; to learn them, put them in a file of their own and name that last"
                )
            )
        for name, value in changed.items():
            shown = f"{value:,}" if name == "max_weights" else f"{value:g}"
            line.note(f"{name.replace('_', '-')} is {shown} from now on")

    def learn(self) -> None:
        """Learn all rows, save, and tell how it went."""
        o, live, line = self._options, self._live, self._line
        # Closed before Python ends, as a thread reads ahead for it.
        results = self._stack.enter_context(closing(self._results()))
        try:
            for result in results:
                self._take(result)
                # What was read of a pipe already is nowhere else; the waiting ends such a run.
                if self._signals.caught is not None and not self._sources[0].is_stream:
                    break
                self._saver.save_if_due()
        except InterruptedWaitError:
            pass
        except BrokenPipeError:
            self._saver.save()
            raise
        except MemoryError:
            self._end_early()
            names = live.model.classes_, live.model.features_
            raise FullError(
                f"out of memory with {len(names[0]):,} labels and {len(names[1]):,} features"
            ) from None
        except ValueError as error:
            self._end_early()
            if isinstance(error, DivergedError):
                tell_findings(live, line, o.quiet, diverged=True)
            if isinstance(error, SampleError) and not isinstance(error, FullError):
                raise SampleError(f"{error}; --skip-bad skips such rows") from None
            raise
        rows = live.progress.rows - self._rows_before
        is_new = self._cursor is None or self._cursor.read == 0
        if rows and rows == self._rejected.total and is_new and self._signals.caught is None:
            line.finish()
            raise SampleError(
                f"no usable row among {counted(rows, 'row')}; the first: {self._rejected.first[0]}"
            )
        self._saver.save()
        line.finish()
        if not rows:
            line.note(_nothing_new(live))
        summarise(live, line, o.path, self._rejected, o.as_json, o.quiet)

    def _end_early(self) -> None:
        """Save what was learned before an error, and say so."""
        self._line.finish()
        if self._options.path is None:
            return
        if not self._live.ledger.is_whole:
            self._line.note(f"{self._options.path} is as it was saved last: a step did not end")
            return
        self._saver.save()
        self._line.note(f"saved {self._options.path}")

    def _results(self) -> Generator[StepResult | Round, None, None]:
        o = self._options
        if o.ray is not None:
            from stream_perceptron.distributed.ray import run as run_on_ray

            return run_on_ray(
                self._live,
                self._parquet,
                self._cursor,
                self._epochs or 1,
                o.skip_rejected,
                not o.keep_lr,
                lambda: self._signals.caught is not None,
            )
        options = RunOptions(
            self._epochs,
            o.limit,
            o.stop,
            o.skip_rejected,
            with_probabilities=self._predictions is not None,
            with_every=o.probabilities,
            every=self._saver.rows,
            one_by_one=self._to_explain,
        )
        around = self._explained if self._to_explain else None
        return self._live.learn(self._sources, self._cursor, options, self._while_waiting, around)

    def _explained(self, learn: Step, batch: Batch) -> StepResult:
        """Learn a batch, and keep how its one sample was worked out if that was asked for."""
        from stream_perceptron.diagnostics.worked_sample import WorkedSample

        is_asked_for = self._to_explain > 0 and len(batch.rows) == 1
        self._to_explain -= len(batch)
        if not is_asked_for:
            return learn(batch)
        before = copy.deepcopy(self._live.model)
        result = learn(batch)
        if len(result.rows):
            self._worked = WorkedSample.of(before, self._live.model, batch)
        return result

    def _take(self, result: StepResult | Round) -> None:
        """Tell and write what a batch brought."""
        for note in result.notes:
            self._line.note(note)
        if self._live.cursor.epoch == 1 and self._is_first_pass and not self._options.at_random:
            self._line.note("second pass: from now on accuracy includes samples seen before")
        self._is_first_pass = self._live.cursor.epoch == 0
        if isinstance(result, StepResult):
            if self._worked is not None:
                from .worked_sample_table import worked_sample_table

                model = self._live.model
                self._line.show(
                    worked_sample_table(
                        int(result.rows[0]), self._worked, model.activation, model.epsilon
                    )
                )
                self._worked = None
            if self._predictions is not None:
                self._predictions.write(result)
        self._rejected.add(result.rejected)
        self._line.update()


def _place(live: LiveModel) -> str:
    """Say how far a model has read."""
    cursor = live.cursor
    rows = f"{live.progress.rows:,}"
    if cursor.at_random or cursor.epoch or not cursor.row:
        return f"{rows} rows"
    source = cursor.sources[cursor.index]
    if cursor.row == live.progress.rows:
        return f"row {rows} of {source.name}"
    return f"row {cursor.row:,} of {source.name}, {rows} rows in all"


def _nothing_new(live: LiveModel) -> str:
    """Say why no row was learned."""
    if live.ledger.replayed:
        return "nothing new: every row was already learned"
    if live.stopped:
        return "nothing new: the run has already stopped"
    if live.cursor.finished:
        return "nothing new: all that was asked for was already learned"
    return "no new rows"


def _parquet_files(sources: Sequence[Source]) -> list[ParquetSource]:
    from stream_perceptron.data.arrow.parquet import ParquetSource

    files = []
    for source in sources:
        if not isinstance(source, ParquetSource) or source.is_stream:
            raise SourceError(f"{source.name}: only Parquet files can be split into shards")
        files.append(source)
    return files


def _require_agreement(live: LiveModel, options: SimpleNamespace, given: set[str]) -> None:
    """Require that options about the making of a model are those that it was made with."""
    model = live.model
    made_with: dict[str, Any] = {
        "activation": model.activation,
        "init_range": model.init_range,
        "dtype": model.dtype,
        "seed": model.seed_,
        "classes": model.classes,
        **{
            each.name: getattr(live.selection, each.name)
            for each in fields(live.selection)
            if each.compare
        },
    }
    for name in sorted(made_with.keys() & given):
        value = getattr(options, name)
        if name == "classes":
            try:
                value, _ = live.schema.with_classes(value)
            except ValueError as error:
                raise CheckpointError(f"{options.path}: {error}") from None
        if value != made_with[name]:
            option = name.replace("_", "-")
            raise CheckpointError(
                f"{options.path}: --{option} is {value!r}, but the model was made with "
                f"{made_with[name]!r}; leave out the option, or start over with --overwrite"
            )


def _rows_to_read(sources: Sequence[Source], epochs: int | None, limit: int | None) -> int | None:
    """Return how many rows all will be, None if that is not known."""
    counts = [source.n_rows for source in sources]
    if epochs is None or None in counts:
        return limit
    rows = epochs * sum(count for count in counts if count is not None)
    return rows if limit is None else min(limit, rows)
