"""Orderly ends at SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import atexit
import math
import os
import select
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Self, TypeVar

import click

T = TypeVar("T")

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 0.1  # seconds between two checks for a signal


class InterruptedWaitError(Exception):
    """A signal came before any input was read."""


class Signals:
    """Records the first signal while entered, which interrupts the sources.

    Another SIGINT ends the process at once. With `saves`, the next SIGINT only prints that a save
    is under way, and the one after it ends the process. SIGHUP stays ignored if it was, as under
    nohup.
    """

    def __init__(self, saves: bool = False) -> None:
        self.caught: int | None = None
        self._polls: dict[tuple[int | None, int], select.poll] = {}  # idle ones, by their event
        self._warns = saves
        hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self._numbers = _NUMBERS if hangs_up else _NUMBERS[:2]

    def __enter__(self) -> Self:
        self._polls.clear()
        self._wakes, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(self._woken)
        self.install()
        return self

    def install(self) -> None:
        """Install the handlers, also again after a library has installed its own."""
        for number in self._numbers:
            signal.signal(number, self._note)

    def __exit__(self, *exception: object) -> None:
        # Near the end of the process a signal must not change the exit code. The handlers stay
        # until Python would restore the default ones.
        atexit.register(_ignore)
        signal.set_wakeup_fd(-1)
        os.close(self._wakes)
        os.close(self._woken)

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as in shells."""
        return 128 + (self.caught or 0)

    @property
    def is_set(self) -> bool:
        """Whether a signal has come."""
        return self.caught is not None

    def wait(self, descriptor: int, seconds: float | None = None) -> bool:
        """Wait for input or a signal, at most some seconds; return whether there is input."""
        return self._wait(descriptor, select.POLLIN, seconds)

    def wait_to_write(self, descriptor: int, seconds: float | None = None) -> bool:
        """Wait like `wait`; return whether writing does not block."""
        return self._wait(descriptor, select.POLLOUT, seconds)

    def sleep(self, seconds: float) -> None:
        """Sleep for some seconds, or until a signal comes."""
        self._wait(None, 0, seconds)

    def check(self) -> None:
        """Raise InterruptedWaitError after a signal."""
        if self.is_set:
            raise InterruptedWaitError

    def end(self, number: int) -> None:
        """End as if this signal had come; waits in other threads end too."""
        if self.caught is None:  # the pipe that wakes waits would fill up
            self.caught = number
            os.write(self._woken, b"\0")

    def call(self, function: Callable[[], T], sources: Iterable[str]) -> T:
        """Call a function that opens sources and return its result.

        Libraries that open a URI may hang and react to no signal, so call them in a thread and
        abandon it at a signal.

        Raises
        ------
        InterruptedWaitError
            If a signal comes before the sources are open.

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
                self.check()
                thread.join(_PATIENCE)
        else:
            work()
        is_done, value = outcomes[0]
        if is_done:
            return value  # type: ignore[no-any-return]
        if isinstance(value, SourceError):
            self.check()  # a source that a signal ended early may lack what its format needs
        raise value

    def _wait(self, descriptor: int | None, event: int, seconds: float | None) -> bool:
        # Only one thread at a time may use a poll object.
        poll = self._polls.pop((descriptor, event), None)
        if poll is None:
            poll = select.poll()
            poll.register(self._wakes, select.POLLIN)
            if descriptor is not None:
                poll.register(descriptor, event)
        ready = poll.poll(None if seconds is None else math.ceil(1000 * seconds))
        self._polls[descriptor, event] = poll
        return any(number == descriptor for number, _ in ready)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None and number == signal.SIGINT:
            if not self._warns:
                os._exit(128 + number)
            self._warns = False
            with suppress(OSError):
                os.write(2, b"saving; press Ctrl-C again to end without saving\n")
        self.caught = self.caught or number


@contextmanager
def ending_in_order() -> Iterator[Signals]:
    """Yield Signals; after the first one the command ends with its exit code."""
    with Signals() as signals:
        try:
            yield signals
        except InterruptedWaitError:
            if signals.caught == signal.SIGINT:
                click.echo("interrupted", err=True)
        if signals.is_set:
            raise click.exceptions.Exit(signals.exit_code)


def _ignore() -> None:
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
