"""Helper functions that several test files share."""

from __future__ import annotations

import copy
import csv
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
import zipfile
from collections import namedtuple
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_perceptron import LiveModel

ROOT = Path(__file__).parents[2]
FEATURE_NAMES = [f"x{i}" for i in range(6)]
COMMAND = Path(sys.executable).with_name("stream-perceptron")
# The first seed of random cases in `scripts/test --nightly`, which has more cases; else None.
NIGHTLY = int(os.environ["NIGHTLY"]) if "NIGHTLY" in os.environ else None
# A factor for the number of random cases and kills.
CASE_FACTOR = 1 if NIGHTLY is None else 4


def get_seeds(n, start=0):
    """Return n seeds, which differ from one nightly run to the next."""
    first = (NIGHTLY or 0) + start
    return range(first, first + n)


def require_tool(name):
    """Skip a test if a program is not installed; under CI, fail it."""
    if shutil.which(name) is None:
        assert not os.environ.get("CI"), f".ci/run installs {name}"
        pytest.skip(f"{name} is not installed")


def to_dicts(X):
    """Return the rows of an array, shape (n, 6), as dicts of features."""
    return [dict(zip(FEATURE_NAMES, row, strict=True)) for row in X.tolist()]


def train_copy(model, samples):
    """Return a copy of a model, trained with some samples; the model itself does not change."""
    copied = copy.deepcopy(model)
    for x, y in samples:
        copied.learn_one(x, y)
    return copied


def capture_state(model):
    """Return the state of a model, which a rejected sample must not change."""
    scaler = model.network.snapshot().scaler
    return (
        b"" if scaler is None else scaler.statistics.tobytes(),
        model.classes_,
        model.features_,
        model.weights.tobytes(),
        model.biases.tobytes(),
        model.network.snapshot().update_counts.tobytes(),
        model.n_seen,
        model.n_updates,
        repr(model.last_error),
    )


def write_parquet(path, columns, **options):
    """Write columns to a Parquet file; return its path."""
    pq.write_table(pa.table(columns), path, **options)
    return path


def write_jsonl(path, rows):
    """Write rows as JSON Lines; return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_csv(path, header, rows):
    """Write rows as CSV; return the path."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def count_samples(path):
    """Return the number of labeled samples that the model of a checkpoint has learned."""
    return LiveModel.load(path).progress.samples


def summarize_run(run, source, *options):
    """Return the summary of `learn --json`, with its findings by name."""
    summary = json.loads(run("learn", source, *options, "--json", "--quiet", check=0).stdout)
    return summary | {"diagnosis": {finding["name"]: finding for finding in summary["diagnosis"]}}


def read_members(path):
    """Return the members of a checkpoint by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def read_contents(path):
    """Return the bytes of a file, or the members of a checkpoint."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    members = read_members(path)
    meta = json.loads(members.pop("meta.json"))
    return meta, members


def wait_for(condition, process=None, pause=0.01):
    """Wait until a condition holds; fail after a minute, or if the process ends first."""
    for _ in range(int(60 / pause)):
        if condition():
            return
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(pause)
    raise AssertionError("the condition did not hold within a minute")


def count_unread_bytes(descriptor):
    """Return the number of bytes in a pipe that nobody has read."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


def kill_after_saves(process, path, n_saves, delay, number=signal.SIGKILL):
    """Kill a process after a number of saves and `delay` seconds; return whether it still ran.

    Counting saves makes tests independent of the machine's speed.
    """
    for _ in range(n_saves):
        last = read_mtime(path)
        wait_for(
            lambda last=last: process.poll() is not None or read_mtime(path) != last, pause=0.001
        )
    with suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    is_running = process.poll() is None
    if is_running:
        process.send_signal(number)
    return is_running


def run_with_peak_memory(*args, stdin=None):
    """Run the command; return its result and its peak memory in MB."""
    script = (
        "import re, sys; from stream_perceptron_cli.main import main\n"
        "code = 0\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "status = open('/proc/self/status').read()\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]); sys.exit(code)"
    )
    command = [sys.executable, "-c", script, *map(str, args)]
    result = subprocess.run(command, stdin=stdin, capture_output=True, text=True)
    return result, int(result.stdout.splitlines()[-1]) / 1024


def run_limited(kilobytes, *args):
    """Run the command with this much virtual memory."""
    script = f'ulimit -v {kilobytes}; exec "$0" "$@"'
    command = ["bash", "-c", script, COMMAND, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def read_mtime(path):
    """Return the time of a file's last write, or None if it does not exist."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return None


