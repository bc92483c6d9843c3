"""Pipes that are long, unread or empty."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers import (
    COMMAND,
    SCALED,
    TIMES,
    csv_lines,
    json_lines,
)

from stream_perceptron import LiveModel


@pytest.mark.slow
@pytest.mark.parametrize("name", ["csv", "json", "arrow"])
def test_memory_does_not_grow_with_the_pipe(name, tmp_path, rng, peak_memory_of_pipe, tell):
    """Once the prefetch buffer is full, five times the rows need at most a tenth more memory."""
    peaks = []
    for n in (400_000, 2_000_000):
        source = tmp_path / str(n)
        with source.open("wb") as file:
            X = np.round(rng.normal(size=(10_000, 4)), 3)
            y = (X[:, 0] > 0).astype(int)
            table = pa.table({"y": y, **{f"a{i}": X[:, i] for i in range(4)}})
            rows = [[label, *x] for label, x in zip(y.tolist(), X.tolist(), strict=True)]
            if name == "arrow":
                with pa.ipc.new_stream(file, table.schema) as writer:
                    for _ in range(n // len(X)):
                        writer.write_table(table)
            else:
                names = table.column_names
                lines = csv_lines(rows)
                if name == "json":
                    lines = json_lines(dict(zip(names, row, strict=True)) for row in rows)
                else:
                    file.write(csv_lines([], names))
                for _ in range(n // len(X)):
                    file.write(lines)
        peak, result = peak_memory_of_pipe(source, "-m", tmp_path / f"{n}.npz", "--quiet")
        assert result.returncode == 0, result.stderr
        assert n == LiveModel.load(tmp_path / f"{n}.npz").progress.samples
        peaks.append(peak)
        source.unlink()

    tell(f"peak memory, {name}, 400,000 and 2,000,000 rows: {peaks[0]:.0f}, {peaks[1]:.0f} MB")
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.slow
def test_runs_into_head(layouts, tmp_path, tell):
    """The reader leaves: exit code 141, no traceback, and a checkpoint that loads."""
    source = tmp_path / "digits.csv"
    source.write_bytes(layouts["csv"][1])
    script = (
        f"set -o pipefail; cat {source} | "
        f"{COMMAND} learn -m $1 -p - --quiet {' '.join(SCALED)} | head -1 >$1.out; "
        "echo ${PIPESTATUS[1]}"
    )

    def run_into_head(i):
        path = tmp_path / f"{i}.npz"
        result = subprocess.run(
            ["bash", "-c", script, "bash", path], capture_output=True, text=True, timeout=60
        )
        assert (result.stdout, result.stderr) == ("141\n", "")
        assert json.loads(Path(f"{path}.out").read_text())["row"] == 1
        return LiveModel.load(path).progress.samples

    with ThreadPoolExecutor(2) as pool:
        samples = list(pool.map(run_into_head, range(10 * TIMES)))

    tell(f"runs into head -1: {min(samples)} to {max(samples)} samples learned before the end")
    assert min(samples) > 0


def test_a_terminal_on_stdin_gets_a_hint(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "learn", "-m", tmp_path / "m.npz"], stdin=theirs, stderr=subprocess.PIPE
    )
    os.write(ours, b"label,a\nleft,1\nright,2\n\x04")
    _, errors = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)

    assert errors.startswith(b"reading samples from the terminal, one per line; Ctrl-D ends\n")
    assert LiveModel.load(tmp_path / "m.npz").progress.samples == 2


@pytest.mark.parametrize("model_is_there", [False, True])
def test_nothing_on_stdin(model_is_there, tmp_path, sample, run):
    """A new model gives an error; an existing one reports nothing new."""
    path = tmp_path / "model.npz"
    if model_is_there:
        run("learn", sample, "-m", path, "--quiet", check=0)
    before = path.read_bytes() if model_is_there else None
    result = run("learn", "-m", path, "--quiet")

    error = "" if model_is_there else "Error: stdin: it has no rows\n"
    assert (result.returncode, result.stderr) == (int(not model_is_there), error)
    if model_is_there:
        assert LiveModel.load(path).progress.samples == 5000
        assert before is not None


@pytest.mark.parametrize("command", ["inspect", "evaluate"])
def test_every_command_ends_quietly_when_nobody_reads(command, run, sample, tmp_path):
    model = tmp_path / "model.npz"
    run("learn", sample, "-m", model, check=0)
    read, write = os.pipe()
    os.close(read)
    arguments = {"inspect": [model], "evaluate": [sample, "-m", model]}[command]
    result = subprocess.run(
        [COMMAND, command, *arguments], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)

    assert (result.returncode, result.stderr) == (141, "")
