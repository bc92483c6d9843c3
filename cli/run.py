"""A run of `learn`: its sources, model and outputs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing

import click

from stream_perceptron.live.loop import learn
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.live.thresholds import Thresholds

from .command import Options
from .files import require_regular
from .opening import Opened, open_run, print_start
from .output import Output
from .predictions import LineFormatter, PredictionFile, make_formatter, open_predictions
from .reading import announce_terminal_input
from .rejections import RejectedRowFormatter
from .saver import Saver
from .signals import InterruptedWaitError, Signals
from .training import train


def run(o: Options) -> int:
    """Run `learn`, and return the exit code."""
    announce_terminal_input(o.sources)
    require_regular(o.rejected)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals(saves=o.model is not None))
        try:
            opened = open_run(
                o, signals, stack, file_format=o.file_format, keep=o.keep,
                needs_label=o.predictions is None and o.join is None,
                the_predictions=o.predictions, the_rejected_rows=o.rejected,
            )  # fmt: skip
        except InterruptedWaitError:
            return signals.exit_code
        outputs = list(_open_outputs(o, opened, signals, stack))
        saver = Saver(o.model, o.save_every, opened, outputs)
        owns_terminal = o.predictions != "-" or not sys.stdout.isatty()
        n_rows = None if o.stop else _count_rows_to_read(o, opened)
        line = Output(opened.live, opened.state, o.as_json, o.quiet, n_rows, owns_terminal)
        for output in outputs:
            if output.notice is not None:
                line.print_notice(output.notice)
        print_start(line, o.model, opened)
        results = learn(
            opened.live,
            [file.source for file in opened.files],
            opened.files,
            passes=o.passes,
            limit=o.limit,
            stop=o.stop,
            skip_rejected=o.skip_bad or o.rejected is not None,
            with_scores=o.predictions is not None,
            with_all_scores=o.scores or bool(o.threshold),
            every=saver.row_interval,
        )
        # Close the generator before Python exits, to stop its prefetch thread.
        stack.enter_context(closing(results))
        train(o, opened, _write(o, results, outputs, signals), line, saver, signals)
        return signals.exit_code if signals.is_set else 0


def _open_outputs(
    o: Options, opened: Opened, signals: Signals, stack: ExitStack
) -> Iterator[PredictionFile]:
    """Open the outputs, and truncate them to their sizes at the last save."""
    formatters: dict[str, LineFormatter] = {}
    if o.predictions is not None:
        classes = opened.live.model.classes_ if o.scores else None
        options = opened.live.read_options
        formatter = make_formatter(o.predictions, o.output_format, options, classes)
        if formatter.header and classes == []:
            raise click.UsageError(
                "--scores in CSV needs a column for each class: list the classes with --classes"
            )
        formatters[o.predictions] = formatter
    if o.rejected is not None:
        formatters[str(o.rejected)] = RejectedRowFormatter()
    folder, sizes = None, None
    if o.model is not None:
        folder, sizes = o.model.parent, None if o.overwrite else opened.state.outputs
    for path, formatter in formatters.items():
        output = open_predictions(path, formatter, signals, folder, sizes)
        stack.callback(output.close)
        yield output


def _count_rows_to_read(o: Options, opened: Opened) -> int | None:
    """Return the number of rows that this run reads, or None if it is unknown."""
    counts = [file.source.n_rows for file in opened.files]
    if None in counts:
        return None if o.limit is None else int(o.limit) - opened.n_read
    n_rows = int(o.passes) * sum(filter(None, counts))
    return (n_rows if o.limit is None else min(o.limit, n_rows)) - opened.n_read


def _write(
    o: Options, results: Iterable[StepResult], outputs: Sequence[PredictionFile], signals: Signals
) -> Iterator[StepResult]:
    """Yield results after their predictions and rejected rows are written."""
    thresholds = Thresholds(o.threshold)
    for result in results:
        result = thresholds.apply(result, o.scores)
        try:
            for output in outputs:
                output.write(result)
        except BrokenPipeError:
            if o.model is None:
                raise
            # End as after a signal: rows that were read from a pipe are still learned.
            signals.trigger(signal.SIGPIPE)
        yield result
