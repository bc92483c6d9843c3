"""A run that is killed and interrupted many times ends like an uninterrupted run, bit by bit."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
from helpers import CASE_FACTOR, COMMAND, read_contents, start, write_jsonl
from late_labels import draw_rows

from stream_perceptron import LiveModel
from stream_perceptron.data import open_source
from stream_perceptron.live.loop import learn

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
    write_messy_rows(folder / "messy.jsonl", with_late_key=True)
    write_messy_rows(folder / "messy.csv", with_late_key=False)
    write_jsonl(folder / "late.jsonl", draw_rows(5, 20_000, 60))
    with (folder / "rows.jsonl").open("w") as file:
        for i, (label, x) in enumerate(zip(labels, X, strict=True)):
            # Every ninth row is redelivered.
            offset = i - 1 if i % 9 == 8 else i
            row = {"part": f"p{i % 3}", "at": offset, "label": label}
            file.write(json.dumps(row | dict(zip("abcdef", x, strict=True))) + "\n")
    return folder


def write_messy_rows(path, with_late_key):
    """Write rows of strings, nulls, numbers and an indicator that gets other values late."""
    rng, rows = random.Random(0), []
    for i in range(20_000):
        color, a = rng.choice(["red", "green", "blue"]), round(rng.gauss(50, 20), 2)
        b = None if rng.random() < 0.1 else round(rng.gauss(0, 0.1), 3)
        row = {"colour": color, "a": a, "b": b, "c": rng.randrange(2 + i // 9000)}
        if with_late_key and i > 5000:
            row["late"] = rng.randrange(2)
        rows.append(row | {"label": "high" if a > 60 or color == "red" else "low"})
    if path.suffix == ".jsonl":
        write_jsonl(path, rows)
    else:
        pd.DataFrame(rows).to_csv(path, index=False)


RUNS = {
    "table, predictions": [
        "messy.csv", "-p", "predictions.csv", "--save-every", "500",
    ],
    "JSON objects, predictions": [
        "messy.jsonl", "-p", "predictions.jsonl", "--save-every", "500",
    ],
    "three passes with a limit": [
        "one.csv", "--passes", "3", "--limit", "90000", "--save-every", "700",
    ],
    "gzip, skipped rows, passes, predictions": [
        "bad.csv.gz", "--rejected", "rejected.jsonl", "--passes", "3", "-p", "predictions.jsonl",
        "--save-every", "1777",
    ],
    "JSON, position": ["rows.jsonl", "--position", "part,at", "--save-every", "999"],
    "two files": ["one.csv", "two.csv", "--save-every", "3333"],
    "passes, stop": ["one.csv", "--stop", "--epsilon", "1e-9", "--passes", "4"],
    "limit": ["one.csv", "--limit", "35000", "--save-every", "500"],
    "late labels": [
        "late.jsonl", "--join", "id", "--max-pending", "25", "--skip-bad", "-p",
        "predictions.jsonl", "--save-every", "100",
    ],
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

    shown = ", ".join(f"{signal_number.name} {count}" for signal_number, count in counts.items())
    report_figure(f"{name}: {shown}, over {runs} runs")


def test_run_killed_between_its_stop_and_its_end_finishes(tmp_path):
    """The model is byte-identical to that of an uninterrupted run."""
    rows = [{"x": 1.0, "label": "a"}] * 50
    source = str(write_jsonl(tmp_path / "s.jsonl", rows))

    def start_run():
        sources = [open_source(source)]
        live = LiveModel.start(sources, lr=1.0, epsilon=0.05, seed=0)
        return live, sources

    whole, sources = start_run()
    list(learn(whole, sources, stop=True))
    whole.save(tmp_path / "whole.npz")
    live, sources = start_run()
    for result in learn(live, sources, stop=True, every=1):
        if result.stopped:
            live.save(tmp_path / "killed.npz")
            break
    again = LiveModel.load(tmp_path / "killed.npz")
    list(learn(again, [open_source(source)], stop=True))
    again.save(tmp_path / "again.npz")

    assert read_contents(tmp_path / "whole.npz") == read_contents(tmp_path / "again.npz")
