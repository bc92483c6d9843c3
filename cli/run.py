"""A run of `learn`, from opening its inputs to printing its summary."""

from __future__ import annotations

import copy
import signal
import sys
from collections.abc import Generator
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

import click

from stream_perceptron import (
    DivergedError,
    ModelSizeError,
    SampleError,
    SourceError,
)
from stream_perceptron.live.step_result import StepResult

from .learn import LearnOptions
from .opening import RunInputs, find_log_order, open_inputs
from .predictions import LineFormatter, PredictionFile, make_formatter, open_predictions
from .printable import format_count
from .progress_line import ProgressLine
from .reading import announce_terminal_input, describe_lost_bytes, suggest_skip_bad
from .rejections import RejectedRowFormatter, Rejections
from .saver import Saver
from .signals import InterruptedWaitError, Signals
from .summary import (
    explain_no_new_rows,
    format_log_order,
    print_start,
    print_summary,
    warn_of_unknown_classes,
    warn_of_unseen_names,
)
from .watch import EventReporter

if TYPE_CHECKING:
    from stream_perceptron import SGDPerceptron
    from stream_perceptron.distributed.ray import Round


_MIN_LABELED = 1000  # samples after which the labels of a new model are checked


class _LabelsError(SourceError):
    """The labels of a new model are not classes; the model is not saved."""


def run_learn(options: LearnOptions) -> int:
    """Run `learn`, and return the exit code."""
    announce_terminal_input(options.sources)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals(saves=options.path is not None))
        try:
            run = open_run(options, signals, stack)
        except InterruptedWaitError:
            return signals.exit_code
        run.learn()
        return signals.exit_code if signals.is_set else 0


def open_run(options: LearnOptions, signals: Signals, stack: ExitStack) -> Run:
    """Open all inputs and outputs, which `stack` closes; do not write the checkpoint."""
    opened = open_inputs(options, signals, stack)
    run = Run(options, signals, stack, opened)
    print_start(opened, run.line, options.path)
    if not options.at_random and (logs := find_log_order(options.sources)):
        run.line.print_notice(format_log_order(logs))
    return run


