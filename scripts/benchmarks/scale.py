"""Learning in shards on Ray: accuracy, time and bytes moved against the number of shards."""

from __future__ import annotations

import json
import os
import pickle
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from common import BENCH, BIN, DATA, LEARN, in_turns, prepared, ratio, spread, table, train_file

from stream_perceptron import LiveModel
from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.datasets import mnist
from stream_perceptron.distributed.shards import deal, learn_pieces
from stream_perceptron.live.cursor import Shards

RUNS = 5
ROUNDS = 60


@contextmanager
def cluster() -> Iterator[str]:
    """Start a Ray cluster with two processors on this machine, and yield its address."""
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = subprocess.Popen(
        [BIN / "ray", "start", "--head", "--block", "--num-cpus=2", f"--port={port}",
         "--node-ip-address=127.0.0.1", "--include-dashboard=false"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        while True:  # until it listens
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            if ray.poll() is not None:
                raise RuntimeError("Ray's cluster has ended")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(ray.pid, signal.SIGKILL)
        ray.wait()


def learn(*options: Any) -> dict[str, Any]:
    """Return the summary of a run; its seconds are without the start of Python and of Ray."""
    output = subprocess.run(
        [*LEARN, "--json", *map(str, options)], check=True, capture_output=True, text=True
    ).stdout
    summary: dict[str, Any] = json.loads(output)
    return summary


def moved(shards: int, rows: int) -> int:
    """Return the bytes of a model that goes to the shards, and of what comes back from each."""
    source = ParquetSource(str(train_file()))
    live = LiveModel.load(BENCH / "scale.npz")
    dealt = deal([source.groups], Shards(shards, rows))
    outcome = learn_pieces(live, [source.name], dealt[0])
    size = len(pickle.dumps(live, 5)), len(pickle.dumps(outcome, 5))
    return size[0] + shards * size[1]


def accuracy_of(*options: Any) -> tuple[float, float]:
    """Return the accuracy on the test digits of a model learned so, and the seconds."""
    test = DATA / "mnist-test.parquet"
    if not test.exists():
        mnist.fetch("mnist", DATA)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        seconds = learn(train_file(), "-m", path, *options)["seconds"]
        figures = subprocess.run(
            [BIN / "stream-perceptron", "evaluate", test, "-m", path, "--json"],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
    return json.loads(figures)["accuracy"], seconds


def shards() -> str:
    """Shards over MNIST in 60 rounds, on two processors: accuracy, time and bytes a round."""
    BENCH.mkdir(parents=True, exist_ok=True)
    subprocess.run([*LEARN, train_file(), "-m", BENCH / "scale.npz", "--overwrite"], check=True)
    rows = [["one stream", "60,000", f"{accuracy_of()[0]:.1%}", "", "", ""]]
    with cluster() as address:
        for n in (1, 2, 4, 8, 16, 32, 64):
            each = 60_000 // (ROUNDS * n)
            options = ["--ray", address, "--shards", n, "--round-rows", each]
            scaled, seconds = accuracy_of(*options)
            kept, _ = accuracy_of(*options, "--keep-lr")
            n_rounds = -(-(60_000 // n) // each)
            rows.append(
                [f"{n}", f"{each:,}", f"{scaled:.1%}", f"{kept:.1%}",
                 f"{seconds / n_rounds * 1e3:.0f}", f"{moved(n, each) / 1e3:,.0f}"]
            )  # fmt: skip
    header = ["shards", "rows a round", "test accuracy", "lr kept", "ms a round", "kB a round"]
    return table(header, rows)


def cores() -> str:
    """Two shards on two processors over 6,000,000 rows, beside one process; without any start."""

    def write(file: Any) -> None:
        digits = pq.read_table(train_file())
        with pq.ParquetWriter(
            file, digits.schema, compression="lz4", use_dictionary=False, write_statistics=False
        ) as writer:
            for _ in range(10):
                writer.write_table(digits, row_group_size=10_000)

    large = prepared("digits-600000.parquet", write)
    ways = {
        "100 passes over 60,000": [train_file(), "--passes", 100],
        "from disk, in one pass": [large] * 10,
    }
    rows = []
    with cluster() as address:
        for name, source in ways.items():
            each = 30_000 if "--passes" in source else 300_000

            def seconds(*options: Any, source: Any = source) -> float:
                return float(learn(*source, *options)["seconds"])

            ray = ["--ray", address, "--round-rows", each, "--shards"]
            times = in_turns(
                RUNS,
                {
                    "one process, which reads ahead": seconds,
                    "one shard": partial(seconds, *ray, 1),
                    "two shards": partial(seconds, *ray, 2),
                },
            )
            rows += [
                [name, way, spread(taken), f"{ratio(times['two shards'], taken):.2f}"]
                for way, taken in times.items()
            ]
    return table(["6,000,000 rows", "by", "seconds", "two shards to this"], rows)


SECTIONS = {"scale": shards, "cores": cores}
