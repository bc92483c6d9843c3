from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stream_perceptron_cli.predictions import LineFormatter, open_predictions
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


class LinesFormatter(LineFormatter):
    """Formats a list of lines in place of a result."""

    def __call__(self, result):
        yield from result


def test_reader_that_resumes_after_a_signal_gets_whole_lines_in_order(signal_handlers, tmp_path):
    """The first line is longer than a pipe holds."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    read_end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    lines = ["x" * 200_000 + "\n", *(f"{i}\n" for i in range(5))]
    received = b""
    with Signals() as signals:
        signals.trigger(signal.SIGTERM)
        output = open_predictions(path, LinesFormatter(), signals, Path())
        for line in lines:
            output.write([line])
            received += os.read(read_end, 2**20)
        output.close()
    while data := os.read(read_end, 2**20):
        received += data
    os.close(read_end)

    assert received.decode() == "".join(lines)
