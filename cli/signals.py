"""SIGINT, SIGTERM and SIGHUP as a request to end in order."""

from __future__ import annotations

import atexit
import os
import select
import signal
from types import FrameType
from typing import Self

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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

    def wait(self, descriptor: int) -> None:
        """Return when there is something to read, or raise InterruptedWaitError at a signal."""
        self._wait([descriptor], [], None)

    def wait_to_write(self, descriptor: int, seconds: float | None = None) -> bool:
        """Return whether something can be written, after some seconds at most; as `wait`."""
        return self._wait([], [descriptor], seconds)

    def sleep(self, seconds: float) -> None:
        """Return after some seconds; as `wait`."""
        self._wait([], [], seconds)

    def _wait(self, readable: list[int], writable: list[int], seconds: float | None) -> bool:
        ready: tuple[list[int], list[int], list[int]] = ([self._wakes], [], [])
        if self.caught is None:
            ready = select.select([*readable, self._wakes], writable, [], seconds)
        if self.caught is not None or self._wakes in ready[0]:
            raise InterruptedWaitError
        return bool(ready[0] or ready[1])

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None and number == signal.SIGINT:
            os._exit(128 + number)
        self.caught = self.caught or number


def _ignore() -> None:
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
