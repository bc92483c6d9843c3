"""Learning in shards on Ray: accuracy and bytes moved by number of shards, and speed."""

from __future__ import annotations

import os
import pickle
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from common import BENCH, COMMAND, accuracy, compare, find_json, median, run_process, section, table
from forms import mnist_file, prepare_file
from helpers import find_free_port, is_listening, kill_process_group, start_ray_node, wait_for

from stream_perceptron import LiveModel
from stream_perceptron.data.input.positions import FilePosition
from stream_perceptron.distributed.rounds import learn_row_ranges, plan_round
from stream_perceptron.live.history import Shards

ROUNDS = 60
DIGITS = ["--classes", "0-9", "--quiet", "--json", "--overwrite"]


@contextmanager
def start_cluster() -> Iterator[str]:
    """Start a Ray cluster with two processors on this machine, and yield its address."""
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    port = find_free_port()
    options = ["--num-cpus=2", f"--port={port}", "--include-dashboard=false"]
    ray = start_ray_node(os.environ, "--head", *options)
    try:
        wait_for(lambda: is_listening(port), ray)
        yield f"127.0.0.1:{port}"
    finally:
        kill_process_group(ray)


def count_moved_bytes(shards: int, rows: int) -> int:
    """Return the number of bytes moved in a round: the model, and a result for each shard."""
    files = [FilePosition(str(mnist_file()), rows=60_000)]
    live = LiveModel.load(BENCH / "scale.npz")
    outcome = learn_row_ranges(live, plan_round(files, Shards(shards, rows), 0)[0])
    return len(pickle.dumps(live, 5)) + shards * len(pickle.dumps(outcome, 5))


def learn_in_shards(path: Path, model: Path, address: str, n: int, n_rows: int) -> float:
    """Learn a file in n shards; return the duration without the start of Python and Ray."""
    options: list[Any] = ["--address", address, "--shards", n, "--round-rows", n_rows]
    command = [*COMMAND, "distribute", path, "-m", model, *DIGITS, *options]
    return float(run_process(command, find=find_json)[1]["seconds"])


def learn_alone(path: Path, model: Path) -> float:
    """Learn a file with `learn`; return the duration without the start of Python."""
    command = [*COMMAND, "learn", path, "-m", model, *DIGITS]
    return float(run_process(command, find=find_json)[1]["seconds"])


def measure_accuracy(model: Path) -> float:
    """Return the accuracy of a saved model on the test digits."""
    command = [*COMMAND, "evaluate", mnist_file("test"), "-m", model, "--json"]
    return float(run_process(command, find=find_json)[1]["accuracy"])


@section("scale")
def shards() -> str:
    """Shards over MNIST in 60 rounds on two processors: accuracy, time and bytes per round."""
    model, rows = BENCH / "scale.npz", []
    learn_alone(mnist_file(), model)
    rows.append(["one stream", "60,000", f"{measure_accuracy(model):.1%}", "", ""])
    with start_cluster() as address, tempfile.TemporaryDirectory() as folder:
        for n in (1, 2, 4, 8, 16, 32, 64):
            n_rows, path = 60_000 // (ROUNDS * n), Path(folder) / f"{n}.npz"
            seconds = learn_in_shards(mnist_file(), path, address, n, n_rows)
            n_rounds = -(-(60_000 // n) // n_rows)
            rows.append(
                [f"{n}", f"{n_rows:,}", f"{measure_accuracy(path):.1%}",
                 f"{seconds / n_rounds * 1e3:.0f}", f"{count_moved_bytes(n, n_rows) / 1e3:,.0f}"]
            )  # fmt: skip
    return table(
        ["shards", "rows per round", "test accuracy", "ms per round", "kB per round"], rows
    )


@section("workers")
def workers() -> str:
    """6,000,000 digits as Parquet on two processors: `learn`, and `distribute` in shards."""
    digits = pq.read_table(mnist_file())

    def write(file: Any) -> None:
        with pq.ParquetWriter(file, digits.schema) as writer:
            for _ in range(100):
                writer.write_table(digits, row_group_size=20_000)

    path = prepare_file("digits-x100.parquet", write)
    with start_cluster() as address, tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.npz"

        def measure(learn: Callable[..., float], *arguments: Any) -> tuple[float, float]:
            return learn(path, model, *arguments), measure_accuracy(model)

        tasks = {"learn": partial(measure, learn_alone)} | {
            f"distribute --shards {n}": partial(measure, learn_in_shards, address, n, 50_000)
            for n in (1, 2)
        }
        return compare(["command", "seconds", "test accuracy"], 3, tasks, median(".1f"), accuracy)
