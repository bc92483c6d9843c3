"""A run of `learn`, from opening to the summary."""

from __future__ import annotations

import copy
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

import click

from stream_perceptron import (
    DivergedError,
    FullError,
    SampleError,
    SourceError,
)
from stream_perceptron.data.source import Source
from stream_perceptron.live.step_result import StepResult

from .learn import LearnOptions
from .opening import Opened, open_model
from .predictions import Lines, PredictionFile, lines_for, open_predictions
from .printable import counted
from .progress_line import ProgressLine
from .reading import describe_lost_bytes, hint_at_terminal, hinting_at_skips
from .rejections import RejectedLines, Rejections
from .saver import Saver
from .signals import InterruptedWaitError, Signals
from .summary import (
    announce,
    nothing_new,
    summarise,
    warn_of_unknown_classes,
    warn_of_unseen_names,
)
from .watch import Watch

if TYPE_CHECKING:
    from stream_perceptron.data.batch import Batch
    from stream_perceptron.diagnostics.worked_sample import WorkedSample
    from stream_perceptron.distributed.ray import Round
    from stream_perceptron.live.driver import Step


def run_learn(options: LearnOptions) -> int:
    """Run `learn`, and return the exit code."""
    hint_at_terminal(options.sources)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals(saves=options.path is not None))
        try:
            run = open_run(options, signals, stack)
        except InterruptedWaitError:
            return signals.exit_code
        run.learn()
        return signals.exit_code if signals.is_set else 0


def open_run(options: LearnOptions, signals: Signals, stack: ExitStack) -> Run:
    """Open all inputs and outputs until the stack closes; leave the checkpoint as it is."""
    opened = open_model(options, signals, stack)
    run = Run(options, signals, stack, opened)
    announce(opened, run.line, options.path)
    return run


