"""Sources are read as their bytes arrive."""

from __future__ import annotations

import os

from stream_perceptron.data.input.bytes import open_bytes


def test_bytes_behind_a_peek_are_read_with_it(tmp_path):
    """In two steps, a signal between them would take the header from the next reader."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    os.write(descriptor, b"label,a\nx,1\n")
    stream = open_bytes(str(path))

    assert stream.peek(4) == b"labe"
    assert stream.wait(0)
    assert stream.read_ready(2**16) == b"label,a\nx,1\n"
    os.close(descriptor)
