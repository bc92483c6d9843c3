"""A run that is killed at any moment and restarted ends bit-identical to an uninterrupted run."""

from __future__ import annotations

import random
import subprocess

import pytest
from helpers import COMMAND, TIMES, kill_runs, outcome_in

from stream_perceptron import LiveModel

SCENARIOS = {
    # Options, and the required number of kills.
    "in order": ([], 6),
    "at random": (["--random"], 2),
    "three passes with a limit": (["--passes", "3", "--limit", "130000"], 2),
    "until the stop": (["--random", "--stop", "--epsilon", "1e-5"], 2),
    "a table": (["--standardize", "--one-hot", "colour", "--lr", "0.1"], 2),
}


def learn(folder, source, options):
    return [
        COMMAND, "learn", source, "-m", folder / "model.npz", "--save-every", "500",
        "-p", folder / "predictions.jsonl", "--quiet", *options,
    ]  # fmt: skip


def table(path):
    """Write a table of texts, blanks and numbers; return its path."""
    rng = random.Random(0)
    lines = ["colour,a,b,label"]
    for _ in range(20_000):
        colour, a = rng.choice(["red", "green", "blue"]), rng.gauss(50, 20)
        b = "" if rng.random() < 0.1 else f"{rng.gauss(0, 0.1):.3f}"
        lines.append(f"{colour},{a:.2f},{b},{'high' if a > 60 or colour == 'red' else 'low'}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_kill_9_at_random_moments(name, digits, tmp_path, tell):
    options, wanted = SCENARIOS[name]
    wanted *= TIMES
    reference = tmp_path / "reference"
    reference.mkdir()
    source = table(tmp_path / "table.csv") if name == "a table" else digits["train"]
    subprocess.run(learn(reference, source, options), check=True)
    expected = outcome_in(reference)
    rows = LiveModel.load(reference / "model.npz").progress.rows

    kills, outcomes = kill_runs(
        lambda folder: learn(folder, source, options), [0, 1, 10, 40], wanted, tmp_path
    )

    tell(f"{name}: {kills} kills over {len(outcomes)} runs of {rows:,} rows, all ended alike")
    assert kills >= wanted
    assert all(outcome == expected for outcome in outcomes)
    assert rows == expected[1].count(b"\n")
