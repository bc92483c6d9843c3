"""A run in a process of its own, which may end without a message."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

from .terminal import OneLineError

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


def run_in_child_process(run: Callable[[], None], failure_message: str) -> int:
    """Run a function in a child process, and return the child's exit code.

    If the child ends before the function does, as when Ray loses its processes on this machine,
    raise an error with this explanation.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.setpgid(0, 0)  # the parent forwards the signals of the terminal
        # The child ends with its parent, however that ends; only Linux supports this.
        getattr(ctypes.CDLL(None), "prctl", lambda *args: 0)(_PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            run()
            return 0
        finally:
            os.write(writing, b"finished")
    os.close(writing)
    for number in _FORWARDED:
        signal.signal(number, lambda received, frame: os.kill(child, received))
    has_finished = os.read(reading, 1) != b""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not has_finished:
        raise OneLineError(failure_message)
    return code if code >= 0 else 128 - code
