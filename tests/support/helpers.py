"""Helpers that several test files share."""

from __future__ import annotations

import copy
import fcntl
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_perceptron import LiveModel

ROOT = Path(__file__).parents[2]
NAMES = [f"x{i}" for i in range(6)]
COMMAND = Path(sys.executable).with_name("stream-perceptron")
# The factor of random cases.
TIMES = int(os.environ.get("TEST_TIMES", "1"))


def require_tool(name):
    """Skip a test if a program is not installed; under CI, fail it."""
    if shutil.which(name) is None:
        assert not os.environ.get("CI"), f".ci/run installs {name}"
        pytest.skip(f"{name} is not installed")


def dicts(X):
    """Return the rows of an array (n, 6) as samples."""
    return [dict(zip(NAMES, row, strict=True)) for row in X.tolist()]


def train_copy(model, samples):
    """Return a copy of a model that has learned some samples."""
    copied = copy.deepcopy(model)
    for x, y in samples:
        copied.learn_one(x, y)
    return copied


def state_of(model):
    """Return all state that learning changes and a refused sample must not."""
    return (
        model.classes_,
        model.features_,
        model.weights.tobytes(),
        model.biases.tobytes(),
        model.n_seen,
        model.n_updates,
        repr(model.last_error),
    )


def write_parquet(path, columns, **options):
    """Write columns as a Parquet file; return its path."""
    pq.write_table(pa.table(columns), path, **options)
    return path


def write_lines(path, rows):
    """Write each row as a line of JSON; return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def samples_in(path):
    """Return the number of labeled samples that a checkpoint has learned."""
    return LiveModel.load(path).progress.samples


def outcome_in(folder):
    """Return the contents of the model and the predictions in a folder."""
    return contents_of(folder / "model.npz"), contents_of(folder / "predictions.jsonl")


def members_of(path):
    """Return the members of a checkpoint by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def contents_of(path):
    """Return the bytes of a file; of a checkpoint its members, without the states of its files.

    The states differ between copies of a file, and between runs that end in other places.
    """
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    members = members_of(path)
    meta = json.loads(members.pop("meta.json"))
    for mark in meta.get("run", {}).get("marks", []):
        mark.pop("state", None)
        mark.pop("is_finished")
    return meta, members


def wait_for(condition, process=None):
    """Wait until a condition holds; fail after a minute, or if the process ends before."""
    for _ in range(6000):
        if condition():
            return
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.01)
    raise AssertionError("it never came")


def n_unread(descriptor):
    """Return the number of bytes in a pipe."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


def kill_after_saves(process, path, saves, more, number=signal.SIGKILL):
    """Kill a process after a number of saves and `more` seconds; return whether it still ran.

    Counting saves makes tests independent of the machine's speed.
    """
    last, waited = saved_at(path), 0
    while saves and process.poll() is None:
        time.sleep(0.001)
        waited += 1
        if waited == 60_000:  # more than a minute, on any machine
            process.kill()
            raise AssertionError("it never saved")
        if saved_at(path) != last:
            last = saved_at(path)
            saves -= 1
    with suppress(subprocess.TimeoutExpired):
        process.wait(more)
    if process.poll() is not None:
        return False
    process.send_signal(number)
    return True


def kill_runs(command_in, saves, wanted, tmp_path):
    """Start a command in new folders, and kill and restart it until it ends by itself.

    `command_in(folder)` saves folder/model.npz; each kill comes after a random choice of `saves`.
    Two commands run at once. Return the number of kills, at least `wanted`, and each outcome.
    """

    def lane(number):
        rng, kills, outcomes = random.Random(number), 0, []
        while kills < wanted / 2:
            folder = tmp_path / f"{number}-{len(outcomes)}"
            folder.mkdir()
            code = None
            while code != 0:
                process = subprocess.Popen(command_in(folder), stderr=subprocess.PIPE)
                n, more = rng.choice(saves), rng.uniform(0, 0.1)
                kills += kill_after_saves(process, folder / "model.npz", n, more)
                errors, code = process.communicate()[1], process.returncode
                assert code in (0, -9), errors
            outcomes.append(outcome_in(folder))
            assert not list(folder.glob(".*.tmp"))
        return kills, outcomes

    with ThreadPoolExecutor(2) as pool:
        (kills, outcomes), (more_kills, others) = pool.map(lane, range(2))
    return kills + more_kills, outcomes + others


def saved_at(path):
    """Return the time of a file's last write, or None if it does not exist."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return None