class Run:
    """A run, which trains a model, saves it and reports progress."""

    def __init__(
        self, options: LearnOptions, signals: Signals, stack: ExitStack, opened: RunInputs
    ) -> None:
        o, live, run = options, opened.live, opened.run
        self._options, self._signals, self._stack = o, signals, stack
        self._live, self._sources, self._run = live, opened.sources, run
        self._changed = opened.changed
        # Labels that are not classes end the run of a new model that was not told its classes.
        self._must_check_labels = live.is_unused and live.model.classes is None
        self._rows_before = live.progress.rows
        self._is_first_pass = run.passes == 0
        self._passes = None if o.is_endless else o.n_passes
        self._rejections, self._thresholds = Rejections(), o.thresholds
        self._n_to_trace = o.n_traced or 0
        self._predictions, self._rejected_file = self._open_predictions(), None
        if o.rejected is not None:
            self._rejected_file = self._open_output(str(o.rejected), RejectedRowFormatter())
        # On Ray, save after each round, which contains at least one row.
        interval = 1 if o.ray is not None and "save_every" not in o.given else o.save_every
        outputs = [file for file in (self._predictions, self._rejected_file) if file is not None]
        self._saver = Saver(o.path, interval, live, run, outputs)
        n_rows_to_read = None if o.stop else self._count_rows_to_read()
        owns_terminal = o.output != "-" or not sys.stdout.isatty()
        self.line = ProgressLine(live, o.as_json, o.quiet, n_rows_to_read, owns_terminal)
        for output in outputs:
            if output.notice is not None:
                self.line.print_notice(output.notice)
        self._event_reporter = EventReporter(live, self.line, run)

    def _open_predictions(self) -> PredictionFile | None:
        """Open the prediction output, if given; else return None."""
        o, live = self._options, self._live
        if o.output is None:
            return None
        classes = live.model.classes_ if o.scores else None
        formatter = make_formatter(
            o.output, o.output_format, live.read_options, classes, o.with_learned
        )
        if formatter.header and classes == []:
            raise click.UsageError(
                "--scores in CSV needs a column for each class: list the classes with --classes"
            )
        return self._open_output(o.output, formatter)

    def _open_output(self, path: str, formatter: LineFormatter) -> PredictionFile:
        """Open an output and truncate it to its size at the last save; close it after the run."""
        model = self._options.path
        folder = None if model is None else model.parent
        saved_sizes = self._live.outputs
        opened = open_predictions(path, formatter, self._signals, folder, saved_sizes)
        self._stack.callback(opened.close)
        return opened

    def learn(self) -> None:
        """Learn all rows, save, and print the summary."""
        live = self._live
        for file in () if self._options.reads_again else self._run.given:
            if file.notice is not None:
                self.line.print_notice(file.notice)
        # Close the generator before Python exits, to stop its prefetch thread.
        results = self._stack.enter_context(closing(self._iterate_results()))
        try:
            with suggest_skip_bad():
                before = copy.deepcopy(live.model) if self._n_to_trace else None
                for result in results:
                    self._handle_result(result, before)
                    self._saver.save_if_due()
                    before = copy.deepcopy(live.model) if self._n_to_trace else None
        except MemoryError:
            self._finish_after_error()
            names = live.model.classes_, live.model.features_
            raise ModelSizeError(
                f"out of memory with {len(names[0]):,} labels and {len(names[1]):,} features"
            ) from None
        except _LabelsError:
            self.line.finish()
            raise
        except ValueError as error:
            self._finish_after_error(isinstance(error, DivergedError))
            raise
        self._finish()

    def _require_classes(self) -> None:
        """Check that the labels of a new model, of which nothing was saved, are classes."""
        from stream_perceptron.diagnostics.diagnosis import find_label_problem

        self._must_check_labels = False
        if not self._saver.has_saved and (finding := find_label_problem(self._live)):
            raise _LabelsError(
                f"{self._sources[0].name}: the labels are not classes ({finding.evidence}): "
                f"{finding.suggestion}; if they are classes, list them with --classes"
            )

    def _finish(self) -> None:
        """Save the model and print the summary; raise an error if no row could be used."""
        o, live, line = self._options, self._live, self.line
        # Without a signal, any leftover bytes were read beyond --limit and are not lost.
        for source in self._sources if self._signals.is_set else []:
            if text := describe_lost_bytes(source):
                line.print_notice(text)
        if self._must_check_labels:
            self._require_classes()
        rows = live.progress.rows - self._rows_before
        line.finish()
        self._event_reporter.finish()  # before saving, as the checkpoint records printed findings
        is_saved = self._saver.save()
        if self._run.has_only_rejected and not self._signals.is_set:
            if is_saved:
                line.print_notice(f"saved {o.path}")
            raise SampleError(self._describe_unusable_rows())
        is_complete = o.limit is None and not self._signals.is_set
        if rows and is_complete and live.needs_label and not live.progress.samples:
            raise SourceError(
                f"{self._sources[0].name}: no row has a label: name the label column with "
                "--label, or ask for predictions with -p"
            )
        if rows:
            for text in (*warn_of_unseen_names(live), *warn_of_unknown_classes(live, o.threshold)):
                line.print_notice(text)
        if not (rows or live.is_unused):
            line.print_notice(explain_no_new_rows(live, self._changed))
        last_line = "model not saved; use -m MODEL to keep it"
        if o.path is not None:
            last_line = f"saved {o.path}" if is_saved else "nothing to save: no row was learned"
        if self._signals.caught == signal.SIGINT:
            last_line = f"interrupted; {last_line}"
        path = o.path if is_saved else None
        print_summary(live, line, path, self._rejections, o.as_json, o.quiet, last_line)

    def _describe_unusable_rows(self) -> str:
        """Return the error message for sources whose rows were all rejected."""
        rows = format_count(self._run.read, "row")
        texts = self._rejections.first_texts
        first = f"; the first error: {texts[0]}" if texts else ""
        return f"no usable row among {rows}{first}"

    def _finish_after_error(self, diverged: bool = False) -> None:
        """Report and save the progress made before an error."""
        path = self._options.path
        self.line.finish()
        with suppress(MemoryError):  # saving matters more than findings
            self._event_reporter.finish(diverged)
        is_unchanged = self._live.progress.rows == self._rows_before and self._predictions is None
        if path is None or (is_unchanged and path.exists() and not self._options.overwrite):
            return
        if not self._live.is_consistent:
            self.line.print_notice(f"{path} still has the last save, because a step did not finish")
            return
        if self._saver.save():
            self.line.print_notice(f"saved {path}")

    def _iterate_results(self) -> Generator[StepResult | Round, None, None]:
        """Return a generator that learns rows, locally or on Ray, and yields results."""
        o = self._options
        if o.ray is not None:
            from stream_perceptron.distributed.ray import run as run_on_ray
            from stream_perceptron.distributed.rounds import require_parquet

            return run_on_ray(
                self._live,
                require_parquet(self._sources),
                self._run,
                self._passes or 1,
                o.skips_rejected,
                not o.keep_lr,
            )
        return self._live.run(
            self._sources,
            self._run,
            passes=self._passes,
            limit=o.limit,
            stop=o.stop,
            skip_rejected=o.skips_rejected,
            with_scores=o.output is not None,
            with_all_scores=o.scores or self._thresholds is not None,
            every=self._saver.row_interval,
            n_single_rows=self._n_to_trace,
            reads_unused_columns=o.rejected is not None,
        )

    def _handle_result(self, result: StepResult | Round, before: SGDPerceptron | None) -> None:
        """Print notices and progress, and write the predictions and rejected rows of a result.

        If --trace shows the only sample of a result, `before` is the model before it.
        """
        for notice in result.notices:
            self.line.print_notice(notice)
        if self._run.passes == 1 and self._is_first_pass and not self._options.at_random:
            self.line.print_notice(
                "second pass: rows already learned do not count toward the accuracy"
            )
        self._is_first_pass = self._run.passes == 0
        if isinstance(result, StepResult) and before is not None and result.n_processed:
            self._n_to_trace -= 1
            if len(result.rows):
                self._print_worked_sample(result, before)
        self._rejections.add(result.rejected)
        if self._must_check_labels and self._live.model.n_seen >= _MIN_LABELED:
            self._require_classes()
        self.line.update(result.is_report_due)
        self._event_reporter.update(result.is_report_due)
        if isinstance(result, StepResult):
            if self._rejected_file is not None and self._is_first_pass:
                self._rejected_file.add(result)
            self._write_predictions(result)

    def _write_predictions(self, result: StepResult) -> None:
        """Write the predictions, if requested; check that each class had a column."""
        if self._predictions is not None:
            if self._thresholds is not None:
                result = self._thresholds.apply(result, self._options.scores)
            self._predictions.add(result)
            self._flush_predictions()
            self._predictions.require_all_columns(result)

    def _flush_predictions(self) -> None:
        """Write predictions; if the reader closes the pipe, end the run as after a signal.

        Rows already read from a pipe are still learned.
        """
        try:
            if self._predictions is not None:
                self._predictions.flush()
        except BrokenPipeError:
            if self._options.path is None:
                raise
            self._signals.trigger(signal.SIGPIPE)

    def _print_worked_sample(self, result: StepResult, before: SGDPerceptron) -> None:
        """Print the arithmetic of the only sample of a result."""
        from stream_perceptron.diagnostics.worked_sample import WorkedSample

        from .worked_sample_table import format_worked_sample

        model, row = self._live.model, int(result.rows[0])
        sample = WorkedSample.from_batch(before, model, result.batch)
        if sample is not None:
            self.line.show(format_worked_sample(row, sample, model.activation, model.epsilon))

    def _count_rows_to_read(self) -> int | None:
        """Return the number of rows to read, or None if it is unknown."""
        limit, counts = self._options.limit, [source.n_rows for source in self._sources]
        if self._passes is None or None in counts:
            return limit
        rows = self._passes * sum(count for count in counts if count is not None)
        if not self._options.reads_whole_files:
            rows += sum(file.position.rows for file in self._run.given if file.is_learned)
        return rows if limit is None else min(limit, rows)
