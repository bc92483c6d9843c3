"""Columns by position: rows without names, other orders, and duplicate names."""

from __future__ import annotations

import csv
import io
import json
import random
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import capture_state, encode_jsonl

from stream_perceptron import LiveModel

COLUMNS = ["width", "note", "kind", "heavy", "area", "code"]  # not in alphabetical order
LABEL = "kind"
OPTIONS = ["--label", "kind", "--weight", "heavy", "--ignore", "code", "--lr", "0.1"]


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


@pytest.fixture(scope="module", params=["csv", "parquet", "objects"])
def model_path(request, tmp_path_factory, run):
    """A model that was trained on named columns."""
    folder = tmp_path_factory.mktemp("trained")
    source, path = folder / "s", folder / "m.npz"
    samples = list(draw_rows(300))
    if request.param == "parquet":
        pq.write_table(pa.Table.from_pylist(samples), source)
    else:
        is_csv = request.param == "csv"
        source.write_bytes(encode_csv(samples, COLUMNS) if is_csv else encode_jsonl(samples))
    run("learn", source, "-m", path, *OPTIONS, "--quiet", check=0)
    return path


def predict_rows(run, path, data):
    result = run("predict", "-m", path, input=data.decode(), check=0)
    return [json.loads(line)["prediction"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize("has_label", [True, False])
def test_rows_without_names_have_the_columns_of_the_first_source(has_label, model_path, run):
    samples = list(draw_rows(100, seed=1))
    expected = predict_rows(run, model_path, encode_csv(samples, COLUMNS))

    columns = [name for name in COLUMNS if has_label or name != LABEL]
    unnamed = encode_csv(samples, columns, header=False)
    assert predict_rows(run, model_path, unnamed) == expected
    assert set(expected) == {"north", "south"}
    assert sum(p == row[LABEL] for p, row in zip(expected, samples, strict=True)) > 80


@pytest.mark.parametrize("n", [1, 4, 7])
def test_wrong_number_of_unnamed_values_is_an_error(n, model_path, run):
    result = run("predict", "-m", model_path, input=",".join("1" * n) + "\n", check=1)

    assert (
        f"Error: stdin: row 1: it has {n} value{'s' * (n != 1)} without names, but the model has 6 "
        "columns, or 5 without the label 'kind'\n"
    ) == result.stderr


def test_rows_without_names_are_learned_like_named_rows(model_path, tmp_path, run):
    samples = list(draw_rows(200, seed=2))
    states = []
    named, unnamed = encode_csv(samples, COLUMNS), encode_csv(samples, COLUMNS, False)
    for name, data in (("named", named), ("bare", unnamed)):
        path = tmp_path / f"{name}.npz"
        path.write_bytes(model_path.read_bytes())
        source = tmp_path / name
        source.write_bytes(data)
        run("learn", source, "-m", path, "--quiet", check=0)
        states.append(capture_state(LiveModel.load(path).model))

    assert states[0] == states[1]


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


def test_features_are_listed_in_column_order(model_path, tmp_path, run):
    source = tmp_path / "s.csv"
    source.write_bytes(encode_csv(draw_rows(3), COLUMNS))

    assert (
        "2 features, standardized: width, area\n" in run("learn", source, *OPTIONS, check=0).stderr
    )
    shown = run("inspect", model_path, check=0).stdout
    assert re.search(r"features +2(, standardized)?: width, area\n", shown)


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


def test_error_about_unnamed_columns_names_the_source(run):
    result = run("learn", "-p", "-", "--keep", "9", input="1,2,3\n4,5,6\n", check=1)

    assert "Error: stdin: there is no column '9' to keep among 'column 1', " in result.stderr
