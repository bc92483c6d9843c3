"""A run interrupted by many signals ends bit-identical to an uninterrupted run."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import time

import numpy as np
import pytest
from helpers import CASE_FACTOR, COMMAND, read_contents, start

MIN_SIGNALS = 3 * CASE_FACTOR  # to each run
EXIT_CODES = {
    signal.SIGKILL: -9,
    signal.SIGTERM: 143,
    signal.SIGINT: 130,
    signal.SIGHUP: 129,
}
ROWS = 40_000


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The folder with the source files of RUNS."""
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, 6)).round(4).tolist()
    labels = [f"c{int(x[0] > 0)}{int(x[1] > 0)}" for x in X]
    lines = ["label,a,b,c,d,e,f"]
    for i, (label, x) in enumerate(zip(labels, X, strict=True)):
        values = ",".join(map(str, x)) if i % 50 else "1,2,nan,4,5,6"
        lines.append(f"{label},{values}")
    text = "\n".join(lines) + "\n"
    (folder / "bad.csv.gz").write_bytes(gzip.compress(text.encode(), 1))
    good = "\n".join(line for line in lines if "nan" not in line) + "\n"
    (folder / "one.csv").write_text(good)
    (folder / "two.csv").write_text(good)
    with (folder / "rows.jsonl").open("w") as file:
        for i, (label, x) in enumerate(zip(labels, X, strict=True)):
            # Every ninth row is redelivered.
            offset = i - 1 if i % 9 == 8 else i
            row = {"part": f"p{i % 3}", "at": offset, "label": label}
            file.write(json.dumps(row | dict(zip("abcdef", x, strict=True))) + "\n")
    return folder


RUNS = {
    "gzip, skipped rows, passes, predictions": [
        "bad.csv.gz", "--skip-bad", "--passes", "3", "-p", "predictions.jsonl",
        "--save-every", "1777",
    ],
    "JSON, position": ["rows.jsonl", "--position", "part,at", "--save-every", "999"],
    "two files": ["one.csv", "two.csv", "--save-every", "3333"],
    "random, stop": ["one.csv", "--random", "--stop", "--epsilon", "1e-9", "--passes", "4"],
    "limit": ["one.csv", "--limit", "35000", "--save-every", "500"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_run_interrupted_by_random_signals_ends_bit_identical(
    name, sources, tmp_path, report_figure
):
    rng = random.Random(name)
    options = [
        sources / argument if (sources / argument).exists() else argument for argument in RUNS[name]
    ]
    expected = tmp_path / "expected"
    expected.mkdir()
    start_time = time.monotonic()
    subprocess.run([COMMAND, "learn", *options, "-m", "m.npz", "--quiet"], cwd=expected, check=True)
    duration = time.monotonic() - start_time
    counts = dict.fromkeys([*EXIT_CODES, signal.SIGSTOP], 0)
    runs = 0
    while sum(counts.values()) < MIN_SIGNALS:
        folder = tmp_path / str(runs)
        folder.mkdir()
        runs += 1
        while True:
            process = start(*options, "-m", "m.npz", "--quiet", cwd=folder)
            signal_number = rng.choice(list(counts))
            try:
                process.wait(rng.uniform(0, duration / 2))
            except subprocess.TimeoutExpired:
                process.send_signal(signal_number)
                if signal_number == signal.SIGSTOP:
                    time.sleep(0.05)
                    process.send_signal(signal.SIGCONT)
            _, errors = process.communicate(timeout=120)
            assert errors == ""
            counts[signal_number] += process.returncode != 0 or signal_number == signal.SIGSTOP
            if process.returncode == 0:
                break
            assert process.returncode == EXIT_CODES[signal_number]
        # The previous save depends on when the signals arrived.
        for path in (path for path in expected.iterdir() if path.suffix != ".prev"):
            assert read_contents(path) == read_contents(folder / path.name), path.name

    shown = ", ".join(f"{signal_number.name} {count}" for signal_number, count in counts.items())
    report_figure(f"{name}: {shown}, over {runs} runs")
