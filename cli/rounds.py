"""A run of `distribute`: it learns in rounds on a Ray cluster, and saves after each."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from stream_perceptron.distributed.ray import (
    connect_cluster,
    count_processors,
    distribute,
    require_same_version,
)
from stream_perceptron.distributed.rounds import require_parquet
from stream_perceptron.live.history import Shards

from .command import Options
from .opening import open_run, print_start
from .output import ProgressPrinter
from .saver import Saver
from .signals import InterruptedWaitError, Signals
from .training import train
from .watch import run_in_child_process

_MAX_DEFAULT_SHARDS = 8  # more lose accuracy; see docs/distributed.md
_EVERY_ROUND = 0.0  # seconds between two saves


def run(options: Options) -> int:
    """Run `distribute`, and return the exit code."""
    return run_in_child_process(
        partial(_run, options),
        "Ray ended the run, because one of its processes on this machine was killed or ran out of "
        "memory: repeat the command to resume after the last round saved",
    )


def _run(options: Options) -> int:
    """Run `distribute` in this process, and return the exit code."""
    with ExitStack() as stack:
        signals = stack.enter_context(Signals(saves=True))
        try:
            opened = open_run(options, signals, stack, is_strict=False)
            sources = require_parquet([file.source for file in opened.files])
            _connect(options.address, signals, stack)
        except InterruptedWaitError:
            return signals.exit_code
        n_rows = options.passes * sum(source.n_rows for source in sources)
        printer = ProgressPrinter(opened.live, opened.state, options.as_json, options.quiet, n_rows)
        print_start(printer, options.model, opened)
        shards = Shards(
            options.shards or min(_MAX_DEFAULT_SHARDS, count_processors()), options.round_rows
        )
        results = distribute(opened.live, opened.files, shards, options.passes, options.skip_bad)
        train(
            options, opened, results, printer, Saver(options.model, _EVERY_ROUND, opened), signals
        )
        return signals.exit_code if signals.is_set else 0


def _connect(address: str | None, signals: Signals, stack: ExitStack) -> None:
    """Connect to a Ray cluster; closing `stack` ends the connection."""
    # Ray prints a lot while it waits, and its signal handlers exit with the signal's number.
    try:
        with _silence_stderr():
            stack.enter_context(connect_cluster(address))
    except SystemExit:
        signals.caught = signals.caught or signal.SIGTERM
        raise InterruptedWaitError from None
    signals.install()
    require_same_version()


@contextmanager
def _silence_stderr() -> Iterator[None]:
    """Redirect stderr to /dev/null inside a `with` block, even for C libraries."""
    sys.stderr.flush()
    descriptor = sys.stderr.fileno()
    saved_descriptor, devnull = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, descriptor)
    try:
        yield
    finally:
        os.dup2(saved_descriptor, descriptor)
        os.close(saved_descriptor)
        os.close(devnull)
