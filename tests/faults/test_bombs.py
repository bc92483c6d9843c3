"""Small files that expand to all memory, or claim to: refused in one line, or read."""

from __future__ import annotations

import io
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND


def test_an_arrow_stream_whose_parts_are_larger_than_any():
    lying = rb'printf "\xff\xff\xff\xff\xf0\xff\xff\x7f"; head -c 3000000000 /dev/zero'.decode()
    script = f'({lying}) | (ulimit -v 1000000; exec "$0" learn --format arrow)'
    done = subprocess.run(["bash", "-c", script, COMMAND], capture_output=True, timeout=120)

    assert (1, 1) == (done.returncode, done.stderr.count(b"\n"))
    assert b"stdin: not an Arrow stream" in done.stderr


@pytest.mark.parametrize("form", ["stream", "file"])
def test_an_arrow_batch_that_becomes_far_more_than_it_is(form, tmp_path):
    table = pa.table({"a": np.zeros(10**8), "label": np.zeros(10**8, np.int8)})
    make = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with make(str(tmp_path / "bomb"), table.schema, options=options) as writer:
        writer.write_table(table)
    limited = ["bash", "-c", 'ulimit -v 1000000; exec "$0" learn "$1"', COMMAND, tmp_path / "bomb"]
    done = subprocess.run(limited, capture_output=True, text=True)

    assert 1 == done.returncode
    assert "would become 900,000,0" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (range(2**20), "more than 1,048,576 columns (1,048,577): write rows as LIBSVM"),
        ([*range(300_000), 299_999], "columns 300000 and 300001 are both called 'c299999'"),
    ],
    ids=["many", "one of them twice"],
)
def test_columns_without_end(names, reason, tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(f"{','.join(f'c{name}' for name in names)},label\n{'1,' * len(names)}a\n")
    limited = ["bash", "-c", 'ulimit -v 2000000; exec "$0" learn "$1"', COMMAND, path]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=120)

    assert (1, 1) == (done.returncode, done.stderr.count("\n"))
    assert reason in done.stderr


LIMITED = ["bash", "-c", 'ulimit -v 2000000; exec "$0" "$@"', COMMAND, "learn", "--quiet"]


def zstandard(start, size):
    """Return a Zstandard frame that expands to some bytes and then zeros up to a size."""
    frame = b"\x28\xb5\x2f\xfd\xa0" + size.to_bytes(4, "little")
    frame += (len(start) << 3).to_bytes(3, "little") + start
    size -= len(start)
    while size > 0:
        n = min(size, 2**17)
        is_last, size = n == size, size - n
        frame += (is_last | 1 << 1 | n << 3).to_bytes(3, "little") + b"\0"
    return frame


def varint(number):
    """Return a 32-bit number in Thrift's encoding."""
    number, written = number << 1, b""
    while number > 127:
        written, number = written + bytes([number & 127 | 128]), number >> 7
    return written + bytes([number])


def with_last_page(file, size):
    """Return a Parquet file whose uncompressed last page expands to a larger one."""
    chunk = pq.ParquetFile(io.BytesIO(file)).metadata.row_group(0).column(1)
    at, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
    sizes = next(n for n in range(1, 2**20) if file[at:end].startswith(_page(n, n)))
    page = zstandard(file[end - sizes : end], size)
    head = _page(size, len(page)) + file[at + len(_page(sizes, sizes)) : end - sizes]
    told = [b"\x16" + varint(chunk.total_uncompressed_size)]
    told += [b"\x16" + varint(n) for n in (chunk.total_compressed_size, len(head + page))]
    # Set the codec, which follows the path and the number of values, to Zstandard.
    values = b"\x16" + varint(chunk.num_values)
    before = file[end:-8]
    footer = before.replace(told[0] + told[1], told[0] + told[2])
    spot = footer.index(values + told[0])
    footer = footer[: spot - 1] + varint(6) + footer[spot:]
    return file[:at] + head + page + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _page(n_bytes, n_stored):
    return b"\x15\0\x15" + varint(n_bytes) + b"\x15" + varint(n_stored)


def test_pages_that_become_far_more_than_they_are(tmp_path):
    """Expanding pages are refused; merely large pages are read."""
    sink = io.BytesIO()
    table = pa.table({"label": ["a", "b"] * 50, "x": np.arange(100.0)})
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    path = tmp_path / "f.parquet"
    path.write_bytes(with_last_page(sink.getvalue(), 2**27))
    subprocess.run([*LIMITED, path], check=True)
    path.write_bytes(with_last_page(sink.getvalue(), 2**31 - 1))
    assert path.stat().st_size < 100_000
    result = subprocess.run([*LIMITED, path], capture_output=True, text=True)
    (line,) = result.stderr.splitlines()
    assert 1 == result.returncode
    assert "bytes would become 2,147,484,154: write smaller pages" in line


def test_columns_whose_only_pages_become_more_than_there_is_room_for(tmp_path):
    """Snappy expands a byte to at most 21."""
    n = 28_000_000
    zeros = pa.array(np.zeros(n))
    table = pa.table({"a": zeros, "b": zeros, "label": pa.array(np.zeros(n, np.int8))})
    path, options = tmp_path / "f.parquet", {"use_dictionary": False, "write_statistics": False}
    whole = {"row_group_size": n, "data_page_size": 2**31 - 1, "max_rows_per_page": n}
    pq.write_table(table, path, compression="snappy", **options, **whole)
    result = subprocess.run([*LIMITED, path], capture_output=True, text=True)

    assert 1 == result.returncode
    assert "would become 560,000,0" in result.stderr.splitlines()[-1]


def test_large_pages_are_read(tmp_path):
    text = np.random.default_rng(0).bytes(3_000_000) + bytes(300_000_000)
    table = pa.table({"label": ["a", "b"], "x": [0.0, 1.0], "t": [text, b""]})
    options = {"use_dictionary": False, "write_statistics": False}
    pq.write_table(table, tmp_path / "f.parquet", compression="zstd", **options)
    subprocess.run([*LIMITED, tmp_path / "f.parquet"], check=True)


@pytest.mark.parametrize("how", ["dictionary", "shared beginnings"])
def test_a_long_text_that_stands_in_every_row_and_in_the_file_once(how, tmp_path):
    texts = pa.DictionaryArray.from_arrays(np.minimum(np.arange(4000), 1), ["", "x" * 2**19])
    options = {}
    if how != "dictionary":
        texts = pa.array([text or "" for text in texts[:2000].to_pylist()], pa.large_string())
        options = {"use_dictionary": False, "column_encoding": {"t": "DELTA_BYTE_ARRAY"}}
    labels = np.arange(len(texts)) % 2
    table = pa.table({"label": labels, "x": labels * 1.0, "t": texts})
    path = tmp_path / "f.parquet"
    pq.write_table(table, path, compression="zstd", store_schema=False, **options)
    assert path.stat().st_size < 30_000
    subprocess.run([*LIMITED, path], check=True)
