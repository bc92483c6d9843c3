"""SIGINT, SIGTERM and SIGHUP as a request to end in order."""

from __future__ import annotations

import atexit
import math
import os
import select
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self, TypeVar

import click

T = TypeVar("T")

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 0.1  # seconds between two looks whether a signal came


class InterruptedWaitError(Exception):
    """A signal came while the process was waiting."""


class Signals:
    """While entered, the first such signal is noted, and a second SIGINT ends at once.

    SIGHUP stays ignored where it was, as under nohup.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self._numbers = _NUMBERS if hangs_up else _NUMBERS[:2]

    def __enter__(self) -> Self:
        self._wakes, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(self._woken)
        self.install()
        return self

    def install(self) -> None:
        """Put the handlers in place, again if something else has put its own there."""
        for number in self._numbers:
            signal.signal(number, self._note)

    def __exit__(self, *exception: object) -> None:
        # The process is about to end, and a signal by then must not spoil its exit code. The
        # handlers stay until Python would put back the default ones.
        atexit.register(_ignore)
        signal.set_wakeup_fd(-1)
        os.close(self._wakes)
        os.close(self._woken)

    @property
    def exit_code(self) -> int:
        """128 plus the signal, as shells have it."""
        return 128 + (self.caught or 0)

    def wait(self, descriptor: int, seconds: float | None = None) -> bool:
        """Return whether there is something to read, after some seconds at most.

        Raises InterruptedWaitError at a signal.
        """
        return self._wait(descriptor, select.POLLIN, seconds)

    def wait_to_write(self, descriptor: int, seconds: float | None = None) -> bool:
        """Return whether something can be written, after some seconds at most; as `wait`."""
        return self._wait(descriptor, select.POLLOUT, seconds)

    def sleep(self, seconds: float) -> None:
        """Return after some seconds; as `wait`."""
        self._wait(None, 0, seconds)

    def check(self) -> float:
        """Raise InterruptedWaitError after a signal; return when to look again, in seconds."""
        if self.caught is not None:
            raise InterruptedWaitError
        return _PATIENCE

    def end(self, number: int) -> None:
        """End as if a signal had come; waiting in other threads ends, too."""
        self.caught = self.caught or number
        os.write(self._woken, b"\0")

    def call(self, function: Callable[[], T], sources: Iterable[str]) -> T:
        """Return what a function returns that opens sources; as `wait`.

        Libraries that open a URI may hang without end and hear no signal, so that they are called
        in a thread, which is left behind.
        """
        if not any("://" in source for source in sources):
            return function()
        outcomes: list[tuple[bool, Any]] = []

        def work() -> None:
            try:
                outcomes.append((True, function()))
            except BaseException as error:
                outcomes.append((False, error))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        while not outcomes:
            thread.join(self.check())
        is_done, value = outcomes[0]
        if not is_done:
            raise value
        return value  # type: ignore[no-any-return]

    def _wait(self, descriptor: int | None, event: int, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(self._wakes, select.POLLIN)
        if descriptor is not None:
            poll.register(descriptor, event)
        ready = []
        if self.caught is None:
            ready = poll.poll(None if seconds is None else math.ceil(1000 * seconds))
        if self.caught is not None or any(number == self._wakes for number, _ in ready):
            raise InterruptedWaitError
        return bool(ready)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None and number == signal.SIGINT:
            os._exit(128 + number)
        self.caught = self.caught or number


@contextmanager
def ending_in_order() -> Iterator[Signals]:
    """Give signals, of which the first ends the command with its exit code."""
    with Signals() as signals:
        try:
            yield signals
        except InterruptedWaitError:
            raise click.exceptions.Exit(signals.exit_code) from None


def _ignore() -> None:
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
