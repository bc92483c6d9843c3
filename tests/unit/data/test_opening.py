"""Sources are read as their bytes arrive, and as they were when they were found."""

from __future__ import annotations

import os

from stream_perceptron.data.byte_input import open_bytes
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import ReadOptions


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


def test_rows_written_after_a_file_was_found_to_be_empty_are_left_for_the_next_run(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("")
    sources, request = [open_source(str(path)) for _ in range(2)], Request(ReadOptions(keep=("a",)))
    batches = sources[0].batches(request)
    path.write_text('{"a": 1, "label": "x"}\n' * 2)

    assert list(batches) == list(sources[1].batches(request)) == []
    assert [len(batch) for batch in open_source(str(path)).batches(request)] == [2]
