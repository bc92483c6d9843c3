"""Orderly shutdown on SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import atexit
import json
import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Self, TypeVar

import click

from .terminal import print_message, prints_json

T = TypeVar("T")

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CHECK_INTERVAL = 0.1  # seconds between two checks for a signal
# Seconds to wait without sleeping. Within this time, a sender that waits for each answer sends its
# next row, and a processor that sleeps until then wakes up slowly and with cold caches.
_BUSY_WAIT_SECONDS = 1e-4


class InterruptedWaitError(Exception):
    """Raised if a signal arrives before any input is read."""


class Signals:
    """Records the first signal inside a `with` block; the signal also interrupts reading.

    Another SIGINT ends the process at once. With `saves_model`, it only prints that a save is
    under way, and the next one ends the process. If SIGHUP is already ignored, as under nohup, it
    stays ignored.
    """

    def __init__(self, saves_model: bool = False) -> None:
        self.caught: int | None = None
        self._warns_before_exit, self._prints_json = saves_model, prints_json()
        hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self._numbers = _NUMBERS if hangs_up else _NUMBERS[:2]

    def __enter__(self) -> Self:
        self._wakeup_reader, self._wakeup_writer = os.pipe()
        os.set_blocking(self._wakeup_writer, False)
        signal.set_wakeup_fd(self._wakeup_writer)
        self.install()
        return self

    def install(self) -> None:
        """Install the handlers, or restore them after a library has installed its own."""
        for number in self._numbers:
            signal.signal(number, self._handle_signal)

    def __exit__(self, *exception: object) -> None:
        # Shortly before the process ends, a signal must not change the exit code. The handlers stay
        # installed until signals are ignored, just before Python restores the default handlers.
        atexit.register(_ignore_signals)
        signal.set_wakeup_fd(-1)
        os.close(self._wakeup_reader)
        os.close(self._wakeup_writer)

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as in shells."""
        return 128 + (self.caught or 0)

    @property
    def is_set(self) -> bool:
        """Whether a signal has arrived."""
        return self.caught is not None

    def wait(
        self, descriptor: int | None, seconds: float | None = None, event: int = select.POLLIN
    ) -> bool:
        """Wait for a poll event, a signal or a timeout; return whether the event occurred.

        Without a descriptor, sleep until a signal or the timeout.
        """
        poll = select.poll()
        poll.register(self._wakeup_reader, select.POLLIN)
        if descriptor is not None:
            poll.register(descriptor, event)
        ready, deadline = poll.poll(0), time.monotonic() + _BUSY_WAIT_SECONDS
        while not ready and time.monotonic() < deadline:
            os.sched_yield()  # to the sender, if it has no processor of its own
            ready = poll.poll(0)
        ready = ready or poll.poll(None if seconds is None else math.ceil(1000 * seconds))
        return descriptor in dict(ready)

    def raise_if_caught(self) -> None:
        """Raise InterruptedWaitError after a signal."""
        if self.is_set:
            raise InterruptedWaitError

    def trigger(self, number: int) -> None:
        """Act as if this signal had arrived; waits in other threads end, too."""
        if self.caught is None:  # repeated writes would fill the wakeup pipe
            self.caught = number
            os.write(self._wakeup_writer, b"\0")

    def call_interruptibly(self, function: Callable[[], T], sources: Iterable[str]) -> T:
        """Call a function that opens sources, and return its result.

        Libraries that open a URI may hang and ignore signals, so the function is called in a
        thread, which is abandoned after a signal.

        Raises
        ------
        InterruptedWaitError
            If a signal arrives before the sources are open.

        """
        from stream_perceptron import SourceError

        outcomes: list[tuple[bool, Any]] = []

        def work() -> None:
            try:
                outcomes.append((True, function()))
            except BaseException as error:
                outcomes.append((False, error))

        if any("://" in source for source in sources):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            while not outcomes:
                self.raise_if_caught()
                thread.join(_CHECK_INTERVAL)
        else:
            work()
        has_returned, value = outcomes[0]
        if has_returned:
            return value  # type: ignore[no-any-return]
        if isinstance(value, SourceError):
            self.raise_if_caught()  # the error may be due to a source that a signal cut short
        raise value

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        """Record the first signal; on a further Ctrl-C, exit, perhaps after one warning."""
        if self.caught is not None and number == signal.SIGINT:
            if not self._warns_before_exit:
                os._exit(128 + number)
            self._warns_before_exit = False
            text = "saving; press Ctrl-C again to end without saving"
            event = {"kind": "notice", "text": text, "remedies": []}
            line = json.dumps(event) if self._prints_json else text
            with suppress(OSError):
                os.write(2, f"{line}\n".encode())
        self.caught = self.caught or number


@contextmanager
def exit_on_signal(saves_model: bool = False, is_quiet: bool = False) -> Iterator[Signals]:
    """Yield `Signals`; after the first signal, the command ends with the signal's exit code."""
    with Signals(saves_model) as signals:
        try:
            yield signals
        except InterruptedWaitError:
            if signals.caught == signal.SIGINT and not is_quiet:
                print_message("interrupted")
        if signals.is_set:
            raise click.exceptions.Exit(signals.exit_code)


def _ignore_signals() -> None:
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
