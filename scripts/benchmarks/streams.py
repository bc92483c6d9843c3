"""Formats from a pipe, and the time until an answer."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import (
    BENCH,
    LEARN,
    SCALE,
    VW,
    bags,
    digits,
    in_turns,
    long_numbers,
    ratio,
    seconds_of,
    spread,
    table,
    tables,
    texts,
    train_file,
)

from stream_perceptron import LiveModel

RUNS = 5
ANSWERS = 500
WAITING = 100_000
_ASK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


TEXT_VW = [*VW, "-d", "/dev/stdin"]
BINARY = [LEARN[0], "learn", "--quiet"]


def pipes() -> str:
    """Whole process, 60,000 digits from `cat`: each format, and VW's; its CSV only predicts."""
    files = texts()
    body = files.pop("csv body")
    commands = {
        name: [*LEARN, *([] if name == "arrow" or "decimals" in name else SCALE)] for name in files
    }
    commands["vw text"] = [*TEXT_VW, "--oaa", "10"]
    commands["vw csv"] = [*commands["vw text"], "--csv"]
    commands["vw json"] = [*commands["vw text"], "--json"]
    one = {name: [path] for name, path in files.items()}
    one["parquet, a file"] = []
    commands["parquet, a file"] = [*LEARN, train_file()]
    ten = {name: one[name] * 10 for name in ("json, list", "libsvm", "vw text")}
    ten["csv"] = [files["csv"]] + [body] * 9
    return (
        _piped("60,000 digits", 60_000, commands, one, ("vw text", "vw csv", "vw json"))
        + "\n"
        + _piped("600,000 digits", 600_000, commands, ten, ("vw text",))
    )


def bag_pipes() -> str:
    """Whole process, 200,000 bags of words from `cat`, and VW's in its own text."""
    files = bags()
    commands = {name: [*BINARY, "--lr", "0.1"] for name in files}
    commands["vw text"] = [*TEXT_VW, "--loss_function", "logistic", "-b", "20"]
    sources = {name: [path] for name, path in files.items()}
    return _piped("200,000 bags of words", 200_000, commands, sources, ("vw text",))


def long_number_pipes() -> str:
    """Whole process, 200,000 rows of 20 numbers with 17 digits, as pandas writes them."""
    files = long_numbers()
    commands = {name: [*BINARY, "--standardize"] for name in files}
    commands["vw text"] = [*TEXT_VW, "--loss_function", "logistic"]
    sources = {name: [path] for name, path in files.items()}
    return _piped("200,000 rows of 17 digits", 200_000, commands, sources, ("vw text",))


def table_pipes() -> str:
    """Whole process, 200,000 rows of CSV from `cat`, with what tables have beside numbers."""
    files = tables()
    commands = {name: [*BINARY, "--standardize"] for name in files}
    one_hot = "texts one-hot"
    commands[one_hot] = [*BINARY, "--standardize", "--one-hot", "a,b,c"]
    sources = {name: [path] for name, path in files.items()}
    sources[one_hot] = sources["3 texts, blanks, quotes"]
    return _piped("a table of 200,000 rows", 200_000, commands, sources, ("numbers only",))


def _piped(
    title: str,
    n: int,
    commands: dict[str, list[Any]],
    sources: dict[str, list[Path]],
    beside: Sequence[str],
) -> str:
    """Return a table of the times in which each command reads n rows from `cat`."""
    times = in_turns(
        RUNS,
        {name: partial(seconds_of, commands[name], *paths) for name, paths in sources.items()},
    )
    rows = []
    for name, taken in times.items():
        seconds = statistics.median(taken)
        size = sum(path.stat().st_size for path in sources[name]) / 1e6
        rows.append(
            [
                name,
                spread(taken),
                f"{1e6 * seconds / n:.1f}",
                f"{size / seconds:,.0f}" if size else "",
                *(f"{ratio(taken, times[other]):.2f}" for other in beside),
            ]
        )
    header = [title, "seconds", "us a row", "MB/s", *(f"to {other}" for other in beside)]
    return table(header, rows)


