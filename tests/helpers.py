"""What several test files need."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stream_perceptron import LiveModel

ROOT = Path(__file__).parent.parent
COMMAND = Path(sys.executable).with_name("stream-perceptron")


def state_of(model):
    """Return everything that learning changes, and that a refused sample must leave as it was."""
    return (
        model.classes_,
        model.features_,
        model.weights.tobytes(),
        model.biases.tobytes(),
        model.n_seen,
        model.n_updates,
        repr(model.last_epsilon),
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
    """Return the number of labelled samples that a checkpoint has learned."""
    return LiveModel.load(path).progress.samples


def outcome_in(folder):
    """Return the bytes of the model and of the predictions in a folder."""
    return (folder / "model.npz").read_bytes(), (folder / "predictions.jsonl").read_bytes()


def members_of(path):
    """Return the members of a checkpoint by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def wait_for(condition, process=None):
    """Wait until a condition holds; fail if it never does, or if the process ends before."""
    for _ in range(6000):
        if condition():
            return
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.01)
    raise AssertionError("it never came")


def catches(process, number=signal.SIGTERM):
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = re.search(r"SigCgt:\s+([0-9a-f]+)", status)
    return caught is not None and bool(int(caught[1], 16) & 1 << (number - 1))


def start(*args, command=(COMMAND,), **kwargs):
    """Start `learn`, and return when it has taken the signals over."""
    process = subprocess.Popen(
        [*command, "learn", *args], stderr=subprocess.PIPE, text=True, **kwargs
    )
    while process.poll() is None and not catches(process):
        time.sleep(0.002)
    return process
