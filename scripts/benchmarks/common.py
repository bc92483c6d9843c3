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
from collections.abc import Callable, Iterator, Sequence
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

    def cells(label: int, row: list[int]) -> str:
        return f"{label}," + ",".join(map(str, row))

    decimals = [f"{v / 255:.4f}" if v else "0" for v in range(256)]

    def decimal_cells(label: int, row: list[int]) -> str:
        return f"{label}," + ",".join([decimals[v] for v in row])

    def decimal_pairs(row: list[int]) -> str:
        return " ".join(f"{i}:{decimals[v]}" for i, v in enumerate(row) if v)

    def decimal_object(label: int, row: list[int]) -> str:
        members = zip(names, (decimals[v] for v in row), strict=True)
        return f'{{"label": {label}, ' + ", ".join(f'"{n}": {v}' for n, v in members) + "}"

    header = "label," + ",".join(names) + "\n"
    return {
        "arrow": prepared("digits.arrows", write_arrow),
        "csv body": prepared("digits-body.csv", lines(cells)),
        "csv": prepared("digits.csv", lines(cells, header)),
        "csv, decimals": prepared("digits-decimals.csv", lines(decimal_cells, header)),
        "json, list": prepared(
            "digits-list.jsonl", lines(lambda y, x: json.dumps({"x": x, "y": y}))
        ),
        "json, flat": prepared(
            "digits-flat.jsonl",
            lines(lambda y, x: json.dumps({"label": y, **dict(zip(names, x, strict=True))})),
        ),
        "json, flat, decimals": prepared("digits-decimals.jsonl", lines(decimal_object)),
        "libsvm": prepared("digits.libsvm", lines(lambda y, x: f"{y} {pairs(x)}")),
        "libsvm, decimals": prepared(
            "digits-decimals.libsvm", lines(lambda y, x: f"{y} {decimal_pairs(x)}")
        ),
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


def bags() -> dict[str, Path]:
    """Return 200,000 bags of some 20 words of 50,000, as a text has them, by name of the form."""
    rng = np.random.default_rng(0)
    words = [f"w{i:x}" for i in rng.permutation(50_000).tolist()]
    of_class = rng.permutation(50_000)  # words that a class has more often

    def rows() -> Iterator[tuple[int, list[str]]]:
        for label in rng.integers(0, 2, 200_000).tolist():
            some = rng.zipf(1.3, 20) % 50_000
            some = np.where(rng.random(20) < 0.3, of_class[(some % 25_000) + 25_000 * label], some)
            yield label, [words[i] for i in dict.fromkeys(some.tolist())]

    def lines(of: Callable[[int, list[str]], str]) -> Callable[[Any], None]:
        def write(file: Any) -> None:
            file.writelines(of(label, some).encode() + b"\n" for label, some in rows())

        return write

    def pairs(some: list[str]) -> str:
        return " ".join(f"{word}:1" for word in some)

    def write_json(label: int, some: list[str]) -> str:
        return json.dumps({"label": label, "features": dict.fromkeys(some, 1)})

    return {
        "libsvm": prepared("bags.libsvm", lines(lambda y, some: f"{y} {pairs(some)}")),
        "json": prepared("bags.jsonl", lines(write_json)),
        "vw text": prepared("bags.vw", lines(lambda y, some: f"{2 * y - 1} | {' '.join(some)}")),
    }


def rcv1() -> dict[str, Path]:
    """Return a text set in the shape of RCV1: 781,265 rows, 76 of 47,236 words each, 2 classes.

    Words occur by Zipf's law and have a weight each; a linear rule with noise makes the labels.
    """
    n, d, m, at_once = 781_265, 47_236, 76, 5000
    rng = np.random.default_rng(0)
    share = np.cumsum(1 / np.arange(1, d + 1))
    rule, size = rng.normal(size=d), rng.integers(5, 30, d)
    words = rng.permutation(d)
    tokens = np.array([f" {i}:0.{size[i]:02}" for i in range(d)], object)

    def rows() -> Iterator[tuple[bool, str]]:
        for start in range(0, n, at_once):
            some = words[np.searchsorted(share, rng.random((at_once, 3 * m)) * share[-1])]
            order = np.argsort(some, axis=1, kind="stable")
            in_order = np.take_along_axis(some, order, axis=1)
            is_first = np.ones(some.shape, bool)
            is_new = np.diff(in_order, axis=1, prepend=-1) > 0
            np.put_along_axis(is_first, order, is_new, axis=1)
            kept = is_first & (np.cumsum(is_first, axis=1) <= m)
            margin = (kept * (rule * size)[some]).sum(axis=1)
            labels = margin + rng.normal(0, margin.std() / 4, at_once) > 0
            for label, row, keep in zip(labels, some, kept, strict=True):
                if start < n:
                    start += 1
                    yield bool(label), "".join(tokens[np.sort(row[keep])])

    def lines(of: Callable[[bool, str], str]) -> Callable[[Any], None]:
        def write(file: Any) -> None:
            file.writelines(of(label, row).encode() + b"\n" for label, row in rows())

        return write

    return {
        "libsvm": prepared("rcv1.libsvm", lines(lambda y, row: f"{y:d}{row}")),
        "vw text": prepared("rcv1.vw", lines(lambda y, row: f"{2 * y - 1} |{row}")),
    }


def tables() -> dict[str, Path]:
    """Return a table of 200,000 rows and 20 columns, 3 of them texts, and its numbers alone."""
    rng = np.random.default_rng(0)
    n = 200_000
    values = rng.normal(0, 10, (n, 16)).round(3)
    values[:, :8] = values[:, :8].round()
    label = np.where(values[:, :4].sum(axis=1) > 0, "left", "right")
    cities = np.array(["Paris", "Lagos", '"Washington, D.C."', '"S\u00e3o Paulo"', ""])[
        rng.integers(0, 5, (n, 3))
    ]
    numbers = values.astype(str)
    numbers[:, :8] = values[:, :8].astype(int).astype(str)
    blank = rng.random((n, 16)) < 0.05
    quoted = np.char.add(np.char.add('"', numbers), '"')
    with_blanks = np.where(rng.random((n, 16)) < 0.05, quoted, numbers)
    with_blanks[blank] = ""

    def write(cells: np.ndarray, header: str) -> Callable[[Any], None]:
        def write_to(file: Any) -> None:
            file.write(header.encode() + b"\n")
            file.writelines(",".join(row).encode() + b"\n" for row in cells.tolist())

        return write_to

    names = ",".join(f"x{i}" for i in range(16))
    some = np.hstack([with_blanks, cities, label[:, np.newaxis]])
    plain = np.hstack([numbers, label[:, np.newaxis]])
    return {
        "3 texts, blanks, quotes": prepared("table.csv", write(some, f"{names},a,b,c,label")),
        "numbers only": prepared("table-numbers.csv", write(plain, f"{names},label")),
    }


def long_numbers() -> dict[str, Path]:
    """Return a table of 200,000 rows and 20 numbers with 17 digits each, by name of the form."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200_000, 20))
    labels = (values[:, :4].sum(axis=1) > 0).astype(int).tolist()
    names = [f"x{i}" for i in range(20)]

    def lines(of: Callable[[int, list[str]], str], header: str = "") -> Callable[[Any], None]:
        def write(file: Any) -> None:
            file.write(header.encode())
            for label, row in zip(labels, values.tolist(), strict=True):
                file.write(of(label, [f"{value:.17g}" for value in row]).encode() + b"\n")

        return write

    def pairs(row: list[str]) -> str:
        return " ".join(f"{name}:{value}" for name, value in zip(names, row, strict=True))

    return {
        "csv": prepared(
            "long.csv",
            lines(lambda y, x: ",".join([str(y), *x]), ",".join(["label", *names]) + "\n"),
        ),
        "libsvm": prepared("long.libsvm", lines(lambda y, x: f"{y} {pairs(x)}")),
        "vw text": prepared("long.vw", lines(lambda y, x: f"{2 * y - 1} | {pairs(x)}")),
    }


# Python may keep what it compiled, as an installed package does, also where it was told not to.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def seconds_of(command: Sequence[str | Path], *sources: Path) -> float:
    """Return the time of a whole process, fed from a pipe if there are sources."""
    before = time.perf_counter()
    if not sources:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    else:
        with subprocess.Popen(["cat", *sources], stdout=subprocess.PIPE) as cat:
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
