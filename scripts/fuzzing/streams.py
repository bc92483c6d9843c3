"""Endless or forged pipes: commands need little memory, and succeed or fail with one message."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from running import run_command

_MAX_BYTES = 300 * 2**20  # bytes
_SECONDS = 5
_BLOCK_BYTES = 2**16
_CSV, _JSON = b"label,a,b\nx,1,2\ny,2,1\n", b'{"label": "x", "a": 1}\n{"label": "y", "a": 2}\n'
_TEXTS = (
    b"x", b" ", b'"', b"1", b",", b"\0", b"\n", b"\r", b"[", b"{", b'{"a":', b"[1,", b"1,", b"-",
    b"\xff", b"\xfe", b"\xef\xbb\xbf", "\u0663".encode(), b'"a', b'""', b"1:1 ", b"1 1:1\n", b"#",
    b"\t", b"nan,", b"1e", b"0" * 99 + b"\n", b"PAR1", b"\x1f\x8b", b"x\n", b"{}\n", b"[]\n",
    b"\\u", b'{"a": "\\ud800"}\n', "x,1,2\n".encode("utf-16"), b"true\n", b"9" * 400 + b",",
)  # fmt: skip
_TEMPLATES = (
    "n{0},", "label,c{0}\n", "x{0},1,2\n", "x,{0}1,2\n", '{{"k{0}": 1, "label": "x"}}\n',
    '{{"a": 1, "label": "l{0}"}}\n', '"k{0}": 1, ', '{{"a": {{"b{0}": 1}}, "label": 1}}\n',
    "{0} 1:1\n", "1 {0}:1\n", "1 {0}{0}{0}:1\n", "1 2147483648:1 {0}:1\n", " {0}:1",
    '{{"t": "w{0}", "a": 1, "label": "x"}}\n', '{{"x": [{0}, 1], "y": {0}}}\n', "x,1,2,{0}\n",
)  # fmt: skip


def run_case(rng: np.random.Generator, folder: Path) -> str:
    """Send an endless stream to a command for a few seconds."""
    model = folder / "m.npz"
    (folder / "s.csv").write_bytes(_CSV)
    run_command(["learn", "s.csv", "-m", str(model), "--quiet"], folder)
    name = str(rng.choice(["learn", "predict", "evaluate", "sweep"]))
    arguments = ["--skip-bad"] * int(rng.integers(2))
    if rng.random() < 0.3:
        arguments += ["--format", str(rng.choice(["csv", "jsonl", "libsvm", "arrow", "parquet"]))]
    if name in ("learn", "sweep"):
        arguments += ["--max-weights", "500000", *(["--one-hot", "t"] * (rng.random() < 0.1))]
        arguments += ["-p", "-"] * (name == "learn" and rng.integers(2))
    else:
        arguments += ["-m", str(model)]
    kind = str(rng.choice(["text", "numbered", "longer", "binary", "bytes"]))
    n_bytes = int(rng.choice([2**10, 2**20, 2**24, _MAX_BYTES]))
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _send_stream(_generate_stream(rng, kind), writer, n_bytes)
    os.close(writer)
    try:
        return f"{kind} {run_command([name, *arguments], folder, reader)}"
    except AssertionError as error:
        raise AssertionError(f"{kind}, {n_bytes:,} bytes") from error
    finally:
        os.close(reader)
        os.waitpid(child, 0)


def _send_stream(pieces: Iterator[bytes], descriptor: int, n_bytes: int) -> None:
    end = time.monotonic() + _SECONDS
    try:
        for piece in pieces:
            unsent = memoryview(piece)[:n_bytes]
            n_bytes -= len(unsent)
            while unsent:
                unsent = unsent[os.write(descriptor, unsent) :]
            if not n_bytes or time.monotonic() > end:
                break
    finally:  # even if the reader has exited
        os._exit(0)


def _generate_stream(rng: np.random.Generator, kind: str) -> Iterator[bytes]:
    starts = [b"", b"", _CSV, _JSON, b"label,a\n", b'{"a": [', b'x,"']
    start = starts[rng.integers(len(starts))]
    text = _TEXTS[rng.integers(len(_TEXTS))]
    if kind == "binary":
        yield from _generate_binary(rng)
        return
    yield start
    if kind == "text":
        yield from itertools.repeat(text * (_BLOCK_BYTES // len(text) + 1))
    if kind == "bytes":
        yield from (bytes([byte]) for byte in (start + text * 2000))
    form = str(rng.choice(_TEMPLATES))
    for n in itertools.count():
        if kind == "longer":
            yield (form.format(n).rstrip("\n") * 2 ** min(n, 20)).encode() + b"\n"
        else:
            yield "".join(form.format(i) for i in range(1000 * n, 1000 * n + 1000)).encode()


def _generate_binary(rng: np.random.Generator) -> Iterator[bytes]:
    """Yield an Arrow stream or a Parquet file with a few changed numbers."""
    table = pa.table({"label": ["x", "y"] * 50, "a": np.arange(100.0)})
    sink = pa.BufferOutputStream()
    codec = str(rng.choice(["zstd", "lz4", "snappy", "brotli", "none"]))
    if rng.random() < 0.3:
        pq.write_table(table, sink, compression=codec)
    else:
        options = pa.ipc.IpcWriteOptions(compression=codec if codec in ("zstd", "lz4") else None)
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
    data = bytearray(sink.getvalue())
    for _ in range(rng.integers(4)):
        at, size = int(rng.integers(len(data) - 8)), int(rng.choice([1, 4, 8]))
        number = int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, 2**7]))
        data[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")
    yield bytes(data)
