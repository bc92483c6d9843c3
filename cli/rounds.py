"""The run of `distribute`: it learns in rounds on a Ray cluster, and saves after each."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager

from stream_perceptron import LiveModel
from stream_perceptron.distributed.ray import (
    Round,
    connect_cluster,
    count_processors,
    distribute,
    require_same_version,
)
from stream_perceptron.distributed.rounds import require_parquet
from stream_perceptron.live.history import Shards

from .signals import InterruptedWaitError
from .training import TrainingRun

_MAX_DEFAULT_SHARDS = 8  # more lose accuracy; see docs/distributed.md


class DistributedRun(TrainingRun):
    """A run of `distribute`."""

    is_strict = False

    def open(self, stack: ExitStack) -> None:
        super().open(stack)
        self._connect(stack)

    def open_sources(self, saved: LiveModel | None) -> None:
        super().open_sources(saved)
        require_parquet([file.source for file in self.files])

    def results(self) -> Generator[Round, None, None]:
        options = self.options
        n = options.shards or min(_MAX_DEFAULT_SHARDS, count_processors())
        shards = Shards(n, options.round_rows)
        return distribute(self.live, self.files, shards, options.passes, options.skip_bad)

    def _connect(self, stack: ExitStack) -> None:
        """Connect to a Ray cluster; closing `stack` ends the connection."""
        signals = self.signals
        # Ray prints a lot while it waits, and its signal handlers exit with the signal's number.
        try:
            with _silence_stderr():
                stack.enter_context(connect_cluster(self.options.address))
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
