from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

from stream_perceptron_cli.signals import Signals


def test_threads_can_wait_for_the_same_descriptor(signal_handlers):
    read_end, write_end = os.pipe()
    with Signals() as signals, ThreadPoolExecutor(2) as threads:
        signals.wait(read_end, 0)  # keeps a poll object
        futures = [threads.submit(signals.wait, read_end, 30) for _ in range(2)]
        time.sleep(0.2)
        os.write(write_end, b"x")

        assert [future.result() for future in futures] == [True, True]
    os.close(read_end)
    os.close(write_end)
