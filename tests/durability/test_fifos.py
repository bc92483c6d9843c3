"""Streams of bytes from files and pipes."""

from __future__ import annotations

import os
import resource
import subprocess

from stream_perceptron.data.opening import open_source
from stream_perceptron.data.source import Request, read_batches


def test_a_fifo_that_is_opened_before_its_writer_is_read_to_the_end(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["sh", "-c", f"sleep 0.2; echo 'label,a\nx,1' > {fifo}"]):
        source = open_source(str(fifo))
        labels = [label for batch in read_batches(source, Request()) for label in batch.labels]

    assert labels == ["x"]


def test_fifos_are_read_beyond_the_descriptors_that_select_knows_and_closed(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        for _ in range(20):
            with subprocess.Popen(["sh", "-c", f"echo 'label,a\nx,1' > {fifo}"]):
                batches = read_batches(open_source(str(fifo)), Request())
                assert [label for batch in batches for label in batch.labels] == ["x"]
            del batches
        opened = os.open(os.devnull, os.O_RDONLY)
        assert opened < held[-1] + 20
        os.close(opened)
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
