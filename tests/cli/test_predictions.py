"""Predictions for other programs: passthrough columns, all scores, and CSV."""

from __future__ import annotations

import csv
import json
import math

from helpers import write_jsonl

ROWS = [
    {
        "id": f'n{i}, "{i}"' if i % 3 else f"n{i}",
        "a": i % 7 / 4,
        "b": (i * i) % 5,
        "y": "LR"[i % 2],
    }
    for i in range(1500)
]


def test_csv_and_json_have_the_same_predictions(run, tmp_path):
    source = write_jsonl(tmp_path / "s.jsonl", ROWS)
    model = tmp_path / "m.npz"
    run("learn", source, "-m", model, "--label", "y", "--ignore", "id", check=0)
    args = ["predict", source, "-m", model, "--keep", "id", "--scores"]
    run(*args, "-p", tmp_path / "p.csv", check=0)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = map(json.loads, run(*args, check=0).stdout.splitlines())
    piped = run(*args, "--output-format", "csv", check=0).stdout

    assert piped == (tmp_path / "p.csv").read_text()
    assert len(ROWS) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        scores = {label: float(row.pop(f"score of {label}")) for label in "LR"}
        assert line.pop("scores") == scores
        assert math.isclose(1.0, sum(scores.values()))
        assert scores[line["prediction"]] == line["score"] == max(scores.values())
        assert {name: str(value) for name, value in line.items()} == row
