"""A run that is killed at any moment and restarted ends bit-identical to an uninterrupted run."""

from __future__ import annotations

import random
import subprocess

import pytest
from helpers import CASE_FACTOR, COMMAND, read_outputs, run_under_kills

from stream_perceptron import LiveModel

SCENARIOS = {
    # The options, and the minimum number of kills.
    "in order": ([], 6),
    "at random": (["--random"], 2),
    "three passes with a limit": (["--passes", "3", "--limit", "130000"], 2),
    "until the stop": (["--random", "--stop", "--epsilon", "1e-5"], 2),
    "a table": (["--standardize", "--one-hot", "colour", "--lr", "0.1"], 2),
}


def learn_command(folder, source, options):
    return [
        COMMAND, "learn", source, "-m", folder / "model.npz", "--save-every", "500",
        "-p", folder / "predictions.jsonl", "--quiet", *options,
    ]  # fmt: skip


def write_table(path):
    """Write a table of texts, nulls and numbers; return its path."""
    rng = random.Random(0)
    lines = ["colour,a,b,label"]
    for _ in range(20_000):
        color, a = rng.choice(["red", "green", "blue"]), rng.gauss(50, 20)
        b = "" if rng.random() < 0.1 else f"{rng.gauss(0, 0.1):.3f}"
        lines.append(f"{color},{a:.2f},{b},{'high' if a > 60 or color == 'red' else 'low'}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_run_killed_at_random_moments_ends_bit_identical(
    name, mnist_files, tmp_path, report_figure
):
    options, min_kills = SCENARIOS[name]
    min_kills *= CASE_FACTOR
    reference = tmp_path / "reference"
    reference.mkdir()
    source = write_table(tmp_path / "table.csv") if name == "a table" else mnist_files["train"]
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
