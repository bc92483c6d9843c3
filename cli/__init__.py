"""The command line of stream_perceptron: one file a command."""

import gc
import signal
from contextlib import suppress
from typing import NoReturn

# Imports create many objects and no garbage, so collect rarely.
gc.set_threshold(100_000)


def run() -> NoReturn:
    """Run the command; an interrupt while it is imported ends the process without a traceback."""
    end_at_interrupts(at_once=True)
    from .main import run as run_main

    run_main()


def end_at_interrupts(at_once: bool) -> None:
    """Make SIGINT end the process at once, or raise KeyboardInterrupt as usual."""
    usual, ending = signal.default_int_handler, signal.SIG_DFL
    if signal.getsignal(signal.SIGINT) is (usual if at_once else ending):
        with suppress(ValueError):  # raised in threads other than the main one
            signal.signal(signal.SIGINT, ending if at_once else usual)
