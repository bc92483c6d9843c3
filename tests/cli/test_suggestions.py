"""Findings, and errors that depend on other processes and on the terminal."""

from __future__ import annotations

import random
import re
import subprocess

import pytest
from helpers import COMMAND, write_csv


def test_runs_of_equal_labels_are_not_sorted_labels(run, tmp_path):
    """Only a file in which the rows of each label follow one another is sorted."""
    rng, rows = random.Random(0), []
    for _ in range(200):
        label = rng.choice("xyz")
        rows += [[rng.gauss(ord(label), 1), label] for _ in range(rng.randrange(5, 40))]
    for is_sorted in (False, True):
        rows = sorted(rows, key=lambda row: row[1]) if is_sorted else rows
        source = write_csv(tmp_path / f"{is_sorted}.csv", ["a", "label"], rows)
        assert ("sorted labels" in run("learn", source, check=0).stderr) == is_sorted


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


def test_labels_error_replaces_the_live_line(run_on_terminal, tmp_path):
    source = tmp_path / "prices.csv"
    rows = [f"{i % 7},{i * 1.37 + 0.5:.2f}" for i in range(600)]
    source.write_text("\n".join(["rooms,price", *rows]) + "\n")
    output = run_on_terminal("learn", source, "--label", "price", code=1, NO_COLOR="1")

    assert "the labels are not classes" in " ".join(output.split())
    assert re.search(r"(\n|\x1b\[K)Error:", output)
