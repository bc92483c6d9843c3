"""A run of `learn`, from opening its outputs to printing its summary."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import click

from stream_perceptron import DivergedError, ModelSizeError
from stream_perceptron.checkpoint.codec import to_json
from stream_perceptron.live.loop import learn
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.live.thresholds import Thresholds

from .command import Options
from .files import require_regular
from .opening import Opened, open_run, print_start
from .output import (
    MIN_LABELED,
    LabelsError,
    Output,
    print_summary,
    require_classes,
    require_labels,
    warn_of_unknown_classes,
    warn_of_unseen_names,
)
from .predictions import LineFormatter, PredictionFile, make_formatter, open_predictions
from .reading import announce_terminal_input, describe_lost_bytes, suggest_skip_bad
from .rejections import RejectedRowFormatter, Rejections
from .signals import InterruptedWaitError, Signals


def run(o: Options) -> int:
    """Run `learn`, and return the exit code."""
    announce_terminal_input(o.sources)
    outputs = {"the_predictions": o.predictions, "the_rejected_rows": o.rejected}
    require_regular(o.rejected)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals(saves=o.model is not None))
        try:
            opened = open_run(
                o, signals, stack, file_format=o.file_format, keep=o.keep,
                needs_label=o.predictions is None and o.join is None, **outputs,
            )  # fmt: skip
        except InterruptedWaitError:
            return signals.exit_code
        Run(o, opened, signals, stack).learn()
        return signals.exit_code if signals.is_set else 0


class Run:
    """A run, which trains a model, saves it and reports progress; `stack` closes its outputs."""

    def __init__(self, o: Options, opened: Opened, signals: Signals, stack: ExitStack) -> None:
        self._o, self._signals, self._stack = o, signals, stack
        self._live, self._files, self._state = opened.live, opened.files, opened.state
        live = opened.live
        # Labels that are not classes end the run of a new model that was not told its classes.
        self._must_check_labels = live.is_unused and live.model.classes is None
        self._rejections = Rejections()
        self._thresholds = Thresholds(o.threshold)
        self._predictions, self._rejected = self._open_predictions(), None
        if o.rejected is not None:
            self._rejected = self._open_output(str(o.rejected), RejectedRowFormatter())
        self._outputs = [file for file in (self._predictions, self._rejected) if file is not None]
        if o.model is not None and any(file.is_new for file in self._outputs):
            self._save_outputs(o.model)  # if this run is killed, the next one recognizes its files
        self._saved_at, self._has_saved = time.monotonic(), False
        self._saved_rows = live.progress.rows
        owns_terminal = o.predictions != "-" or not sys.stdout.isatty()
        n_rows = None if o.stop else self._count_rows_to_read()
        self._line = Output(live, self._state, o.as_json, o.quiet, n_rows, owns_terminal)
        for output in self._outputs:
            if output.notice is not None:
                self._line.print_notice(output.notice)
        print_start(self._line, o.model, opened)

    def _open_predictions(self) -> PredictionFile | None:
        """Open the prediction output, if given; else return None."""
        o, live = self._o, self._live
        if o.predictions is None:
            return None
        classes = live.model.classes_ if o.scores else None
        formatter = make_formatter(o.predictions, o.output_format, live.read_options, classes)
        if formatter.header and classes == []:
            raise click.UsageError(
                "--scores in CSV needs a column for each class: list the classes with --classes"
            )
        return self._open_output(o.predictions, formatter)

    def _open_output(self, path: str, formatter: LineFormatter) -> PredictionFile:
        """Open an output and truncate it to its size at the last save; close it after the run."""
        o, folder, sizes = self._o, None, None
        if o.model is not None:
            folder, sizes = o.model.parent, None if o.overwrite else self._state.outputs
        opened = open_predictions(path, formatter, self._signals, folder, sizes)
        self._stack.callback(opened.close)
        return opened

    def _count_rows_to_read(self) -> int | None:
        """Return the number of rows that this run reads, or None if it is unknown."""
        o, counts = self._o, [file.source.n_rows for file in self._files]
        n_read = sum(file.n_read for file in self._files)
        if None in counts:
            return None if o.limit is None else int(o.limit) - n_read
        n_rows = int(o.passes) * sum(filter(None, counts))
        return (n_rows if o.limit is None else min(o.limit, n_rows)) - n_read

    def learn(self) -> None:
        """Learn all rows, save, and print the summary."""
        o, live = self._o, self._live
        results = learn(
            live,
            [file.source for file in self._files],
            self._files,
            passes=o.passes,
            limit=o.limit,
            stop=o.stop,
            skip_rejected=o.skip_bad or o.rejected is not None,
            with_scores=o.predictions is not None,
            with_all_scores=o.scores or bool(o.threshold),
            every=self._row_interval,
        )
        # Close the generator before Python exits, to stop its prefetch thread.
        self._stack.enter_context(closing(results))
        try:
            with suggest_skip_bad():
                for result in results:
                    self._handle_result(result)
                    self.save_if_due()
        except MemoryError:
            self._finish_after_error()
            names = live.model.classes_, live.model.features_
            raise ModelSizeError(
                f"out of memory with {len(names[0]):,} labels and {len(names[1]):,} features"
            ) from None
        except LabelsError:
            self._line.finish()
            raise
        except ValueError as error:
            self._finish_after_error(isinstance(error, DivergedError))
            raise
        self._finish()

    def _handle_result(self, result: StepResult) -> None:
        """Print notices and progress, and write the predictions and rejected rows of a result."""
        line, live = self._line, self._live
        line.print_notices(result.notices)
        if result.is_repeated:
            line.print_notice("further pass: rows already learned do not count toward the accuracy")
        if result.rejected:
            self._rejections.add(result.rejected)
        if self._must_check_labels and live.model.n_seen >= MIN_LABELED:
            self._require_classes()
        line.update(result.is_report_due)
        self._write(result)

    def _write(self, result: StepResult) -> None:
        """Write the rejected rows and the predictions of a result."""
        if self._rejected is not None and not result.is_repeated:
            self._rejected.write(result)
        if self._predictions is None:
            return
        try:
            self._predictions.write(self._thresholds.apply(result, self._o.scores))
        except BrokenPipeError:
            if self._o.model is None:
                raise
            # End as after a signal: rows that were read from a pipe are still learned.
            self._signals.trigger(signal.SIGPIPE)

    def _require_classes(self) -> None:
        """Check that the labels of a new model that has not been saved are classes."""
        self._must_check_labels = False
        if not self._has_saved:
            require_classes(self._live, self._files[0].source)

    @property
    def _row_interval(self) -> int | None:
        """The number of rows between two saves; None if saves are timed or nothing is saved."""
        interval = self._o.save_every
        return interval if self._o.model is not None and isinstance(interval, int) else None

    def save_if_due(self) -> None:
        """Save if rows were read and the interval in rows or seconds has passed."""
        rows = self._live.progress.rows
        if self._o.model is None or rows == self._saved_rows:
            return
        if (interval := self._row_interval) is not None:
            is_due = rows // interval > self._saved_rows // interval
        else:
            is_due = time.monotonic() >= self._saved_at + self._o.save_every
        if is_due:
            self._save()

    def _save(self) -> bool:
        """Save the model if a path is set and a further run needs it; return whether it was saved.

        If no row was learned or predicted, a further run needs only the position in a pipe, which
        cannot be read again, and the sizes of the output files.
        """
        path, live = self._o.model, self._live
        if path is None:
            return False
        has_output = any(file.has_lines for file in self._outputs)
        self._saved_at, self._saved_rows = time.monotonic(), live.progress.rows
        has_stream = any(file.source.is_stream for file in self._files)
        is_without_rows = live.is_unused or self._has_only_rejected
        if is_without_rows and not (has_output or (has_stream and live.progress.rows)):
            return False
        self._save_outputs(path)
        self._has_saved = True
        return True

    def _save_outputs(self, path: Path) -> None:
        """Save the model with the sizes of the output files."""
        for file in self._outputs:
            file.sync(self._state.outputs)
        self._live.command_state = to_json(self._state)
        self._live.save(path)

    def _finish(self) -> None:
        """Save the model and print the summary; raise an error if no row could be used."""
        o, live, line = self._o, self._live, self._line
        # Without a signal, leftover bytes were read beyond --limit or --stop.
        for file in self._files if self._signals.is_set else []:
            if text := describe_lost_bytes(file.source):
                line.print_notice(text)
        line.finish()
        if self._must_check_labels:
            self._require_classes()
        line.print_findings()  # before saving, because the checkpoint records the printed events
        is_saved = self._save()
        if self._has_only_rejected and not self._signals.is_set:
            if is_saved:
                line.print_notice(f"saved {o.model}")
            raise self._rejections.build_error(self._n_read)
        if o.limit is None and not self._signals.is_set:
            require_labels(line, self._files[0].source, ", or ask for predictions with -p")
        if line.rows:
            for text in (*warn_of_unseen_names(live), *warn_of_unknown_classes(live, o.threshold)):
                line.print_notice(text)
        elif not live.is_unused:
            line.print_notice(self._explain_no_new_rows())
        last_line = "model not saved; use -m MODEL to keep it"
        if o.model is not None:
            last_line = f"saved {o.model}" if is_saved else "nothing to save: no row was learned"
        if self._signals.caught == signal.SIGINT:
            last_line = f"interrupted; {last_line}"
        path = o.model if is_saved else None
        print_summary(line, path, self._rejections, last_line)

    @property
    def _n_read(self) -> int:
        """The number of rows of the given files that were read, in earlier runs, too."""
        return sum(file.n_read for file in self._files)

    @property
    def _has_only_rejected(self) -> bool:
        """Whether rows of the given files were read, and all of them were rejected."""
        positions = [file.position for file in self._files]
        return self._n_read > 0 and all(each.rejected == each.rows for each in positions)

    def _explain_no_new_rows(self) -> str:
        """Return the reason why no row was learned."""
        live = self._live
        if live.n_redelivered:
            return "nothing new: every row was already learned"
        if live.stopped:
            return "nothing new: the run has already stopped"
        if self._signals.is_set:
            return "no new rows"
        return "nothing new: all requested rows were already learned"

    def _finish_after_error(self, diverged: bool = False) -> None:
        """Report and save the progress made before an error."""
        path, line = self._o.model, self._line
        line.finish()
        with suppress(MemoryError):  # saving matters more than findings
            line.print_findings(diverged)
        if path is None or (not line.rows and self._predictions is None):
            return
        if not self._live.is_consistent:
            line.print_notice(f"{path} still has the last save, because a step did not finish")
        elif self._save():
            line.print_notice(f"saved {path}")
