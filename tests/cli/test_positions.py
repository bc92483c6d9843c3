"""Columns in another order."""

from __future__ import annotations

import csv
import io
import random

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
    samples, rng = list(draw_rows(300)), random.Random(0)
    whole_file = tmp_path / "one.csv"
    whole_file.write_bytes(encode_csv(samples, COLUMNS))
    split_files = []
    for i, start in enumerate(range(0, 300, 100)):
        columns = rng.sample(COLUMNS, len(COLUMNS)) if i else COLUMNS
        split_files.append(tmp_path / f"{i}.csv")
        split_files[-1].write_bytes(encode_csv(samples[start : start + 100], columns))
    options = ["--label", "3", "--ignore", "CODE,note", "--weight", "Heavy", "--quiet"]
    run("learn", whole_file, "-m", tmp_path / "one.npz", *options, check=0)
    run("learn", *split_files, "-m", tmp_path / "many.npz", *options, check=0)
    for path in split_files:
        run("learn", path, "-m", tmp_path / "apart.npz", *options, check=0)
    models = [LiveModel.load(tmp_path / f"{name}.npz").model for name in ("one", "many", "apart")]

    assert capture_state(models[0]) == capture_state(models[1]) == capture_state(models[2])
    assert models[0].features_ == ["width", "area"]
    run("verify", tmp_path / "many.npz", *split_files, check=0)