class Run:
    """A model that learns, is saved and reports its progress."""

    def __init__(
        self, options: LearnOptions, signals: Signals, stack: ExitStack, opened: Opened
    ) -> None:
        o, live, cursor = options, opened.live, opened.cursor
        self._options, self._signals, self._stack = o, signals, stack
        self._live, self._sources, self._cursor = live, opened.sources, cursor
        self._changed = opened.changed
        here = cursor or live.cursor
        self._rows_before = live.progress.rows
        self._is_first_pass = here.epoch == 0
        self._epochs = None if o.is_endless else o.n_passes
        self._rejected, self._thresholds = Rejections(), o.thresholds
        self._worked: WorkedSample | None = None
        self._to_explain = o.n_traced or 0
        self._predictions, self._rejected_rows = self._open_predictions(), None
        if o.rejected is not None:
            self._rejected_rows = self._open(str(o.rejected), RejectedLines())
        # On Ray save after each round, which has at least one row.
        every = 1 if o.ray is not None and "save_every" not in o.given else o.save_every
        self._saver = Saver(o.path, every, live, self._predictions, self._rejected_rows, here.read)
        rows = None if o.stop else _rows_to_read(self._sources, self._epochs, o.limit)
        is_alone = o.output != "-" or not sys.stdout.isatty()
        self.line = ProgressLine(live, o.as_json, o.quiet, rows, is_alone)
        for output in (self._predictions, self._rejected_rows):
            if output is not None and output.notice is not None:
                self.line.note(output.notice)
        self._saver.warn = self.line.note
        self._watch = Watch(live, self.line, here.read)

    def _open_predictions(self) -> PredictionFile | None:
        o, live = self._options, self._live
        if o.output is None:
            return None
        classes = live.model.classes_ if o.probabilities else None
        lines = lines_for(o.output, o.output_format, live.selection, classes, o.with_learned)
        if lines.header and classes == []:
            raise click.UsageError(
                "--probabilities in CSV need a column for each class: list them with --classes"
            )
        opened = self._open(o.output, lines)
        opened.wait = self._wait_to_write
        opened.put(live.cursor.untaken)
        return opened

    def _open(self, path: str, lines: Lines) -> PredictionFile:
        model = self._options.path
        folder = None if model is None else model.parent
        kept = self._live.cursor.outputs
        opened = open_predictions(path, lines, self._signals, folder, kept)
        self._stack.callback(opened.close)
        return opened

    def _while_waiting(self) -> float | None:
        """Count results and save if due; return the seconds until either is due."""
        until_count = self._live.ledger.count_if_due()
        self._watch.look()
        until_save = self._saver.save_if_due()
        return min((left for left in (until_count, until_save) if left is not None), default=None)

    def _wait_to_write(self, descriptor: int) -> bool:
        """Wait until predictions can be written, and save meanwhile if due.

        Return False if a signal comes first.
        """
        while not self._signals.wait_to_write(descriptor, self._saver.save_if_due()):
            if self._signals.is_set:
                return False
        return True

    def learn(self) -> None:
        """Learn all rows, save, and print the summary."""
        live = self._live
        # Close it before Python ends, to stop its prefetch thread.
        results = self._stack.enter_context(closing(self._results()))
        try:
            self._flush()  # lines that no reader took in the last run
            with hinting_at_skips():
                for result in results:
                    self._take(result)
                    self._saver.save_if_due()
        except MemoryError:
            self._end_early()
            names = live.model.classes_, live.model.features_
            raise FullError(
                f"out of memory with {len(names[0]):,} labels and {len(names[1]):,} features"
            ) from None
        except ValueError as error:
            self._end_early(isinstance(error, DivergedError))
            raise
        self._finish()

    def _finish(self) -> None:
        """Save and print the summary; raise an error if no row could be used."""
        o, live, line = self._options, self._live, self.line
        # What was read beyond --limit is no part of a row that a signal ended.
        for source in self._sources if self._signals.is_set else []:
            if text := describe_lost_bytes(source):
                line.note(text)
        self._drain()
        rows = live.progress.rows - self._rows_before
        line.finish()
        self._watch.finish()  # before saving, as the checkpoint records printed findings
        is_saved = self._saver.save()
        if live.cursor.has_only_rejected and not self._signals.is_set:
            if is_saved:
                line.note(f"saved {o.path}")
            raise SampleError(self._no_usable_row())
        is_all = o.limit is None and not self._signals.is_set
        if rows and is_all and live.needs_label and not live.progress.samples:
            raise SourceError(
                f"{self._sources[0].name}: no row has a label: name its column with --label, or "
                "ask for predictions with -p"
            )
        if rows:
            for text in (*warn_of_unseen_names(live), *warn_of_unknown_classes(live, o.threshold)):
                line.note(text)
        if not (rows or live.is_blank):
            line.note(nothing_new(live, self._changed))
        ending = "model not saved; use -m MODEL to keep it"
        if o.path is not None:
            ending = f"saved {o.path}" if is_saved else "nothing to save: no row was learned"
        if self._signals.caught == signal.SIGINT:
            ending = f"interrupted; {ending}"
        path = o.path if is_saved else None
        summarise(live, line, path, self._rejected, o.as_json, o.quiet, ending)

    def _no_usable_row(self) -> str:
        """Return the message for sources whose rows were all rejected."""
        rows = counted(self._live.cursor.read, "row")
        first = f"; the first: {self._rejected.first[0]}" if self._rejected.first else ""
        return f"no usable row among {rows}{first}"

    def _drain(self) -> None:
        """Wait until a reader has taken all predictions, if a checkpoint can keep the rest."""
        try:
            if self._predictions is not None and self._options.path is not None:
                self._predictions.drain()
        except BrokenPipeError:
            self._signals.end(signal.SIGPIPE)

    def _end_early(self, diverged: bool = False) -> None:
        """Report and save the rows learned before an error."""
        path = self._options.path
        self.line.finish()
        with suppress(MemoryError):  # saving matters more than findings
            self._watch.finish(diverged)
        is_unchanged = self._live.ledger.rows == self._rows_before and self._predictions is None
        if path is None or (is_unchanged and path.exists() and not self._options.overwrite):
            return
        if not self._live.ledger.is_whole:
            self.line.note(f"{path} keeps its last save: a step did not finish")
            return
        if self._saver.save():
            self.line.note(f"saved {path}")

    def _results(self) -> Generator[StepResult | Round, None, None]:
        o = self._options
        if o.ray is not None:
            from stream_perceptron.distributed.ray import run as run_on_ray
            from stream_perceptron.distributed.shards import require_parquet

            return run_on_ray(
                self._live,
                require_parquet(self._sources),
                self._cursor,
                self._epochs or 1,
                o.skips,
                not o.keep_lr,
            )
        return self._live.run(
            self._sources,
            self._cursor,
            self._while_waiting,
            self._explained if self._to_explain else None,
            epochs=self._epochs,
            limit=o.limit,
            stop=o.stop,
            skip_rejected=o.skips,
            with_probabilities=o.output is not None,
            with_every=o.probabilities or self._thresholds is not None,
            every=self._saver.rows,
            one_by_one=self._to_explain,
            holds_rejected=o.rejected is not None,
            notify=self.line.note,
        )

    def _explained(self, learn: Step, batch: Batch) -> StepResult:
        """Learn a batch, and keep the arithmetic of its one sample if --trace asks for it."""
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
        """Print and write the results of a batch."""
        for note in result.notes:
            self.line.note(note)
        if self._live.cursor.epoch == 1 and self._is_first_pass and not self._options.at_random:
            self.line.note("second pass: rows learned before have a training accuracy of their own")
        self._is_first_pass = self._live.cursor.epoch == 0
        if isinstance(result, StepResult):
            self._show_worked(result)
        self._rejected.add(result.rejected)
        self.line.update()
        self._watch.look()
        if isinstance(result, StepResult):
            if self._rejected_rows is not None and self._is_first_pass:
                self._rejected_rows.add(result)
            self._write(result)

    def _write(self, result: StepResult) -> None:
        if self._predictions is not None:
            if self._thresholds is not None:
                result = self._thresholds.apply(result, self._options.probabilities)
            self._predictions.add(result)
            self._flush()
            self._predictions.require_room(result)

    def _flush(self) -> None:
        """Write predictions; if the reader leaves, end as at a signal.

        Rows already read from a pipe are still learned, and their predictions saved.
        """
        try:
            if self._predictions is not None:
                self._predictions.flush()
        except BrokenPipeError:
            if self._options.path is None:
                raise
            self._signals.end(signal.SIGPIPE)

    def _show_worked(self, result: StepResult) -> None:
        if self._worked is None:
            return
        from .worked_sample_table import worked_sample_table

        model, number = self._live.model, int(result.rows[0])
        self.line.show(worked_sample_table(number, self._worked, model.activation, model.epsilon))
        self._worked = None


def _rows_to_read(sources: Sequence[Source], epochs: int | None, limit: int | None) -> int | None:
    """Return the number of rows to read, or None if it is unknown."""
    counts = [source.n_rows for source in sources]
    if epochs is None or None in counts:
        return limit
    rows = epochs * sum(count for count in counts if count is not None)
    return rows if limit is None else min(limit, rows)
