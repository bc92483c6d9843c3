"""Findings, and errors that depend on other processes."""

from __future__ import annotations

import random
import subprocess

import pytest
from helpers import COMMAND, write_csv


def test_runs_of_equal_labels_are_not_sorted_labels(run, tmp_path):
    """Only a file in which the rows of each label follow one another is sorted."""
    rng, rows = random.Random(0), []
    for _ in range(200):
        label = rng.choice("xyz")
        rows += [[rng.gauss(ord(label), 1), label] for _ in range(rng.randrange(5, 40))]
    source = write_csv(tmp_path / "s.csv", ["a", "label"], rows)
    assert "sorted labels" not in run("learn", source, check=0).stderr


@pytest.mark.parametrize("output", ["-p", "--rejected"])
def test_two_runs_cannot_write_to_one_file(output, run, tmp_path):
    source, path = write_csv(tmp_path / "s.csv", ["a", "label"], [[1, "x"]]), tmp_path / "out.jsonl"
    command = [COMMAND, "learn", "-", output, path, "-m", tmp_path / "m.npz", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(b"a,label\n1,x\n")
        process.stdin.flush()
        while not path.exists():
            pass
        error = run("learn", source, output, path, check=1).stderr
        process.communicate()

    assert error == f"Error: {path}: another process is writing it\n"
    assert process.returncode == 0
