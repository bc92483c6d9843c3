"""Killed at any moment and started again, a run ends in the bits of one that was not."""

from __future__ import annotations

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import COMMAND, outcome_in

from stream_perceptron import LiveModel

SCENARIOS = {
    # Options, kills, and the longest time before a kill in seconds.
    "in order": ([], 60, 2.6),
    "at random": (["--random"], 12, 3.0),
    "three passes with a limit": (["--passes", "3", "--limit", "130000"], 12, 5.0),
    "until the stop": (["--random", "--stop", "--epsilon", "1e-5"], 12, 3.0),
}
LANES = 2  # at once, as there are two cores


def learn(folder, digits, options):
    return [
        COMMAND, "learn", digits["train"], "-m", folder / "model.npz", "--save-every", "500",
        "-p", folder / "predictions.jsonl", "--quiet", *options,
    ]  # fmt: skip


def run_until_done(folder, digits, options, longest, rng):
    """Start and kill until a run ends by itself; return the number of kills."""
    folder.mkdir()
    kills = 0
    while True:
        process = subprocess.Popen(learn(folder, digits, options), stderr=subprocess.PIPE)
        try:
            process.wait(rng.uniform(0, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        errors = process.communicate()[1]
        assert process.returncode in (0, -9), errors
        if process.returncode == 0:
            return kills


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_kill_9_at_random_moments(name, digits, tmp_path, tell):
    options, wanted, longest = SCENARIOS[name]
    reference = tmp_path / "reference"
    reference.mkdir()
    subprocess.run(learn(reference, digits, options), check=True)
    expected = outcome_in(reference)
    rows = LiveModel.load(reference / "model.npz").progress.rows

    def lane(number):
        rng = random.Random(number)
        kills = runs = 0
        while kills < wanted / LANES:
            folder = tmp_path / f"{number}-{runs}"
            kills += run_until_done(folder, digits, options, longest, rng)
            runs += 1
            assert expected == outcome_in(folder)
            assert not list(folder.glob(".*.tmp"))
        return kills, runs

    with ThreadPoolExecutor(LANES) as pool:
        lanes = list(pool.map(lane, range(LANES)))
    kills, runs = (sum(counts) for counts in zip(*lanes, strict=True))
    lines = expected[1].count(b"\n")

    tell(f"{name}: {kills} kills over {runs} runs of {rows:,} rows, all ended alike")
    assert kills >= wanted
    assert rows == lines
