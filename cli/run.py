"""A run of `learn`: its sources, model and outputs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing

from stream_perceptron.live.loop import learn
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.live.thresholds import Thresholds

from .command import Options
from .files import require_regular_files
from .opening import OpenedRun, open_run, print_start
from .output import ProgressPrinter
from .predictions import LineFormatter, PredictionFile, make_formatter, open_predictions
from .reading import announce_terminal_input
from .rejections import RejectedRowFormatter
from .saver import Saver
from .signals import InterruptedWaitError, Signals
from .training import train


def run(options: Options) -> int:
    """Run `learn`, and return the exit code."""
    announce_terminal_input(options.sources)
    require_regular_files(options.rejected)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals(saves=options.model is not None))
        try:
            opened = open_run(
                options, signals, stack, file_format=options.file_format, keep=options.keep,
                needs_label=options.predictions is None and options.join is None,
                the_predictions=options.predictions, the_rejected_rows=options.rejected,
            )  # fmt: skip
        except InterruptedWaitError:
            return signals.exit_code
        outputs = list(_open_outputs(options, opened, signals, stack))
        saver = Saver(options.model, options.save_every, opened, outputs)
        owns_terminal = options.predictions != "-" or not sys.stdout.isatty()
        n_rows = None if options.stop else _count_rows_to_read(options, opened)
        printer = ProgressPrinter(
            opened.live, opened.state, options.as_json, options.quiet, n_rows, owns_terminal
        )
        for output in outputs:
            if output.notice is not None:
                printer.print_notice(output.notice)
        print_start(printer, options.model, opened)
        results = learn(
            opened.live,
            [file.source for file in opened.files],
            opened.files,
            passes=options.passes,
            limit=options.limit,
            stop=options.stop,
            skip_rejected=options.skip_bad or options.rejected is not None,
            with_scores=options.predictions is not None,
            with_all_scores=options.scores or bool(options.threshold),
            every=saver.row_interval,
        )
        # Close the generator before Python exits, to stop its prefetch thread.
        stack.enter_context(closing(results))
        train(options, opened, _write(options, results, outputs, signals), printer, saver, signals)
        return signals.exit_code if signals.is_set else 0


def _open_outputs(
    options: Options, opened: OpenedRun, signals: Signals, stack: ExitStack
) -> Iterator[PredictionFile]:
    """Open the outputs, and truncate them to their sizes at the last save."""
    formatters: dict[str, LineFormatter] = {}
    if options.predictions is not None:
        formatters[options.predictions] = make_formatter(
            options.predictions, options.output_format, opened.live.read_options, options.scores
        )
    if options.rejected is not None:
        formatters[str(options.rejected)] = RejectedRowFormatter()
    folder, sizes = None, None
    if options.model is not None:
        folder, sizes = options.model.parent, None if options.overwrite else opened.state.outputs
    for path, formatter in formatters.items():
        output = open_predictions(path, formatter, signals, folder, sizes)
        stack.callback(output.close)
        yield output


def _count_rows_to_read(options: Options, opened: OpenedRun) -> int | None:
    """Return the number of rows that this run reads, or None if it is unknown."""
    if options.limit is not None and any(file.source.is_stream for file in opened.files):
        return int(options.limit)
    counts = [file.source.n_rows for file in opened.files]
    if None in counts:
        return None if options.limit is None else max(0, int(options.limit) - opened.n_read)
    n_rows = int(options.passes) * sum(filter(None, counts))
    return (n_rows if options.limit is None else min(options.limit, n_rows)) - opened.n_read


def _write(
    options: Options,
    results: Iterable[StepResult],
    outputs: Sequence[PredictionFile],
    signals: Signals,
) -> Iterator[StepResult]:
    """Yield results after their predictions and rejected rows are written."""
    thresholds = Thresholds(options.threshold)
    for result in results:
        result = thresholds.apply(result, options.scores)
        try:
            for output in outputs:
                output.write(result)
        except BrokenPipeError:
            if options.model is None:
                raise
            # End as after a signal: rows that were read from a pipe are still learned.
            signals.trigger(signal.SIGPIPE)
        yield result
