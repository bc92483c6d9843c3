from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

from stream_perceptron_cli.signals import Signals


def test_threads_may_wait_for_the_same_descriptor(signal_handlers):
    reading, writing = os.pipe()
    with Signals() as signals, ThreadPoolExecutor(2) as threads:
        signals.wait(reading, 0)  # keeps a poll object
        waits = [threads.submit(signals.wait, reading, 30) for _ in range(2)]
        time.sleep(0.2)
        os.write(writing, b"x")

        assert [wait.result() for wait in waits] == [True, True]
    os.close(reading)
    os.close(writing)
