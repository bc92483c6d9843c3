"""A run that is killed and interrupted many times ends like an uninterrupted run, bit by bit."""

from __future__ import annotations

import gzip
import random
import signal
import subprocess
import time

import numpy as np
import pytest
from helpers import CASE_FACTOR, COMMAND, encode_csv, read_contents, start, write_csv, write_jsonl
from late_labels import draw_rows

EXIT_CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
ROWS = 40_000


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The folder with the source files of RUNS."""
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, 6)).round(4).tolist()
    rows = [
        {"label": f"c{int(x[0] > 0)}{int(x[1] > 0)}", **dict(zip("abcdef", x, strict=True))}
        for x in X
    ]
    bad = [(row if i % 50 else row | {"c": "1e999"}).values() for i, row in enumerate(rows)]
    write_csv(folder / "one.csv", rows[0], (row.values() for row in rows))
    (folder / "bad.csv.gz").write_bytes(gzip.compress(encode_csv(bad, rows[0]), 1))
    # Every ninth row is redelivered.
    positions = ({"part": f"p{i % 3}", "at": i - (i % 9 == 8)} for i in range(ROWS))
    write_jsonl(folder / "rows.jsonl", (a | b for a, b in zip(positions, rows, strict=True)))
    write_jsonl(folder / "messy.jsonl", draw_messy_rows(with_late_key=True))
    messy_rows = draw_messy_rows(with_late_key=False)
    write_csv(folder / "messy.csv", messy_rows[0], (row.values() for row in messy_rows))
    write_jsonl(folder / "late.jsonl", draw_rows(5, 20_000, 60))
    return folder


def draw_messy_rows(with_late_key):
    """Return rows of strings, nulls, numbers and an indicator that gets other values late."""
    rng, rows = random.Random(0), []
    for i in range(20_000):
        color, a = rng.choice(["red", "green", "blue"]), round(rng.gauss(50, 20), 2)
        b = None if rng.random() < 0.1 else round(rng.gauss(0, 0.1), 3)
        row = {"colour": color, "a": a, "b": b, "c": rng.randrange(2 + i // 9000)}
        if with_late_key and i > 5000:
            row["late"] = rng.randrange(2)
        rows.append(row | {"label": "high" if a > 60 or color == "red" else "low"})
    return rows


RUNS = {
    "table, predictions": ["messy.csv", "-p", "predictions.csv", "--save-every", "500"],
    "JSON objects, predictions": ["messy.jsonl", "-p", "predictions.jsonl", "--save-every", "500"],
    "passes, limit": ["one.csv", "--passes", "3", "--limit", "90000", "--save-every", "700"],
    "gzip, skipped rows, passes, predictions": [
        "bad.csv.gz", "--rejected", "rejected.jsonl", "--passes", "3", "-p", "predictions.jsonl",
        "--save-every", "1777",
    ],
    "JSON, position": ["rows.jsonl", "--position", "part,at", "--save-every", "999"],
    "passes, stop": ["one.csv", "--stop", "--epsilon", "1e-9", "--passes", "4"],
    "late labels": [
        "late.jsonl", "--join", "id", "--max-pending", "25", "--skip-bad", "-p",
        "predictions.jsonl", "--save-every", "100",
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_run_interrupted_by_random_signals_ends_bit_identical(name, sources, tmp_path):
    rng = random.Random(name)
    options = [
        sources / argument if (sources / argument).exists() else argument for argument in RUNS[name]
    ]
    expected = tmp_path / "expected"
    expected.mkdir()
    start_time = time.monotonic()
    subprocess.run([COMMAND, "learn", *options, "-m", "m.npz", "--quiet"], cwd=expected, check=True)
    duration = time.monotonic() - start_time
    assert (expected / "rejected.jsonl").exists() == ("--rejected" in options)
    counts = dict.fromkeys([*EXIT_CODES, signal.SIGSTOP], 0)
    runs = 0
    while min(counts.values()) < CASE_FACTOR:
        folder = tmp_path / str(runs)
        folder.mkdir()
        runs += 1
        while True:
            process = start(*options, "-m", "m.npz", "--quiet", cwd=folder)
            rarest = min(counts.values())
            signal_number = rng.choice([s for s, n in counts.items() if n == rarest])
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
