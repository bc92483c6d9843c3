"""The run of a command that trains models."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream_perceptron import DivergedError, LiveModel, ModelSizeError, SourceError
from stream_perceptron.checkpoint.encoding import convert_to_json_value
from stream_perceptron.data.source import Source
from stream_perceptron.live.drift import explain_drop
from stream_perceptron.live.files import GivenFile, identify_files
from stream_perceptron.live.findings import FindingCode
from stream_perceptron.live.history import History
from stream_perceptron.live.loop import learn
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.live.thresholds import Thresholds
from stream_perceptron.model.rates import format_lr

from .checkpoint import (
    MODEL_PARAMETERS,
    CommandState,
    SaveInterval,
    change_parameters,
    has_learned_nothing,
    load_checkpoint,
    set_source_options,
)
from .checks import (
    LabelsError,
    require_classes,
    require_labels,
    warn_of_unknown_classes,
    warn_of_unseen_columns,
)
from .command import Options, convert_value_errors
from .files import require_expected_content
from .lines import RejectedRowFormatter, make_formatter
from .outputs import Output, OutputSizes, open_output
from .progress import Printer
from .reading import (
    announce_terminal_input,
    describe_lost_bytes,
    iter_sources,
    make_read_options,
    suggest_skipping_rejected_rows,
)
from .rejections import Rejections
from .signals import Signals, exit_on_signal
from .summary import compute_figures, format_summary
from .terminal import format_count, print_json, print_message, prints_json

if TYPE_CHECKING:
    from stream_perceptron.distributed.ray import Round

_MIN_DIAGNOSED_ROWS = 4000  # rows that a run must read before findings are reported
_MIN_CHECKED_LABELS = 1000  # samples after which the labels of a new model are checked


class TrainingRun:
    """A run of `learn`: it owns the model, the files, the outputs and what is printed.

    The runs of `distribute` and `sweep` learn in other ways.
    """

    is_strict = True  # whether a file that has changed is an error
    live: LiveModel
    files: list[GivenFile]
    signals: Signals
    printer: Printer

    def __init__(self, options: Options) -> None:
        self.options, self.rejections = options, Rejections()
        self.outputs: list[Output] = []
        self._state = CommandState()  # of the last save
        self._changed_parameters: list[str] = []  # those that differ from the saved model's
        self._has_saved = False

    def run(self) -> None:
        """Run the command; a signal ends it with the signal's exit code."""
        options = self.options
        announce_terminal_input(options.sources)
        signals = exit_on_signal(options.model is not None, options.quiet)
        with signals as self.signals, ExitStack() as stack:
            self.open(stack)
            self.train()

    @property
    def n_rows_read(self) -> int:
        """The number of rows of the files that were read, in earlier runs, too."""
        return sum(file.progress.n_rows_read for file in self.files)

    @property
    def n_new_rows(self) -> int:
        """The number of rows read in this run."""
        return self.live.progress.rows - self._n_rows_before

    # --- Open

    def open(self, stack: ExitStack) -> None:
        """Open the checkpoint, the sources and the outputs; nothing is written until all fit."""
        options, saved = self.options, load_checkpoint(self.options, stack)
        self.signals.call_interruptibly(partial(self.open_sources, saved), options.sources)
        self._n_rows_before = self.live.progress.rows
        self._open_outputs(stack)
        owns_terminal = options.predictions != "-" or not sys.stdout.isatty()
        self.printer = Printer(options.quiet, self._count_rows_to_read(), owns_terminal)
        self._interval = SaveInterval(options.save_every, self._n_rows_before)
        # Labels that are not classes end the run of a new model without given classes.
        self._must_check_labels = self.live.is_unused and self.live.model.classes is None
        if options.model is not None and any(output.is_new for output in self.outputs):
            self._write(options.model)  # if this run is killed, the next one recognizes its files
        self._print_start()

    def open_sources(self, saved: LiveModel | None) -> None:
        """Open the sources, find where each continues, and create or resume the model."""
        options, history = self.options, History()
        is_new = saved is None or has_learned_nothing(saved)
        if saved is not None:
            self._state = CommandState.load(saved)
            # If nothing was learned, files are read again; pipes cannot be.
            if not is_new or any(file.is_stream for file in saved.history.files):
                history = saved.history
            else:
                self._state = CommandState(dict.fromkeys(self._state.outputs, 0))
        opened = iter_sources(options.sources, options.file_format, self.signals)
        self.files = identify_files(history.files, opened, options.passes, self.is_strict)
        sources = [file.source for file in self.files if file.progress.passes < options.passes]
        if is_new:
            self.live = self._create_model(sources)
            if saved is not None and history is saved.history:
                self.live.continue_reading_of(saved)
        else:
            assert saved is not None
            self.live = saved
            self._resume_model(sources)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a new model."""
        return {name: getattr(self.options, name) for name in MODEL_PARAMETERS}

    @property
    def _needs_label(self) -> bool:
        return self.options.predictions is None and self.options.join is None

    def _create_model(self, sources: list[Source]) -> LiveModel:
        """Create a model for the sources."""
        options = self.options
        with convert_value_errors():
            try:
                return LiveModel.start(
                    sources,
                    make_read_options(options),
                    options.classes or None,
                    self._needs_label,
                    **self.parameters,
                )
            except SourceError:
                for source in sources:
                    if text := describe_lost_bytes(source, is_model_saved=False):
                        print_message(text)
                raise

    def _resume_model(self, sources: list[Source]) -> None:
        """Check that the sources fit the saved model, and change its parameters."""
        live, options = self.live, self.options
        read_options = live.read_options
        if live.history.is_empty:
            read_options = set_source_options(read_options, options)
        read_options = replace(read_options, keep=options.keep).join_names_with_commas(
            live.schema.columns
        )
        live.resume(sources, read_options, self._needs_label)
        self._changed_parameters = change_parameters(live, options)

    def _open_outputs(self, stack: ExitStack) -> None:
        """Open the outputs, and truncate them to their sizes at the last save."""
        options, formatters = self.options, {}
        if options.predictions is not None:
            formatters[options.predictions] = make_formatter(
                options.predictions, options.output_format, self.live.read_options, options.scores
            )
        if options.rejected is not None:
            formatters[str(options.rejected)] = RejectedRowFormatter()
        saved = None
        if options.model is not None and not options.overwrite:
            saved = OutputSizes(options.model.parent, self._state.outputs)
        for path, formatter in formatters.items():
            if path != "-":
                require_expected_content(
                    path, formatter.prefixes, formatter.content, "remove it, or name another file"
                )
            output = open_output(path, formatter, self.signals, saved)
            stack.callback(output.close)
            self.outputs.append(output)

    def _count_rows_to_read(self) -> int | None:
        """Return the number of rows that this run reads, or None if it is unknown."""
        options, counts = self.options, [file.source.n_rows for file in self.files]
        if options.stop:
            return None
        if options.limit is not None and any(file.source.is_stream for file in self.files):
            return int(options.limit)
        if None in counts:
            return None if options.limit is None else max(0, int(options.limit) - self.n_rows_read)
        n_rows = int(options.passes) * sum(filter(None, counts))
        return (n_rows if options.limit is None else min(options.limit, n_rows)) - self.n_rows_read

    def _print_start(self) -> None:
        """Print where a run resumes, and what the user should know about files and options."""
        live = self.live
        for output in self.outputs:
            if output.notice is not None:
                self.print_notice(output.notice)
        if live.progress.rows:
            rows = format_count(live.progress.rows, "row")
            self.print_notice(f"resuming {self.options.model} after {rows}")
        for name in self._changed_parameters:
            value = getattr(live.model, name)
            shown = f"{value:,}" if name == "max_weights" else format_lr(value)
            self.print_notice(f"{name.replace('_', '-')} is {shown} from now on")
        for file in self.files:
            if file.notice is not None:
                self.print_notice(file.notice)

    # --- Learn

    def results(self) -> Generator[StepResult | Round, None, None]:
        """Learn the rows; yield results after their predictions and rejected rows are written."""
        options, interval = self.options, self._interval
        steps = learn(
            self.live,
            [file.source for file in self.files],
            self.files,
            passes=options.passes,
            limit=options.limit,
            stop=options.stop,
            skip_rejected=options.skip_bad or options.rejected is not None,
            with_scores=options.predictions is not None,
            with_all_scores=options.scores or bool(options.threshold),
            every=None if options.model is None else interval.rows,
        )
        thresholds = Thresholds(options.threshold)
        with closing(steps):
            for step in steps:
                result = thresholds.apply(step, options.scores)
                try:
                    for output in self.outputs:
                        output.write(result)
                except BrokenPipeError:
                    if options.model is None:
                        raise
                    # End as after a signal: rows that were read from a pipe are still learned.
                    self.signals.trigger(signal.SIGPIPE)
                yield result

    def train(self) -> None:
        """Learn all rows, and finish; after an error, report and save what was learned before."""
        try:
            # Closing the generator stops its prefetch thread before Python exits.
            with suggest_skipping_rejected_rows(), closing(self.results()) as results:
                for result in results:
                    self.rejections.add(result.rejected)
                    self._require_classes_once(_MIN_CHECKED_LABELS)
                    self.report(result)
                    if self._interval.is_due(self.live.progress.rows):
                        self.save()
            self._require_classes_once()
        except LabelsError:
            self.print_last_row()
            raise
        except MemoryError:
            self._finish_after_error()
            model = self.live.model
            n_labels, n_features = len(model.classes_), len(model.features_)
            raise ModelSizeError(
                f"out of memory with {n_labels:,} labels and {n_features:,} features"
            ) from None
        except ValueError as error:
            self._finish_after_error(isinstance(error, DivergedError))
            raise
        self.finish()

    def _require_classes_once(self, n_samples: int = 0) -> None:
        """Check once, after a number of samples, that the labels of a new model are classes."""
        if self._must_check_labels and self.live.model.n_seen >= n_samples:
            self._must_check_labels = False
            if not self._has_saved:
                require_classes(self.live, self.files[0].source)

    # --- Print

    def print_notice(self, text: str) -> None:
        """Print a notice or a warning, unless it was printed before."""
        self.printer.print_notice(text, self.live.progress.rows)

    def report(self, result: StepResult | Round) -> None:
        """Print notices and events and, if it is time, figures."""
        from stream_perceptron.diagnostics.scaling import warn_of_large_features

        progress, printer, n_rows = self.live.progress, self.printer, self.n_new_rows
        for notice in result.notices:
            self.print_notice(notice)
        if result.notices and (warning := warn_of_large_features(self.live)) is not None:
            self.print_notice(warning)
        if result.is_repeated:
            self.print_notice("further pass: rows already learned do not count toward the accuracy")
        if result.is_report_due or printer.is_table_row_overdue(n_rows):
            self._print_figures()
        printer.redraw(progress, n_rows)
        if progress.events and progress.events[-1].found > self._state.reported_row:
            self._print_drift_events()
        if result.is_report_due and n_rows >= _MIN_DIAGNOSED_ROWS:
            self.print_findings(has_ended=False)

    def _print_figures(self) -> None:
        """Print figures, as a row of a table or as JSON, unless the run is quiet."""
        if self.printer.is_quiet:
            return
        if prints_json():
            self.printer.print_record(
                self.n_new_rows, row=self.live.progress.rows, **self._compute_metrics()
            )
        else:
            self.printer.print_row(self.live.progress, self.n_new_rows)

    def _compute_metrics(self) -> dict[str, Any]:
        return {**compute_figures(self.live), "seconds": round(self.printer.elapsed_seconds, 3)}

    def _print_drift_events(self) -> None:
        """Print the drift events that no run has printed."""
        for event in self.live.progress.events:
            if event.found <= self._state.reported_row:
                continue
            self._state.reported_row = event.found
            text, cause = str(event), None
            if event.is_drop:
                cause = explain_drop(self.live.model.class_weight is not None)
                text = f"{text}; {cause}"
                self.printer.mark_printed(FindingCode.PERFORMANCE_DROPPED)
            self.printer.print_event(
                event.kind, text, row=event.found, near=event.row, before=event.before,
                after=event.after, suggestion=cause,
            )  # fmt: skip

    def print_findings(self, diverged: bool = False, has_ended: bool = True) -> None:
        """Print the events and findings that have not been printed in this run.

        How fast the error falls says something about the learning rate only at the end of a run.
        """
        from stream_perceptron.diagnostics.diagnosis import collect_findings

        self._print_drift_events()
        for finding in () if self.printer.is_quiet else collect_findings(self.live, diverged):
            is_early = finding.code is FindingCode.LEARNING_RATE_TOO_LOW and not has_ended
            if not (self.printer.has_printed(finding.code) or is_early):
                figures = {"row": self.live.progress.rows, **finding.to_dict()}
                self.printer.print_event("finding", finding.text, **figures)
                self.printer.mark_printed(finding.code)

    def print_last_row(self) -> None:
        """Print the final figures as text; JSON has them in the summary."""
        self.printer.clear()
        if not prints_json():
            self.printer.print_row(self.live.progress, self.n_new_rows)

    # --- Save

    def save(self) -> Path | None:
        """Save the model if a further run needs it; return its path, or None if it does not.

        If no row was learned or predicted, or none of a run that needs labels had one, a further
        run needs only the position in a pipe, which cannot be read again, and the sizes of the
        output files.
        """
        live, path = self.live, self.options.model
        self._interval.restart(live.progress.rows)
        has_learned = not (live.is_unused or live.lacks_labels or self._has_only_rejected)
        has_read_pipe = live.progress.rows and any(file.source.is_stream for file in self.files)
        has_output = any(output.has_content for output in self.outputs)
        if path is None or not (has_learned or has_read_pipe or has_output):
            return None
        self._write(path)
        self._has_saved = True
        return Path(path)

    def _write(self, path: Path) -> None:
        """Save the model with the sizes of the output files."""
        sizes = OutputSizes(path.parent, self._state.outputs)
        for output in self.outputs:
            output.sync_to_disk(sizes)
        self.live.save(path, convert_to_json_value(self._state))

    @property
    def _has_only_rejected(self) -> bool:
        """Whether rows of the files were read, and all of them were rejected."""
        if self.live.is_unused:
            return self.live.progress.rows > 0
        all_progress = [file.progress for file in self.files]
        return self.n_rows_read > 0 and all(
            progress.rejected == progress.position.rows for progress in all_progress
        )

    # --- Finish

    def finish(self) -> None:
        """Save the model and print the summary; raise an error if no row could be used."""
        live, signals = self.live, self.signals
        self.print_last_row()
        # Without a signal, leftover bytes were read beyond --limit or --stop.
        for file in self.files if signals.is_set else []:
            if text := describe_lost_bytes(file.source):
                self.print_notice(text)
        self.print_findings()  # before saving, because the checkpoint records the printed events
        path = self.save()
        if self._has_only_rejected and not signals.is_set:
            if path is not None:
                self.print_notice(f"saved {path}")
            raise self.rejections.build_error(self.n_rows_read)
        if "limit" not in self.options.given and self.n_new_rows and not signals.is_set:
            require_labels(live, self.files[0].source)
        if self.n_new_rows:
            thresholds = self.options.threshold or {}
            for text in (*warn_of_unseen_columns(live), *warn_of_unknown_classes(live, thresholds)):
                self.print_notice(text)
        elif not live.is_unused:
            self.print_notice(self._explain_no_new_rows())
        self.print_summary(path)

    def _explain_no_new_rows(self) -> str:
        """Return the reason why no row was learned."""
        if self.signals.is_set:
            return "no new rows"
        if self.live.n_redelivered:
            return "nothing new: every row was already learned"
        if self.live.stopped:
            return "nothing new: the run has already stopped"
        return "nothing new: all requested rows were already learned"

    def print_summary(self, path: Path | None) -> None:
        """Print the summary, JSON on stdout or text on stderr, given the path of the model saved.

        If predictions are written to stdout, JSON goes to stderr, too.
        """
        if prints_json():
            record, has_predictions = self._build_summary(path), self.options.predictions == "-"
            print_json({"kind": "summary"} | record if has_predictions else record, has_predictions)
        elif not self.printer.is_quiet:
            rejected = self.rejections.format_summary(self.n_new_rows)
            for text in [*rejected, *format_summary(self.live), self._describe_save(path)]:
                print_message(text)

    def _build_summary(self, path: Path | None) -> dict[str, object]:
        """Return the summary for JSON output."""
        from stream_perceptron.diagnostics.diagnosis import collect_findings

        live = self.live
        return {
            **self._compute_metrics(),
            "redelivered": live.n_redelivered,
            "stopped": live.stopped,
            "skipped_rows": self.rejections.first_texts,
            "classes": live.model.classes_,
            "model": None if path is None else str(path),
            "diagnosis": [finding.to_dict() for finding in collect_findings(live)],
        }

    def _describe_save(self, path: Path | None) -> str:
        """Return the last line of the summary."""
        line = f"saved {path}"
        if self.options.model is None:
            line = "model not saved; use -m MODEL to keep it"
        elif path is None:
            line = "nothing to save: no row was learned"
        return f"interrupted; {line}" if self.signals.caught == signal.SIGINT else line

    def _finish_after_error(self, diverged: bool = False) -> None:
        """Report and save the progress made before an error."""
        self.print_last_row()
        with suppress(MemoryError):  # saving matters more than findings
            self.print_findings(diverged)
        path = self.options.model
        if path is None or not self.n_new_rows:
            return
        if not self.live.is_consistent:
            self.print_notice(f"{path} still has the last save, because a step did not finish")
        elif self.save():
            self.print_notice(f"saved {path}")
