"""Errors for files whose format or contents cannot be read."""

from __future__ import annotations

import gzip

import pytest

from stream_perceptron import SourceError
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.request import Request


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[\n{}\n]\n", "a JSON array of objects"),
        (b'[{"a": 1, "label": 2}]\n', "a JSON array of objects"),
        (bytes(range(256)) * 10, "neither Parquet nor Arrow nor text in UTF-8"),
        (b"a,b\nx,y\n", "no usable features among"),
        (b"a,a,label\n1,2,3\n", "columns 1 and 2 are both called 'a'; to drop one:\n  --ignore 2"),
        (b"class,label,a\n1,2,3\n", "could each be the label"),
        (b"\xff\xff\xff\xff1234", "not an Arrow stream"),
        (b"PAR1 and no more", "not a Parquet file, or truncated"),
        (gzip.compress(b"label,a\n" + b"1,2\n" * 100_000)[:-20], "its gzip data ends too early"),
    ],
)
def test_unreadable_source_is_an_error_of_one_line(data, message, tmp_path):
    path = tmp_path / "source"
    path.write_bytes(data)

    def read():
        source = open_source(str(path))
        source.open(Request())
        list(source.batches(Request()))

    with pytest.raises(SourceError, match=message) as error:
        read()

    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value).replace("\n  --", "")


def test_rows_written_after_a_file_was_found_to_be_empty_are_left_for_the_next_run(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("")
    source = open_source(str(path))
    batches = source.batches(Request())
    path.write_text('{"a": 1, "label": "x"}\n')

    assert list(batches) == []
    assert [len(batch) for batch in open_source(str(path)).batches(Request())] == [1]
