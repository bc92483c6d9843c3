"""A run that is killed at any moment and restarted ends bit-identical to an uninterrupted run."""

from __future__ import annotations

import random
import subprocess

import pytest
from helpers import CASE_FACTOR, COMMAND, read_outputs, run_under_kills, write_jsonl

from stream_perceptron import LiveModel

SCENARIOS = {
    # The options, and the minimum number of kills.
    "in order": ([], 6),
    "at random": (["--random"], 2),
    "three passes with a limit": (["--passes", "3", "--limit", "130000"], 2),
    "until the stop": (["--random", "--stop", "--epsilon", "1e-5"], 2),
    "a table": (["--one-hot", "colour"], 2),
    "JSON objects": (["--one-hot", "colour"], 2),
}


def learn_command(folder, source, options):
    return [
        COMMAND, "learn", source, "-m", folder / "model.npz", "--save-every", "500",
        "-p", folder / "predictions.jsonl", "--quiet", *options,
    ]  # fmt: skip


def write_table(path):
    """Write a table of texts, nulls, numbers and an indicator that gets other values late."""
    rng, rows = random.Random(0), []
    for i in range(20_000):
        color, a = rng.choice(["red", "green", "blue"]), round(rng.gauss(50, 20), 2)
        b = None if rng.random() < 0.1 else round(rng.gauss(0, 0.1), 3)
        label = "high" if a > 60 or color == "red" else "low"
        rows.append({"colour": color, "a": a, "b": b, "c": rng.randrange(2 + i // 9000)})
        if path.suffix == ".jsonl" and i > 5000:
            rows[-1]["late"] = rng.randrange(2)
        rows[-1]["label"] = label
    if path.suffix == ".jsonl":
        return write_jsonl(path, rows)
    lines = [
        ",".join("" if value is None else str(value) for value in row.values()) for row in rows
    ]
    path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name if name in ("in order", "a table") else pytest.param(name, marks=pytest.mark.nightly)
        for name in SCENARIOS
    ],
)
def test_run_killed_at_random_moments_ends_bit_identical(
    name, mnist_files, tmp_path, report_figure
):
    options, min_kills = SCENARIOS[name]
    min_kills *= CASE_FACTOR
    reference = tmp_path / "reference"
    reference.mkdir()
    tables = {"a table": "table.csv", "JSON objects": "table.jsonl"}
    source = write_table(tmp_path / tables[name]) if name in tables else mnist_files["train"]
    subprocess.run(learn_command(reference, source, options), check=True)
    expected = read_outputs(reference)
    rows = LiveModel.load(reference / "model.npz").progress.rows

    kills, outcomes = run_under_kills(
        lambda folder: learn_command(folder, source, options), [0, 1, 10, 40], min_kills, tmp_path
    )

    report_figure(
        f"{name}: {kills} kills over {len(outcomes)} runs of {rows:,} rows, all bit-identical"
    )
    assert kills >= min_kills
    assert all(outcome == expected for outcome in outcomes)
    assert rows == expected[1].count(b"\n")
