"""Commands open each source at most twice, or, if there are many, three times for each pass."""

from __future__ import annotations

import ctypes
import gzip
import os
import struct
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import pytest
from click.testing import CliRunner
from helpers import encode_csv, encode_ipc, encode_jsonl, write_parquet

from stream_perceptron_cli.main import main

IN_OPEN, IN_ALL_EVENTS = 0x20, 0xFFF  # of inotify(7), which merges equal successive events
EVENT = struct.Struct("iIII")
ROWS = [{"a": i / 8, "color": "red blue"[i % 2 :: 2], "label": "xyz"[i % 3]} for i in range(300)]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


FORMATS = {
    "csv": lambda path: path.write_bytes(encode_csv([row.values() for row in ROWS], COLUMNS)),
    "csv.gz": lambda path: path.write_bytes(
        gzip.compress(encode_csv([row.values() for row in ROWS], COLUMNS))
    ),
    "jsonl": lambda path: path.write_bytes(encode_jsonl(ROWS)),
    "parquet": lambda path: write_parquet(path, COLUMNS),
    "arrows": lambda path: path.write_bytes(encode_ipc(pa.table(COLUMNS), 100)),
    "arrow": lambda path: path.write_bytes(
        encode_ipc(pa.table(COLUMNS), 100, new_writer=pa.ipc.new_file)
    ),
}


@contextmanager
def count_opens(path, counts):
    """Append to a list how often a file is opened."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(descriptor, os.fsencode(path), IN_ALL_EVENTS) > 0
    yield
    events = EVENT.iter_unpack(os.read(descriptor, 2**20))
    counts.append(sum(mask & IN_OPEN > 0 for _, mask, _, _ in events))
    os.close(descriptor)


@pytest.mark.parametrize("form", FORMATS)
def test_each_command_opens_a_file_at_most_twice(form, tmp_path):
    path, model, counts = tmp_path / f"rows.{form}", str(tmp_path / "m.npz"), []
    FORMATS[form](path)
    commands = [
        "learn {0} -m {1}", "predict {0} -m {1} -p {1}.out", "evaluate {0} -m {1}",
        "verify {1} {0}", "sweep {0} --lr 0.1,1",
    ]  # fmt: skip
    for command in commands:
        with count_opens(path, counts):
            result = CliRunner().invoke(main, command.format(path, model).split())
        assert result.exit_code == 0, (command, result.output)

    assert all(1 <= count <= 2 for count in counts), counts


def test_each_of_many_files_is_opened_at_most_three_times(tmp_path):
    paths, counts = [tmp_path / f"{i}.csv" for i in range(20)], []
    for path in paths:
        path.write_bytes(encode_csv([row.values() for row in ROWS], COLUMNS))
    with ExitStack() as stack:
        for path in paths:
            stack.enter_context(count_opens(path, counts))
        result = CliRunner().invoke(main, ["learn", *map(str, paths)])

    assert result.exit_code == 0, result.output
    assert len(counts) == 20
    assert all(1 <= count <= 3 for count in counts), counts


def test_grown_file_is_opened_at_most_twice(tmp_path):
    path, counts = tmp_path / "rows.csv", []
    data = encode_csv([row.values() for row in ROWS], COLUMNS)
    path.write_bytes(data[: len(data) // 2])
    command = ["learn", str(path), "-m", str(tmp_path / "m.npz")]
    for part in (data[len(data) // 2 :], b""):
        assert CliRunner().invoke(main, command).exit_code == 0
        with path.open("ab") as file:
            file.write(part)
        with count_opens(path, counts):
            result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, (command, result.output)

    assert all(1 <= count <= 2 for count in counts), counts
