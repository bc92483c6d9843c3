"""Measure speed on this machine. Medians, as machines are shared and noisy.

kernel
    Time a sample of the pass over 60,000 MNIST rows, 784 features and 10 classes.
sparse
    Time to learn a sample of 100 features when 10^4, 10^5 and 10^6 are known.
checkpoint
    What saving costs on ten passes over MNIST: every minute, every 10,000 rows, and not at all.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from stream_perceptron import SGDPerceptron, kernel, mnist
from stream_perceptron.activations import get_activation

DATA = Path(__file__).parent.parent / "data"
RUNS = 7
BLOCK = 1000


def microseconds(times: list[float], samples: int) -> str:
    """Return median and spread in microseconds a sample."""
    each = [seconds / samples * 1e6 for seconds in times]
    return f"{statistics.median(each):.1f} ({min(each):.1f} to {max(each):.1f})"


def bench_kernel() -> None:
    table = pq.read_table(DATA / "mnist-train.parquet")
    pixels = np.frombuffer(table["pixels"].combine_chunks().buffers()[1], np.uint8)
    pixels, labels = pixels.reshape(-1, 784), table["label"].to_pylist()
    rule = kernel.Rule(get_activation("sigmoid"), epsilon=3e-6)
    times: dict[str, list[float]] = {"float64": [], "float32": []}
    for _ in range(RUNS):
        for dtype, taken in times.items():
            weights, biases = np.zeros((10, 784), dtype), np.zeros(10, dtype)
            seconds = 0.0
            for start in range(0, len(labels), BLOCK):
                X = (pixels[start : start + BLOCK] / 255).astype(dtype)
                block = kernel.Block(
                    targets=labels[start : start + BLOCK],
                    sample_weights=[1.0] * BLOCK,
                    rates=[0.01] * BLOCK,
                    nets=np.empty((BLOCK, 10), dtype),
                    eps=np.empty(BLOCK),
                    updated=np.zeros(BLOCK, bool),
                )
                before = time.perf_counter()
                kernel.learn_rows(weights, biases, X, rule, block)
                seconds += time.perf_counter() - before
            taken.append(seconds)
    print("kernel: us a sample over 60,000 MNIST rows, median of", RUNS, "runs")
    for dtype, taken in times.items():
        print(f"  {kernel.NAME}, {dtype}: {microseconds(taken, len(labels))}")


def bench_sparse() -> None:
    rng = np.random.default_rng(0)
    models, streams = {}, {}
    for size in (10**4, 10**5, 10**6):
        models[size] = SGDPerceptron(classes=range(10), seed=0)
        models[size].learn_one(dict.fromkeys(range(size), 0.0), 0)
        streams[size] = [
            (dict.fromkeys(rng.choice(size, 100, replace=False).tolist(), 1.0), i % 10)
            for i in range(500)
        ]
    times: dict[int, list[float]] = {size: [] for size in models}
    for _ in range(RUNS):
        for size, model in models.items():
            before = time.perf_counter()
            for x, y in streams[size]:
                model.learn_one(x, y)
            times[size].append(time.perf_counter() - before)
    print("sparse: us to learn a sample of 100 features, 10 classes, median of", RUNS, "runs")
    for size, taken in times.items():
        print(f"  {size:,} features known: {microseconds(taken, 500)}")


def bench_checkpoint() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            Path(sys.executable).with_name("stream-perceptron"),
            "learn",
            DATA / "mnist-train.parquet",
            "--passes",
            "10",
            "--json",
            "--quiet",
        ]
        saving = ["-m", f"{folder}/model.npz", "--overwrite"]
        ways = {
            "not saved": [],
            "every 60 s, the default": saving,
            "every 10,000 rows": [*saving, "--save-every", "10000"],
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(5):
            for name, options in ways.items():
                result = subprocess.run([*command, *options], capture_output=True, check=True)
                times[name].append(json.loads(result.stdout)["seconds"])
    print("checkpoint: s for 600,000 rows, median of 5 interleaved runs")
    whole = statistics.median(times["not saved"])
    for name, taken in times.items():
        median = statistics.median(taken)
        spread = f"{min(taken):.2f} to {max(taken):.2f}"
        print(f"  {name}: {median:.2f} ({spread}), {median / whole:.3f} of not saving")


SECTIONS = {"kernel": bench_kernel, "sparse": bench_sparse, "checkpoint": bench_checkpoint}


def main() -> None:
    unknown = set(sys.argv[1:]) - set(SECTIONS)
    if unknown:
        sys.exit(f"no section {', '.join(sorted(unknown))}: choose {', '.join(SECTIONS)}")
    if not (DATA / "mnist-train.parquet").exists():
        mnist.fetch("mnist", DATA)
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    for name in sys.argv[1:] or SECTIONS:
        SECTIONS[name]()


if __name__ == "__main__":
    main()
