"""SIGINT and SIGTERM as a request to end in order."""

from __future__ import annotations

import atexit
import os
import select
import signal
from types import FrameType
from typing import Self

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class InterruptedWaitError(Exception):
    """A signal came while the process was waiting."""


class Signals:
    """While entered, the first SIGINT or SIGTERM is noted, and a second SIGINT ends at once."""

    def __init__(self) -> None:
        self.caught: int | None = None

    def __enter__(self) -> Self:
        self._wakes, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(self._woken)
        self.install()
        return self

    def install(self) -> None:
        """Put the handlers in place, again if something else has put its own there."""
        for number in _NUMBERS:
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
        """Return when there is something to read.

        Raises
        ------
        InterruptedWaitError
            If a signal came.

        """
        ready = [self._wakes]
        if self.caught is None:
            ready, _, _ = select.select([descriptor, self._wakes], [], [])
        if self.caught is not None or self._wakes in ready:
            raise InterruptedWaitError

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None and number == signal.SIGINT:
            os._exit(128 + number)
        self.caught = self.caught or number


def _ignore() -> None:
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
