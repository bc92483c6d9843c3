"""The command-line interface of stream_perceptron, with one module per command."""

import gc
import signal
from contextlib import suppress
from typing import NoReturn

# Imports create many objects but no garbage, so collect rarely.
gc.set_threshold(100_000)


def run() -> NoReturn:
    """Run the command; an interrupt during imports ends the process without a traceback."""
    set_interrupt_action(ends_process=True)
    from .main import run as run_main

    run_main()


def set_interrupt_action(ends_process: bool) -> None:
    """Make SIGINT end the process at once, or raise KeyboardInterrupt, which is the default.

    Any other handler is left unchanged.
    """
    python_handler, system_default = signal.default_int_handler, signal.SIG_DFL
    if signal.getsignal(signal.SIGINT) is (python_handler if ends_process else system_default):
        with suppress(ValueError):  # raised outside the main thread
            signal.signal(signal.SIGINT, system_default if ends_process else python_handler)
