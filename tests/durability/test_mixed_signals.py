"""A run that many signals interrupt ends bit-identical to an uninterrupted run."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import time

import numpy as np
import pytest
from helpers import COMMAND, TIMES, contents_of, start

SIGNALS = 3 * TIMES  # to each run
EXPECTED = {
    signal.SIGKILL: -9,
    signal.SIGTERM: 143,
    signal.SIGINT: 130,
    signal.SIGHUP: 129,
}
ROWS = 40_000


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Files of rows in the forms of the runs."""
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
            # Each ninth row is replayed.
            at = i - 1 if i % 9 == 8 else i
            row = {"part": f"p{i % 3}", "at": at, "label": label}
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
def test_signals_in_a_random_mixture(name, sources, tmp_path, tell):
    rng = random.Random(name)
    options = [sources / part if (sources / part).exists() else part for part in RUNS[name]]
    expected = tmp_path / "expected"
    expected.mkdir()
    began = time.monotonic()
    subprocess.run([COMMAND, "learn", *options, "-m", "m.npz", "--quiet"], cwd=expected, check=True)
    length = time.monotonic() - began
    counts = dict.fromkeys([*EXPECTED, signal.SIGSTOP], 0)
    runs = 0
    while sum(counts.values()) < SIGNALS:
        folder = tmp_path / str(runs)
        folder.mkdir()
        runs += 1
        while True:
            process = start(*options, "-m", "m.npz", "--quiet", cwd=folder)
            number = rng.choice(list(counts))
            try:
                process.wait(rng.uniform(0, length / 2))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                if number == signal.SIGSTOP:
                    time.sleep(0.05)
                    process.send_signal(signal.SIGCONT)
            _, errors = process.communicate(timeout=120)
            assert errors == ""
            counts[number] += process.returncode != 0 or number == signal.SIGSTOP
            if process.returncode == 0:
                break
            assert process.returncode == EXPECTED[number]
        # The previous save depends on the moments of signals.
        for path in (path for path in expected.iterdir() if path.suffix != ".prev"):
            assert contents_of(path) == contents_of(folder / path.name), path.name

    shown = ", ".join(f"{number.name} {count}" for number, count in counts.items())
    tell(f"{name}: {shown}, over {runs} runs")
