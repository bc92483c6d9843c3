"""Decompression bombs end a run with a one-line error, or are read in little memory."""

from __future__ import annotations

import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND

from stream_perceptron import LiveModel


@pytest.mark.parametrize("form", ["stream", "file", "parquet"])
def test_out_of_memory_is_a_one_line_error_and_the_model_is_saved(form, tmp_path):
    """A small file decodes to 900 MB; the rows of the file before it are learned."""
    n, model = 10**8, tmp_path / "m.npz"
    rows = pa.table({"a": [1.0, 2.0], "label": pa.array([0, 1], pa.int8())})
    bomb = pa.table({"a": np.zeros(n), "label": np.zeros(n, np.int8)})
    first, second = tmp_path / "first", tmp_path / "second"
    for path, table in ((first, rows), (second, bomb)):
        if form == "parquet":
            lists = pa.array([np.zeros(n)] if table is bomb else [[0.0], [1.0]])
            pq.write_table(pa.table({"a": lists, "label": table["label"][: len(lists)]}), path)
        else:
            new_writer = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with new_writer(str(path), table.schema, options=options) as writer:
                writer.write_table(table)
    command = ["bash", "-c", 'ulimit -v 1000000; exec "$0" "$@"', COMMAND, "learn", "--quiet"]
    result = subprocess.run(
        [*command, first, second, "-m", model], capture_output=True, text=True, timeout=120
    )

    assert second.stat().st_size < 1_000_000
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("Error: out of memory")
    assert LiveModel.load(model).progress.samples == 2


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (range(2**20), "more than 1,048,576 columns (1,048,577): write rows as LIBSVM"),
        ([*range(300_000), 299_999], "columns 300000 and 300001 are both called 'c299999'"),
    ],
    ids=["too many", "duplicate"],
)
def test_invalid_header_of_many_columns_is_a_one_line_error(names, reason, tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(f"{','.join(f'c{name}' for name in names)},label\n{'1,' * len(names)}a\n")
    command = ["bash", "-c", 'ulimit -v 2000000; exec "$0" learn "$1"', COMMAND, path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert result.returncode == 1
    assert reason in result.stderr.splitlines()[0]


LIMITED_COMMAND = ["bash", "-c", 'ulimit -v 2000000; exec "$0" "$@"', COMMAND, "learn", "--quiet"]


def test_large_parquet_pages_are_read(tmp_path):
    text = np.random.default_rng(0).bytes(3_000_000) + bytes(300_000_000)
    table = pa.table({"label": ["a", "b"], "x": [0.0, 1.0], "t": [text, b""]})
    options = {"use_dictionary": False, "write_statistics": False}
    pq.write_table(table, tmp_path / "f.parquet", compression="zstd", **options)
    subprocess.run([*LIMITED_COMMAND, tmp_path / "f.parquet"], check=True)


@pytest.mark.parametrize("encoding", ["dictionary", "shared prefixes"])
def test_long_text_that_is_stored_once_is_read_in_little_memory(encoding, tmp_path):
    texts = pa.DictionaryArray.from_arrays(np.minimum(np.arange(4000), 1), ["", "x" * 2**19])
    options = {}
    if encoding != "dictionary":
        texts = pa.array([text or "" for text in texts[:2000].to_pylist()], pa.large_string())
        options = {"use_dictionary": False, "column_encoding": {"t": "DELTA_BYTE_ARRAY"}}
    labels = np.arange(len(texts)) % 2
    table = pa.table({"label": labels, "x": labels * 1.0, "t": texts})
    path = tmp_path / "f.parquet"
    pq.write_table(table, path, compression="zstd", store_schema=False, **options)
    assert path.stat().st_size < 30_000
    subprocess.run([*LIMITED_COMMAND, path], check=True)