def kill_process_group(process):
    """Kill a session leader and all processes in its process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


def start_ray_node(env, *options):
    """Start a node of Ray on this machine, in a process group of its own."""
    return subprocess.Popen(
        [COMMAND.with_name("ray"), "start", "--block", "--node-ip-address=127.0.0.1", *options],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def find_free_port():
    """Return a TCP port on which no program listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_listening(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def has_signal_handlers(process):
    """Whether a process has handlers for SIGTERM and, unless it ignores it, SIGHUP."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    masks = re.findall(r"Sig(?:Ign|Cgt):\s+([0-9a-f]+)", status)
    ignored, caught = (int(mask, 16) for mask in masks or "00")
    terminate, hang_up = (1 << (number - 1) for number in (signal.SIGTERM, signal.SIGHUP))
    return bool(caught & terminate) and bool((caught | ignored) & hang_up)


def start(*args, command=(COMMAND,), subcommand="learn", **kwargs):
    """Start the command in the background, and wait until it has its signal handlers."""
    command = [*command, subcommand, *args]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **kwargs)
    while process.poll() is None and not has_signal_handlers(process):
        time.sleep(0.002)
    return process


def encode_jsonl(rows):
    """Return rows as JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def encode_csv(rows, header=None, delimiter=","):
    """Return rows as unquoted CSV, with an optional header."""
    rows = rows if header is None else [header, *rows]
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows).encode()


def encode_ipc(table, max_chunk_rows=None, new_writer=pa.ipc.new_stream):
    """Return a table as an Arrow stream, or as a file with `new_writer=pa.ipc.new_file`."""
    sink = io.BytesIO()
    with new_writer(sink, table.schema) as writer:
        writer.write_table(table, max_chunk_rows)
    return sink.getvalue()


def load_outcome(path):
    """Return weights and metrics of a checkpoint, but no feature names, which vary by format."""
    live = LiveModel.load(path)
    model, progress = live.model, live.progress
    arrays = model.weights, model.biases, progress.confusion.pairs, progress.recent_outcomes
    counts = progress.samples, progress.unlabeled, progress.updates, progress.error_sum
    return (*(array.tobytes() for array in arrays), counts)


def learn_from_pipe(path, options, data, **kwargs):
    """Learn bytes from a pipe; return the model."""
    command = [COMMAND, "learn", "-m", path, "--quiet", *options]
    subprocess.run(command, input=data, check=True, timeout=300, **kwargs)
    return LiveModel.load(path)


def make_point_lines(n):
    """Return the header and n lines of random points as CSV; every tenth has no label."""
    lines = []
    for i, (a, b) in enumerate(np.random.default_rng(0).normal(size=(n, 2)).round(4).tolist()):
        label = "" if i % 10 == 4 else ("left", "right")[a + b > 0]
        lines.append(f"{label},{a},{b}\n".encode())
    return b"label,a,b\n", lines


# One line with a reason of more than one word, for `pytest.raises`.
STATED_REASON = r"\A[^\n]*\w \w[^\n]*\Z"


def forge_archive(parts, compression=zipfile.ZIP_STORED):
    """Return the bytes of an archive with a valid digest; `parts` are pairs of name and content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in parts:
            archive.writestr(name, content)
        archive.comment = b" " * 71
    return sign_archive(buffer.getvalue())


def sign_archive(data):
    """Return the bytes of an archive with a valid digest in place of its last 71 bytes."""
    body = data[:-71]
    return body + b"sha256:" + hashlib.sha256(body).hexdigest().encode()


def encode_npy(array, **header):
    """Return an array in NPY format; keywords replace fields of its header."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    data = buffer.getvalue()
    if header:
        fields = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | header
        text = repr(fields).encode()
        text += b" " * (117 - len(text)) + b"\n"
        data = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + array.tobytes()
    return data


# A fenced code block; its name is the text after the language, or "".
CodeBlock = namedtuple("CodeBlock", ["language", "name", "text"])


def parse_code_blocks(page: Path) -> list[CodeBlock]:
    """Return the fenced code blocks of a Markdown page."""
    blocks = re.findall(r"(?ms)^```(\w+)(?: ([\w-]+))?\n(.*?)^```$", page.read_text())
    return [CodeBlock(*parts) for parts in blocks]


def load_recipe(name: str) -> str:
    """Return the text of the code block of README.md and docs/ with this name."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    (block,) = [block for page in pages for block in parse_code_blocks(page) if block.name == name]
    return block.text
