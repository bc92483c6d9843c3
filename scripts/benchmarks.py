"""Measure speed on this machine. Medians, as machines are shared and noisy.

kernel
    Time a sample of the pass over 60,000 MNIST rows, 784 features and 10 classes.
sparse
    Time to learn a sample of 100 features when 10^4, 10^5 and 10^6 are known.
checkpoint
    What saving costs on ten passes over MNIST: every minute, and every 10,000 rows.
"""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from stream_perceptron import LiveModel, SGDPerceptron, kernel, mnist
from stream_perceptron.activations import get_activation
from stream_perceptron.schema import Schema
from stream_perceptron.sources import ParquetSource

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
    """Time the saves within a run, as whole runs differ by more than the saves cost."""
    sources = [ParquetSource(str(DATA / "mnist-train.parquet"))]
    print("checkpoint: 600,000 rows, time in saves over the time of the rest, median of 3 runs")
    for name, rows, seconds in (("60 s, the default", None, 60.0), ("10,000 rows", 10_000, None)):
        shares, saves = [], []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.npz"
                start = saved_at = time.perf_counter()
                live = LiveModel.start(sources, Schema(), seed=0)
                live.go_on_with(sources)
                saving = time.perf_counter() - start  # telling the sources apart is part of it
                taken = []
                for _ in live.run(sources, passes=10, every=rows):
                    now = time.perf_counter()
                    if live.position.read % rows == 0 if rows else now - saved_at >= seconds:
                        live.save(path)
                        saved_at = time.perf_counter()
                        taken.append(saved_at - now)
                now = time.perf_counter()
                live.save(path)
                taken.append(time.perf_counter() - now)
            saving += sum(taken)
            whole = time.perf_counter() - start
            shares.append(saving / (whole - saving))
            saves.append(len(taken))
        share, spread = statistics.median(shares), f"{min(shares):.2%} to {max(shares):.2%}"
        print(f"  every {name}: {share:.2%} ({spread}), {saves[0]} saves")


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
