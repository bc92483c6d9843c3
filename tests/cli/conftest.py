"""Fixtures for tests of pipes and of models on disk."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import (
    COMMAND,
    DIGITS,
    PIXELS,
    SCALED,
    csv_lines,
    ipc,
    json_lines,
    learn_from_pipe,
    outcome_of,
)


@pytest.fixture(scope="session")
def pixels(sample):
    """The shipped 5,000 digits, as lists of labels and of pixels."""
    table = pq.read_table(sample)
    rows = np.frombuffer(table["pixels"].combine_chunks().buffers()[1], np.uint8)
    return table["label"].to_pylist(), rows.reshape(-1, 784).tolist()


@pytest.fixture(scope="session")
def layouts(sample, pixels):
    """Options and bytes of these digits, by format."""
    labels, rows = pixels
    both = list(zip(labels, rows, strict=True))
    table = pq.read_table(sample)
    labeled = [[label, *row] for label, row in both]
    text = csv_lines(labeled, ["label", *PIXELS])
    return {
        "parquet": (DIGITS, sample.read_bytes()),
        "arrow": (DIGITS, ipc(table)),
        "arrow file": (DIGITS, ipc(table, kind=pa.ipc.new_file)),
        "csv": (SCALED, text),
        "csv.gz": (SCALED, gzip.compress(text, 1)),
        "csv.zst": (SCALED, pa.compress(text, codec="zstd", asbytes=True)),
        "csv with CRLF": (SCALED, b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")),
        "tsv without header": (SCALED, csv_lines(labeled, delimiter="\t")),
        "json, flat": (
            SCALED,
            json_lines({"label": y, **dict(zip(PIXELS, x, strict=True))} for y, x in both),
        ),
        "json, pixels": (SCALED, json_lines({"pixels": x, "label": y} for y, x in both)),
        "json, x and y": (SCALED, json_lines({"x": x, "y": y} for y, x in both)),
        "json, features": (
            SCALED,
            json_lines(
                {"features": dict(zip(PIXELS, x, strict=True)), "label": y} for y, x in both
            ),
        ),
    }


@pytest.fixture(scope="session")
def expected(layouts, tmp_path_factory):
    path = tmp_path_factory.mktemp("expected") / "model.npz"
    learn_from_pipe(path, *layouts["parquet"])
    return outcome_of(path)


@pytest.fixture
def peak_memory_of_pipe():
    """Learn a file through a pipe; return the peak memory in MB."""

    def run_command(source, *args):
        script = (
            "import re, sys; from stream_perceptron_cli.main import main\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit: pass\n"
            "status = open('/proc/self/status').read()\n"
            "print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1])"
        )
        command = [Path(COMMAND).with_name("python"), "-c", script, "learn", *args]
        with subprocess.Popen(["cat", source], stdout=subprocess.PIPE) as cat:
            result = subprocess.run(command, stdin=cat.stdout, capture_output=True, text=True)
        return int(result.stdout) / 1024, result

    return run_command


@pytest.fixture
def days(tmp_path, rng):
    """Three files of 1,500 points of two classes, one for each day."""
    paths = []
    for day in range(3):
        X = rng.normal(size=(1500, 2))
        path = tmp_path / f"day{day}.parquet"
        y = np.where(X[:, 0] > 0, "right", "left")
        pq.write_table(pa.table({"a": X[:, 0], "b": X[:, 1], "class": y}), path)
        paths.append(path)
    return paths


@pytest.fixture
def model(tmp_path):
    return tmp_path / "model.npz"
