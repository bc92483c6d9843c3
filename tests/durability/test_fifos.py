"""FIFOs are read to their end and closed."""

from __future__ import annotations

import os
import resource
import subprocess

from stream_perceptron.data.opening import open_source
from stream_perceptron.data.request import Request


def test_fifo_opened_before_its_writer_is_read_to_the_end(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["sh", "-c", f"sleep 0.2; echo 'label,a\nx,1' > {fifo}"]):
        source = open_source(str(fifo))
        labels = [label for batch in source.batches(Request()) for label in batch.labels]

    assert labels == ["x"]


def test_fifos_with_descriptors_beyond_select_are_read_and_closed(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        for _ in range(20):
            with subprocess.Popen(["sh", "-c", f"echo 'label,a\nx,1' > {fifo}"]):
                batches = open_source(str(fifo)).batches(Request())
                assert [label for batch in batches for label in batch.labels] == ["x"]
            del batches
        new_descriptor = os.open(os.devnull, os.O_RDONLY)
        assert new_descriptor < descriptors[-1] + 20
        os.close(new_descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