def latency() -> str:
    """From the moment a sample is sent to its answer, one after another, 784 features."""
    files = texts()
    rows = []
    for name in ("csv", "json, list", "json, flat", "libsvm"):
        taken = [1e3 * seconds for seconds in answer_times(files[name], name == "csv")]
        late = sorted(taken)[int(0.95 * len(taken))]
        rows.append([name, f"{statistics.median(taken):.2f}", f"{late:.2f}"])
    return table(["one sample at a time", "median, ms", "95 %, ms"], rows)


def saving() -> str:
    """How long an answer waits that comes while a model of 64 MB is saved."""
    n, words = 10, 800_000  # labels, and features; 8 bytes a weight
    vocabulary = [
        f"{i % n} {' '.join(f'{j}:1' for j in range(start, start + 4000))}\n".encode()
        for i, start in enumerate(range(0, words, 4000))
    ]
    rng = random.Random(0)
    bags = [
        f"{i % n} {' '.join(f'{j}:1' for j in sorted(rng.sample(range(words), 20)))}\n".encode()
        for i in range(ANSWERS)
    ]
    with tempfile.TemporaryDirectory(dir=BENCH) as folder:
        path = Path(folder, "m.npz")
        more = ["--classes", f"0-{n - 1}", "-m", str(path), "--save-every", "100"]
        taken = [1e3 * t for t in _answer_times([*BINARY, *more], [*vocabulary, *bags], b"")]
        size = path.stat().st_size / 1e6
    after = taken[len(vocabulary) :]
    # The row behind a hundredth one waits until that is saved.
    while_saving = [max(after[i - 2 : i + 3]) for i in range(100, len(after), 100)]
    return table(
        ["a checkpoint of", "answer, median, ms", "answer while it is saved, ms"],
        [[f"{size:,.0f} MB", f"{statistics.median(after):.2f}", spread(while_saving)]],
    )


def waiting() -> str:
    """100,000 digits that wait for their labels, as bytes and as decimals."""
    pixels, _ = digits()
    pixels, rows = np.resize(pixels, (WAITING, pixels.shape[1])), []
    names = ["id", "label", *(f"pixel{j}" for j in range(pixels.shape[1]))]
    beside = [np.arange(WAITING), pa.nulls(WAITING, pa.int64())]
    for kind, values in (("bytes", pixels), ("decimals", pixels / 255)):
        with tempfile.TemporaryDirectory(dir=BENCH) as folder:
            source, path = Path(folder, "digits.parquet"), Path(folder, "m.npz")
            pq.write_table(pa.table([*beside, *values.T], names), source, row_group_size=1000)
            command = [*BINARY, source, "-m", path, "--overwrite"]
            memory = [
                _memory_of([*command, *more])
                for more in (["--ignore", "id", "-p", "/dev/null"], ["--join", "id"])
            ]
            live = LiveModel.load(path)
            begin = time.perf_counter()
            live.save(path)
            taken = time.perf_counter() - begin
            size = path.stat().st_size / 1e6
        rows.append([kind, f"{memory[1] - memory[0]:,.0f} MB", f"{size:,.0f} MB", f"{taken:.2f}"])
    return table(["100,000 samples that wait", "memory", "checkpoint", "a save, seconds"], rows)


def _memory_of(command: list[Any]) -> float:
    """Return the most memory that a command needs, in MB."""
    # Asked by a small process, as a child counts what its parent had.
    asked = [sys.executable, "-c", _ASK, *command]
    return int(subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout) / 1024


def answer_times(path: Path, has_header: bool) -> list[float]:
    """Return the time of each answer after the first few, in seconds."""
    with path.open("rb") as file:
        lines = [next(file) for _ in range(ANSWERS)]
    return _answer_times([*LEARN, *SCALE], lines, lines.pop(0) if has_header else b"")[20:]


def _answer_times(command: list[Any], lines: list[bytes], header: bytes) -> list[float]:
    taken = []
    with subprocess.Popen(
        [*command, "-p", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(header)
        for line in lines:
            before = time.perf_counter()
            process.stdin.write(line)
            process.stdin.flush()
            assert "prediction" in json.loads(process.stdout.readline())
            taken.append(time.perf_counter() - before)
        process.stdin.close()
    return taken


SECTIONS = {
    "pipes": pipes,
    "bags": bag_pipes,
    "tables in pipes": table_pipes,
    "long numbers": long_number_pipes,
    "latency": latency,
    "saving": saving,
    "waiting": waiting,
}
