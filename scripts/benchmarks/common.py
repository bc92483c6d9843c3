"""What the sections share: data in every form, runs that take turns, and tables."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream_perceptron.datasets import mnist
from stream_perceptron.model import kernel

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT / "data"
BENCH = DATA / "bench"
BIN = Path(sys.executable).parent
LEARN = [str(BIN / "stream-perceptron"), "learn", "--classes", "0-9", "--quiet"]
SCALE = ["--scale", "1/255"]
# VW has no command of its own on PyPI, and reads stdin only if it is told to.
VW = [sys.executable, "-m", "vowpalwabbit", "--quiet"]


def digits() -> tuple[np.ndarray, list[int]]:
    """Return the 60,000 training digits of MNIST: pixels (60,000, 784) and labels."""
    table = pq.read_table(train_file())
    pixels = np.frombuffer(table["pixels"].combine_chunks().buffers()[1], np.uint8)
    return pixels.reshape(-1, 784), table["label"].to_pylist()


def train_file() -> Path:
    """Return MNIST's training digits as Parquet, fetched if need be."""
    path = DATA / "mnist-train.parquet"
    if not path.exists():
        mnist.fetch("mnist", DATA)
    return path


def prepared(name: str, write: Callable[[Any], None]) -> Path:
    """Return a file that is written once for all runs."""
    path = BENCH / name
    if not path.exists():
        BENCH.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            write(file)
        partial.rename(path)
    return path


def texts() -> dict[str, Path]:
    """Return the training digits in the forms that are read from pipes, by name."""
    pixels, labels = digits()
    names = [f"pixel{i}" for i in range(784)]
    rows = pixels.tolist()

    def write_arrow(file: Any) -> None:
        table = pq.read_table(train_file())
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, 1000)

    def lines(of: Callable[[int, list[int]], str], header: str = "") -> Callable[[Any], None]:
        def write(file: Any) -> None:
            file.write(header.encode())
            for label, row in zip(labels, rows, strict=True):
                file.write(of(label, row).encode() + b"\n")

        return write

    def pairs(row: list[int]) -> str:
        return " ".join(f"{i}:{v}" for i, v in enumerate(row) if v)

    def scaled(row: list[int]) -> str:
        return " ".join(f"{i}:{v / 255:.6g}" for i, v in enumerate(row) if v)

    header = "label," + ",".join(names) + "\n"
    return {
        "arrow": prepared("digits.arrows", write_arrow),
        "csv": prepared("digits.csv", lines(lambda y, x: f"{y}," + ",".join(map(str, x)), header)),
        "json, list": prepared(
            "digits-list.jsonl", lines(lambda y, x: json.dumps({"x": x, "y": y}))
        ),
        "json, flat": prepared(
            "digits-flat.jsonl",
            lines(lambda y, x: json.dumps({"label": y, **dict(zip(names, x, strict=True))})),
        ),
        "libsvm": prepared("digits.libsvm", lines(lambda y, x: f"{y} {pairs(x)}")),
        "vw text": prepared("digits.vw", lines(lambda y, x: f"{y + 1} | {scaled(x)}")),
        "vw json": prepared(
            "digits-vw.jsonl",
            lines(lambda y, x: json.dumps({"_label": y + 1, **dict(zip(names, x, strict=True))})),
        ),
        # VW's parser reads a class up to the next space, past the comma.
        "vw csv": prepared(
            "digits-vw.csv",
            lines(lambda y, x: f"{y + 1} ," + ",".join(map(str, x)), "_" + header),
        ),
    }


# Python may keep what it compiled, as an installed package does, also where it was told not to.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def seconds_of(command: Sequence[str | Path], source: Path | None = None) -> float:
    """Return the time of a whole process, fed from a pipe if there is a source."""
    before = time.perf_counter()
    if source is None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    else:
        with subprocess.Popen(["cat", source], stdout=subprocess.PIPE) as cat:
            subprocess.run(command, stdin=cat.stdout, check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)  # fmt: skip
    return time.perf_counter() - before


def in_turns(runs: int, tasks: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Run all tasks, then all again, as a machine may be slow for minutes; return their results."""
    results: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(runs):
        for name, task in tasks.items():
            results[name].append(task())
    return results


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return the median with least and most."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the ratio of the medians."""
    return statistics.median(a) / statistics.median(b)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def machine() -> str:
    """Return what the figures were measured on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    packages = ["numpy", "pyarrow", "river", "ray", "scikit-learn", "vowpalwabbit", "capymoa"]
    versions = []
    for name in packages:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}")
    return (
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, kernel {kernel.NAME}, {', '.join(versions)}"
    )
