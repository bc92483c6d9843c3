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
    CASE_FACTOR,
    COMMAND,
    SCALED_DIGIT_OPTIONS,
    encode_csv,
    encode_jsonl,
)

from stream_perceptron import LiveModel


@pytest.mark.slow
@pytest.mark.parametrize("name", ["csv", "json", "arrow"])
def test_memory_does_not_grow_with_the_pipe(
    name, tmp_path, rng, measure_pipe_memory, report_figure
):
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
                lines = encode_csv(rows)
                if name == "json":
                    lines = encode_jsonl(dict(zip(names, row, strict=True)) for row in rows)
                else:
                    file.write(encode_csv([], names))
                for _ in range(n // len(X)):
                    file.write(lines)
        peak, result = measure_pipe_memory(source, "-m", tmp_path / f"{n}.npz", "--quiet")
        assert result.returncode == 0, result.stderr
        assert n == LiveModel.load(tmp_path / f"{n}.npz").progress.samples
        peaks.append(peak)
        source.unlink()

    report_figure(
        f"peak memory, {name}, 400,000 and 2,000,000 rows: {peaks[0]:.0f}, {peaks[1]:.0f} MB"
    )
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.slow
def test_run_ends_quietly_when_head_closes_the_pipe(inputs_by_format, tmp_path, report_figure):
    """The run exits with status 141 and no traceback, and its checkpoint loads."""
    source = tmp_path / "digits.csv"
    source.write_bytes(inputs_by_format["csv"][1])
    script = (
        f"set -o pipefail; cat {source} | "
        f"{COMMAND} learn -m $1 -p - --quiet {' '.join(SCALED_DIGIT_OPTIONS)} | head -1 >$1.out; "
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
        samples = list(pool.map(run_into_head, range(10 * CASE_FACTOR)))

    report_figure(
        f"runs into head -1: {min(samples)} to {max(samples)} samples learned before the end"
    )
    assert min(samples) > 0


def test_terminal_on_stdin_gets_a_hint(tmp_path):
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "learn", "-m", tmp_path / "m.npz"], stdin=terminal, stderr=subprocess.PIPE
    )
    os.write(controller, b"label,a\nleft,1\nright,2\n\x04")
    _, errors = process.communicate(timeout=60)
    os.close(controller)
    os.close(terminal)

    notice = b"reading samples from the terminal, one per line; press Ctrl-D to end\n"
    assert errors.startswith(notice)
    assert LiveModel.load(tmp_path / "m.npz").progress.samples == 2


@pytest.mark.parametrize("command", ["inspect", "evaluate"])
def test_commands_end_quietly_when_stdout_is_closed(command, run, mnist_sample, tmp_path):
    model = tmp_path / "model.npz"
    run("learn", mnist_sample, "-m", model, check=0)
    read, write = os.pipe()
    os.close(read)
    arguments = {"inspect": [model], "evaluate": [mnist_sample, "-m", model]}[command]
    result = subprocess.run(
        [COMMAND, command, *arguments], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)

    assert (result.returncode, result.stderr) == (141, "")