def end_group(process):
    """Kill a session leader and all processes of its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_listening(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def catches(process, number=signal.SIGTERM):
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = re.search(r"SigCgt:\s+([0-9a-f]+)", status)
    return caught is not None and bool(int(caught[1], 16) & 1 << (number - 1))


def start(*args, command=(COMMAND,), subcommand="learn", **kwargs):
    """Start a command, and wait until it handles signals."""
    process = subprocess.Popen(
        [*command, subcommand, *args], stderr=subprocess.PIPE, text=True, **kwargs
    )
    while process.poll() is None and not catches(process):
        time.sleep(0.002)
    return process


DIGITS = ["--classes", "0-9", "--seed", "0"]


SCALED = [*DIGITS, "--scale", "1/255"]


PIXELS = [f"pixel{i}" for i in range(784)]


def json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def csv_lines(rows, header=None, delimiter=","):
    rows = rows if header is None else [header, *rows]
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows).encode()


def ipc(table, most=None, kind=pa.ipc.new_stream):
    sink = io.BytesIO()
    with kind(sink, table.schema) as writer:
        writer.write_table(table, most)
    return sink.getvalue()


def outcome_of(path):
    """Return the outcome of a run without the names of features."""
    live = LiveModel.load(path)
    progress = live.progress
    return (
        live.model.weights.tobytes(),
        live.model.biases.tobytes(),
        progress.confusion.pairs.tobytes(),
        progress.window.tobytes(),
        (progress.samples, progress.unlabeled, progress.updates, progress.error_sum),
    )


def learn_from_pipe(path, options, data, **kwargs):
    """Learn from a pipe."""
    command = [COMMAND, "learn", "-m", path, "--quiet", *options]
    subprocess.run(command, input=data, check=True, timeout=300, **kwargs)
    return LiveModel.load(path)


def chunks(data, how):
    """Cut lines into chunks that are sent at once."""
    if how == "at once":
        return [data]
    if how == "line by line":
        return [line + b"\n" for line in data.rstrip(b"\n").split(b"\n")]
    return [data[i : i + 7] for i in range(0, len(data), 7)]


def lines_of(form, n):
    """Return a header and n lines of points in the plane, every tenth without a label."""
    rng = np.random.default_rng(0)
    header, lines = b"", []
    for i, (a, b) in enumerate(rng.normal(size=(n, 2)).round(4).tolist()):
        label = "" if i % 10 == 4 else ("left", "right")[a + b > 0]
        if form == "csv":
            header = b"label,a,b\n"
            lines.append(f"{label},{a},{b}\n".encode())
        else:
            row = {"a": a, "b": b} | ({"label": label} if label else {})
            lines.append(json.dumps(row).encode() + b"\n")
    return header, lines


def forge(parts, compression=zipfile.ZIP_STORED):
    """Return an archive with a valid digest; `parts` are pairs of name and bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in parts:
            archive.writestr(name, content)
        archive.comment = b" " * 71
    body = buffer.getvalue()[:-71]
    return body + b"sha256:" + hashlib.sha256(body).hexdigest().encode()


def npy(array, **header):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    data = buffer.getvalue()
    if header:
        fields = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | header
        text = repr(fields).encode()
        text += b" " * (117 - len(text)) + b"\n"
        data = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + array.tobytes()
    return data


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block of a page."""

    language: str
    name: str  # the text after the language, or ""
    text: str


def blocks_of(page: Path) -> list[CodeBlock]:
    """Return the fenced blocks of a page in Markdown."""
    found = re.findall(r"(?ms)^```(\w+)(?: ([\w-]+))?\n(.*?)^```$", page.read_text())
    return [CodeBlock(*parts) for parts in found]


def recipe(name: str) -> str:
    """Return the block of docs/ with this name."""
    pages = (ROOT / "docs").glob("*.md")
    (block,) = [block for page in pages for block in blocks_of(page) if block.name == name]
    return block.text
