"""A run of `distribute`: it learns in rounds on a Ray cluster, and saves after each."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from stream_perceptron.checkpoint.codec import to_json
from stream_perceptron.distributed.ray import (
    connect_cluster,
    count_processors,
    distribute,
    require_same_version,
)
from stream_perceptron.distributed.rounds import require_parquet
from stream_perceptron.live.history import Shards

from .command import Options
from .opening import Opened, open_run, print_start
from .output import Output, print_summary, require_classes, require_labels
from .reading import suggest_skip_bad
from .rejections import Rejections
from .signals import InterruptedWaitError, Signals
from .watch import run_watched

_MAX_DEFAULT_SHARDS = 8  # more lose accuracy; see docs/distributed.md


def run(o: Options) -> int:
    """Run `distribute`, and return the exit code."""
    return run_watched(
        partial(_run, o),
        "Ray ended the run, because one of its processes on this machine was killed or ran out of "
        "memory: repeat the command to resume after the last round saved",
    )


def _run(o: Options) -> int:
    """Run `distribute` in this process, and return the exit code."""
    with ExitStack() as stack:
        signals = stack.enter_context(Signals(saves=True))
        try:
            opened = open_run(o, signals, stack, is_strict=False)
            require_parquet([file.source for file in opened.files])
            _connect(o.address, signals, stack)
        except InterruptedWaitError:
            return signals.exit_code
        _learn(o, opened, signals)
        return signals.exit_code if signals.is_set else 0


def _learn(o: Options, opened: Opened, signals: Signals) -> None:
    """Learn all rounds, save after each, and print the summary."""
    live, files, rejections = opened.live, opened.files, Rejections()
    n_rows = sum(file.source.n_rows or 0 for file in files)
    line = Output(live, opened.state, o.as_json, o.quiet, o.passes * n_rows)
    print_start(line, o.model, opened)
    must_check_labels = live.is_unused and live.model.classes is None
    shards = Shards(o.shards or min(_MAX_DEFAULT_SHARDS, count_processors()), o.round_rows)
    results = distribute(live, files, shards, o.passes, o.skip_bad)
    try:
        with suggest_skip_bad():
            for result in results:
                line.print_notices(result.notices)
                rejections.add(result.rejected)
                if must_check_labels:
                    require_classes(live, files[0].source)
                    must_check_labels = False
                line.update(result.is_report_due)
                _save(o, opened)
    finally:
        line.finish()
    line.print_findings()
    if not signals.is_set:
        if live.is_unused and line.rows:
            raise rejections.build_error(line.rows)
        require_labels(line, files[0].source)
        if not (line.rows or live.is_unused):
            line.print_notice("nothing new: all requested rows were already learned")
    is_saved = _save(o, opened)
    last_line = f"saved {o.model}" if is_saved else "nothing to save: no row was learned"
    if signals.caught == signal.SIGINT:
        last_line = f"interrupted; {last_line}"
    print_summary(line, o.model if is_saved else None, rejections, last_line)


def _save(o: Options, opened: Opened) -> bool:
    """Save the model if it has learned or predicted a row; return whether it was saved."""
    live = opened.live
    if live.is_unused:
        return False
    live.command_state = to_json(opened.state)
    live.save(o.model)
    return True


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
