"""The number of missing values depends neither on the order nor on the splitting of rows."""

from __future__ import annotations

import csv
import json
import random
from itertools import permutations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import CASE_FACTOR

from stream_perceptron import LiveModel
from stream_perceptron.data import open_source
from stream_perceptron.data.schema import ReadOptions

COLUMNS = ("a", "b", "plan", "at", "note", "text")
VALUES = {"a": (1.5, -2.0), "b": (7, 8), "plan": ("p", "q"), "at": ("2024-03-05",),
          "note": ("paid late",), "text": ("red", "blue")}  # fmt: skip
TYPES = {"a": pa.float64(), "b": pa.int64()}
READ_OPTIONS = ReadOptions(one_hot=("plan",), dates=("at",), words=("note",))


def write_source(path, rows):
    if path.suffix == ".csv":
        with path.open("w") as file:
            writer = csv.DictWriter(file, [*COLUMNS, "label"])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        data = {
            column: pa.array([row[column] for row in rows], TYPES.get(column, pa.string()))
            for column in COLUMNS
        }
        pq.write_table(pa.table(data | {"label": [row["label"] for row in rows]}), path)
    return open_source(str(path))


def count_missing(source, read_options=READ_OPTIONS, limits=(None,)):
    """Learn a source in a run up to each limit; return the number of missing values."""
    live = LiveModel.start([source], read_options, seed=0)
    for limit in limits:
        cursor = live.resume([source])
        for _ in live.run([source], cursor, limit=limit):
            pass
    return live.progress.missing


@pytest.mark.parametrize("rows", list(permutations(["1,,x", "2,p,y", "3,,x"])))
def test_null_one_hot_cells_are_counted_in_any_order(rows, tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["a,plan,label", *rows, ""]))

    assert count_missing(open_source(str(path)), ReadOptions(one_hot=("plan",))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_splitting_or_shuffling_rows_does_not_change_the_null_count(form, tmp_path):
    rng = random.Random(form)
    for number in range(40 * CASE_FACTOR):
        share = rng.choice([0.1, 0.5, 0.9])
        rows = [
            {
                column: None if rng.random() < share else rng.choice(VALUES[column])
                for column in COLUMNS
            }
            | {"label": rng.choice("xy")}
            for _ in range(rng.randrange(1, 30))
        ]
        # A row without features is rejected, and nulls of an untyped column are not counted.
        rows.append({column: VALUES[column][0] for column in COLUMNS} | {"label": "x"})
        expected = sum(
            row[column] is None for row in rows for column in COLUMNS if column != "text"
        )
        rng.shuffle(rows)
        source = write_source(tmp_path / f"{number}.{form}", rows)
        limits = sorted(rng.sample(range(1, len(rows) + 1), min(3, len(rows))))

        assert count_missing(source) == expected
        assert count_missing(source, limits=(*limits, None)) == expected


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_nulls_of_an_untyped_column_are_not_counted(form, tmp_path):
    rows = [dict.fromkeys(COLUMNS) | {"a": 1.5, "label": "x"} for _ in range(3)]

    assert count_missing(write_source(tmp_path / f"s.{form}", rows), ReadOptions()) == 0
