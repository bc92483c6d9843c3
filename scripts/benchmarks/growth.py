"""How time and memory grow, and how long it takes to start."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from common import BENCH, BIN, LEARN, in_turns, seconds_of, spread, table, train_file

RUNS = 5
MEMORY = """
import re, sys, time
from stream_perceptron_cli.main import main
before = time.perf_counter()
try: main(sys.argv[1:])
except SystemExit: pass
seconds = time.perf_counter() - before
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]
print(seconds, int(peak) / 1024)
"""


def run(passes: int) -> tuple[float, float]:
    """Return the seconds and the peak memory in MB of so many passes over MNIST."""
    command = [sys.executable, "-c", MEMORY, *LEARN[1:], str(train_file()), "--passes", str(passes)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, peak = output.split()
    return float(seconds), float(peak)


def samples() -> str:
    """Time a sample and peak memory, 60,000 to 6,000,000 samples; the start is left out."""
    start = run(1)[0]
    rows = []
    for passes in (1, 10, 100):
        runs = [run(passes) for _ in range(3)]
        each = [(seconds - start) / max(60_000 * (passes - 1), 1) * 1e6 for seconds, _ in runs]
        peaks = [peak for _, peak in runs]
        time_ = spread(each) if passes > 1 else f"{start:.2f} s in all"
        rows.append([f"{60_000 * passes:,}", time_, spread(peaks, ".0f")])
    return table(["samples", "us a sample beyond the first 60,000", "peak memory, MB"], rows)


def sizes() -> str:
    """Time a sample in memory against classes and features."""
    from stream_perceptron import SGDPerceptron

    rng = np.random.default_rng(0)
    rows, points = [], []
    for k, d in [(10, 784), (100, 784), (1000, 784), (10, 10_000), (10, 100_000)]:
        n = max(20, min(2000, 40_000_000 // (k * d)))
        X, y = rng.random((n, d)), rng.integers(0, k, n).tolist()
        model = SGDPerceptron(classes=range(k), seed=0)
        model.test_then_train(X, y)

        def seconds(model: SGDPerceptron = model, X: np.ndarray = X, y: list[int] = y) -> float:
            before = time.perf_counter()
            model.test_then_train(X, y)
            return (time.perf_counter() - before) / len(y) * 1e6

        taken = in_turns(RUNS, {"ours": seconds})["ours"]
        nanoseconds = [1e3 * value / (k * d) for value in taken]
        points.append((k * d, float(np.median(taken))))
        rows.append([f"{k:,}", f"{d:,}", spread(taken, ",.1f"), spread(nanoseconds)])
    draw(points, BENCH / "growth.png")
    return table(["classes", "features", "us a sample", "ns a weight"], rows)


def draw(points: list[tuple[int, float]], path: Path) -> None:
    """Draw time against the number of weights."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axis.loglog(*zip(*sorted(points), strict=True), "o-", color="#2a6f97")
    axis.set_xlabel("weights (classes times features)")
    axis.set_ylabel("microseconds a sample")
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def start_up() -> str:
    """Start: help, and one row predicted or learned, beside the libraries alone."""
    model = BENCH / "start.npz"
    program = BIN / "stream-perceptron"
    BENCH.mkdir(parents=True, exist_ok=True)
    subprocess.run([*LEARN, train_file(), "-m", model, "--overwrite"], check=True)
    row = BENCH / "row.json"
    row.write_text("[" + ", ".join(["0"] * 784) + "]\n")
    commands = {
        "python -c 'import click'": [sys.executable, "-c", "import click"],
        "--help": [program, "--help"],
        "learn --help": [program, "learn", "--help"],
        "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
        "predict one row of JSON": [program, "predict", row, "-m", model],
        "learn one row of Parquet": [*LEARN, train_file(), "--limit", "1"],
        "python -c 'import pyarrow.parquet'": [sys.executable, "-c", "import pyarrow.parquet"],
    }
    times = in_turns(9, {name: partial(seconds_of, c) for name, c in commands.items()})
    return table(
        ["start", "ms"],
        [[name, spread([1e3 * s for s in taken], ".0f")] for name, taken in times.items()],
    )


SECTIONS = {"samples": samples, "sizes": sizes, "start_up": start_up}
