"""Columns by position: rows without names, other orders, and duplicate names."""

from __future__ import annotations

import csv
import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import capture_state

from stream_perceptron import LiveModel

COLUMNS = ["width", "note", "kind", "heavy", "area", "code"]  # not in alphabetical order


def draw_rows(n, seed=0):
    rng = random.Random(seed)
    for _ in range(n):
        width, area = round(rng.gauss(0, 1), 3), round(rng.gauss(5, 2), 3)
        kind = "north" if width - 0.3 * area > -1.5 else "south"
        yield {
            "width": width, "note": rng.choice("uvw"), "kind": kind, "heavy": 1, "area": area,
            "code": rng.randrange(9),
        }  # fmt: skip


def encode_csv(samples, columns, header=True):
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows([row[name] for name in columns] for row in samples)
    return sink.getvalue().encode()


def test_named_columns_in_another_order_are_read_by_name(tmp_path, run):
    """Positions in options refer to the columns of the first file."""
    samples, rng = list(draw_rows(300)), random.Random(0)
    whole_file = tmp_path / "one.csv"
    whole_file.write_bytes(encode_csv(samples, COLUMNS))
    split_files = []
    for i, start in enumerate(range(0, 300, 100)):
        columns = rng.sample(COLUMNS, len(COLUMNS)) if i else COLUMNS
        split_files.append(tmp_path / f"{i}.csv")
        split_files[-1].write_bytes(encode_csv(samples[start : start + 100], columns))
    options = ["--label", "3", "--ignore", "-1", "--weight", "4", "--lr", "0.1", "--quiet"]
    run("learn", whole_file, "-m", tmp_path / "one.npz", *options, check=0)
    run("learn", *split_files, "-m", tmp_path / "many.npz", *options, check=0)
    for path in split_files:
        run("learn", path, "-m", tmp_path / "apart.npz", *options, check=0)
    models = [LiveModel.load(tmp_path / f"{name}.npz").model for name in ("one", "many", "apart")]

    assert capture_state(models[0]) == capture_state(models[1]) == capture_state(models[2])
    assert models[0].features_ == ["width", "area"]
    run("verify", tmp_path / "many.npz", *split_files, check=0)


@pytest.mark.parametrize("form", ["csv", "arrow", "parquet"])
def test_duplicate_column_names_are_distinguished_by_position(form, tmp_path, run):
    source = tmp_path / "s"
    columns, cells = ["a", "b", "a", "label"], [[1, 2, 9, "x"], [2, 1, 9, "y"]]
    if form == "csv":
        source.write_bytes(("\n".join(",".join(map(str, c)) for c in [columns, *cells])).encode())
    else:
        table = pa.Table.from_arrays(
            [pa.array(column) for column in zip(*cells, strict=True)], names=columns
        )
        if form == "parquet":
            pq.write_table(table, source)
        else:
            with pa.ipc.new_file(str(source), table.schema) as writer:
                writer.write_table(table)
    result = run("learn", source, check=1)
    path = tmp_path / "m.npz"
    run("learn", source, "--ignore", "3", "-m", path, check=0)
    retrained = run(
        "learn", source, "--ignore", "1", "--overwrite", "-m", path, "--trace", "1", check=0
    )

    assert (
        result.stderr
        == f"Error: {source}: columns 1 and 3 are both called 'a'; to drop one:\n  --ignore 3\n"
    )
    assert LiveModel.load(path).model.features_ == ["b", "a"]
    assert "2 features, standardized: b, a" in retrained.stderr
