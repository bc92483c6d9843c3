"""The command line of stream_perceptron: one file a command."""

import gc
import signal
from contextlib import suppress

# Imports make many objects and no garbage, which Python by itself would look for all the time.
gc.set_threshold(100_000)


def end_at_interrupts(at_once: bool) -> None:
    """Let SIGINT end the process at once, without a traceback, or raise KeyboardInterrupt."""
    usual, ending = signal.default_int_handler, signal.SIG_DFL
    if signal.getsignal(signal.SIGINT) is (usual if at_once else ending):
        with suppress(ValueError):  # it may be another thread that imports this
            signal.signal(signal.SIGINT, ending if at_once else usual)


end_at_interrupts(at_once=True)  # while `main` is imported
