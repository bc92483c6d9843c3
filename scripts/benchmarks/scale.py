"""Learning in shards on Ray: accuracy, time and bytes moved against the number of shards."""

from __future__ import annotations

import os
import pickle
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from common import DIGITS, OURS, compare, json_in, median, process, section, table
from forms import BENCH, mnist_file, prepared
from helpers import end_group, free_port, is_listening, wait_for

from stream_perceptron import LiveModel
from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.distributed.shards import deal, learn_pieces
from stream_perceptron.live.cursor import Shards

ROUNDS = 60


@contextmanager
def cluster() -> Iterator[str]:
    """Start a Ray cluster with two processors on this machine, and yield its address."""
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    port = free_port()
    ray = subprocess.Popen(
        [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus=2",
         f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: is_listening(port), ray)
        yield f"127.0.0.1:{port}"
    finally:
        end_group(ray)


def seconds_of(*options: Any) -> float:
    """Return the seconds of a run, without the start of Python and of Ray."""
    return float(process([*DIGITS, "--json", *options], find=json_in)[1]["seconds"])


def moved(shards: int, rows: int) -> int:
    """Return the bytes moved in a round: the model, and a result for each shard."""
    source = ParquetSource(str(mnist_file()))
    live = LiveModel.load(BENCH / "scale.npz")
    dealt = deal([source.groups], Shards(shards, rows))
    outcome = learn_pieces(live, [source.name], dealt[0])
    return len(pickle.dumps(live, 5)) + shards * len(pickle.dumps(outcome, 5))


def tested(*options: Any) -> tuple[float, float]:
    """Return the test accuracy of a run with these options, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        seconds = seconds_of(mnist_file(), "-m", path, *options)
        test = [*OURS, "evaluate", mnist_file("test"), "-m", path, "--json"]
        return process(test, find=json_in)[1]["accuracy"], seconds


@section("scale")
def shards() -> str:
    """Shards over MNIST in 60 rounds, on two processors: accuracy, time and bytes a round."""
    BENCH.mkdir(parents=True, exist_ok=True)
    process([*DIGITS, mnist_file(), "-m", BENCH / "scale.npz", "--overwrite"])
    rows = [["one stream", "60,000", f"{tested()[0]:.1%}", "", "", ""]]
    with cluster() as address:
        for n in (1, 2, 4, 8, 16, 32, 64):
            each = 60_000 // (ROUNDS * n)
            options = ["--ray", address, "--shards", n, "--round-rows", each]
            (scaled, seconds), (kept, _) = tested(*options), tested(*options, "--keep-lr")
            n_rounds = -(-(60_000 // n) // each)
            rows.append(
                [f"{n}", f"{each:,}", f"{scaled:.1%}", f"{kept:.1%}",
                 f"{seconds / n_rounds * 1e3:.0f}", f"{moved(n, each) / 1e3:,.0f}"]
            )  # fmt: skip
    header = ["shards", "rows a round", "test accuracy", "lr kept", "ms a round", "kB a round"]
    return table(header, rows)


@section("cores")
def cores() -> str:
    """Two shards on two processors over 6,000,000 rows, beside one process; without any start."""

    def write(file: Any) -> None:
        digits = pq.read_table(mnist_file())
        with pq.ParquetWriter(
            file, digits.schema, compression="lz4", use_dictionary=False, write_statistics=False
        ) as writer:
            for _ in range(10):
                writer.write_table(digits, row_group_size=10_000)

    large = prepared("digits-600000.parquet", write)
    tasks = {}
    with cluster() as address:
        for way, source, each in (
            ("100 passes over 60,000", [mnist_file(), "--passes", 100], 30_000),
            ("from disk, in one pass", [large] * 10, 300_000),
        ):
            ray = [*source, "--ray", address, "--round-rows", each, "--shards"]
            tasks |= {
                (way, "one process, which reads ahead"): partial(seconds_of, *source),
                (way, "one shard"): partial(seconds_of, *ray, 1),
                (way, "two shards"): partial(seconds_of, *ray, 2),
            }
        return compare(
            ["6,000,000 rows", "by", "seconds", "two shards to this"], 5, tasks, median(),
            lambda taken: f"{1 / taken.to('two shards'):.2f}",
        )  # fmt: skip
