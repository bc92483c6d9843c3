"""Learning in shards on Ray: accuracy, time and bytes moved, by number of shards."""

from __future__ import annotations

import os
import pickle
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import COMMAND, LEARN_DIGITS, find_json, run_process, section, table
from forms import BENCH, mnist_file
from helpers import find_free_port, is_listening, kill_process_group, start_ray_node, wait_for

from stream_perceptron import LiveModel
from stream_perceptron.data.position import FilePosition
from stream_perceptron.distributed.rounds import learn_row_ranges, plan_round
from stream_perceptron.live.history import Shards

ROUNDS = 60


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


def time_run(*options: Any) -> float:
    """Return the duration of a run in seconds, excluding the start-up of Python and Ray."""
    return float(run_process([*LEARN_DIGITS, "--json", *options], find=find_json)[1]["seconds"])


def count_moved_bytes(shards: int, rows: int) -> int:
    """Return the number of bytes moved in a round: the model, and a result for each shard."""
    files = [FilePosition(str(mnist_file()), rows=60_000)]
    live = LiveModel.load(BENCH / "scale.npz")
    outcome = learn_row_ranges(live, plan_round(files, Shards(shards, rows), 0)[0])
    return len(pickle.dumps(live, 5)) + shards * len(pickle.dumps(outcome, 5))


def measure_accuracy(*options: Any) -> tuple[float, float]:
    """Return the test accuracy of a run with these options, and its duration in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        seconds = time_run(mnist_file(), "-m", path, *options)
        test = [*COMMAND, "evaluate", mnist_file("test"), "-m", path, "--json"]
        return run_process(test, find=find_json)[1]["accuracy"], seconds


@section("scale")
def shards() -> str:
    """Shards over MNIST in 60 rounds on two processors: accuracy, time and bytes per round."""
    BENCH.mkdir(parents=True, exist_ok=True)
    run_process([*LEARN_DIGITS, mnist_file(), "-m", BENCH / "scale.npz", "--overwrite"])
    rows = [["one stream", "60,000", f"{measure_accuracy()[0]:.1%}", "", "", ""]]
    with start_cluster() as address:
        for n in (1, 2, 4, 8, 16, 32, 64):
            n_rows = 60_000 // (ROUNDS * n)
            options = ["--ray", address, "--shards", n, "--round-rows", n_rows]
            (scaled, seconds), (kept, _) = (
                measure_accuracy(*options),
                measure_accuracy(*options, "--keep-lr"),
            )
            n_rounds = -(-(60_000 // n) // n_rows)
            rows.append(
                [f"{n}", f"{n_rows:,}", f"{scaled:.1%}", f"{kept:.1%}",
                 f"{seconds / n_rounds * 1e3:.0f}", f"{count_moved_bytes(n, n_rows) / 1e3:,.0f}"]
            )  # fmt: skip
    costs = ["ms per round", "kB per round"]
    return table(["shards", "rows per round", "test accuracy", "--keep-lr", *costs], rows)
