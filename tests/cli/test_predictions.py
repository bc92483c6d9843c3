"""Predictions for other programs: passthrough columns, all scores, and CSV."""

from __future__ import annotations

import csv
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import capture_state

from stream_perceptron import LiveModel

ROWS = [
    {
        "id": f'n{i}, "{i}"' if i % 3 else f"n{i}",
        "a": i % 7 / 4,
        "b": (i * i) % 5,
        "y": "LR"[i % 2],
    }
    for i in range(1500)
]


def write_rows(path, rows=ROWS):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return path


def parse_json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_csv_and_json_have_the_same_predictions(run, tmp_path):
    source = write_rows(tmp_path / "s.jsonl")
    model = tmp_path / "m.npz"
    run("learn", source, "-m", model, "--label", "y", "--ignore", "id", check=0)
    args = ["predict", source, "-m", model, "--keep", "id", "--scores"]
    run(*args, "-p", tmp_path / "p.csv", check=0)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = parse_json_lines(run(*args, check=0).stdout)
    piped = run(*args, "--output-format", "csv", check=0).stdout

    assert piped == (tmp_path / "p.csv").read_text()
    assert len(ROWS) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        scores = {label: float(row.pop(f"score of {label}")) for label in "LR"}
        assert line.pop("scores") == scores
        assert math.isclose(1.0, sum(scores.values()))
        assert scores[line["prediction"]] == line["score"] == max(scores.values())
        assert {name: str(value) for name, value in line.items()} == row


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_keep_copies_columns_without_changing_the_model(suffix, tmp_path, run):
    """Features, label and weight may be kept; the model and its predictions stay the same."""
    rows = [row | {"w": 1 + i % 2} for i, row in enumerate(ROWS)]
    source = write_rows(tmp_path / f"s{suffix}", rows)
    outputs, models = [], []
    for keep in ([], ["--keep", "a,y,w,id"]):
        path, file = tmp_path / f"{len(keep)}.npz", tmp_path / "p.jsonl"
        options = ["--label", "y", "--weight", "w", "--ignore", "id"]
        run("learn", source, "-m", path, "-p", file, *options, *keep, "--quiet", check=0)
        outputs.append(list(map(json.loads, file.read_text().splitlines())))
        outputs.append(
            list(map(json.loads, run("predict", source, "-m", path, *keep).stdout.splitlines()))
        )
        models.append(LiveModel.load(path).model)

    assert capture_state(models[0]) == capture_state(models[1])
    assert models[0].features_ == ["a", "b"]
    for before, kept in zip(outputs[:2], outputs[2:], strict=True):
        assert kept == [row | plain for row, plain in zip(kept, before, strict=True)]
        copied = [{name: row[name] for name in ("a", "y", "w", "id")} for row in kept]
        expected = [{name: row[name] for name in ("a", "y", "w", "id")} for row in rows]
        texts = [{name: str(value) for name, value in row.items()} for row in expected]
        assert copied == (texts if suffix == ".csv" else expected)
