"""The command-line interface of stream_perceptron, with one module per command."""

import gc
import signal
from typing import NoReturn

# Imports create many objects but no garbage, so collect rarely.
gc.set_threshold(100_000)


def run() -> NoReturn:
    """Run the command; an interrupt during imports ends the process without a traceback."""
    # Another handler stays: the program was started with SIGINT ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .main import run as run_main

    run_main()
