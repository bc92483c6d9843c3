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
from helpers import json_lines, state_of

from stream_perceptron import LiveModel

COLUMNS = ["width", "note", "kind", "heavy", "area", "code"]  # not in alphabetical order
LABEL = "kind"
OPTIONS = ["--label", "kind", "--weight", "heavy", "--ignore", "code", "--lr", "0.1"]


def rows(n, seed=0):
    rng = random.Random(seed)
    for _ in range(n):
        width, area = round(rng.gauss(0, 1), 3), round(rng.gauss(5, 2), 3)
        kind = "north" if width - 0.3 * area > -1.5 else "south"
        yield {
            "width": width, "note": rng.choice("uvw"), "kind": kind, "heavy": 1, "area": area,
            "code": rng.randrange(9),
        }  # fmt: skip


def as_csv(some, columns, header=True):
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows([row[name] for name in columns] for row in some)
    return sink.getvalue().encode()


def in_form(form, some):
    """Return rows without names, with or without the label."""
    columns = [name for name in COLUMNS if "without" not in form or name != LABEL]
    if form.startswith("csv"):
        return as_csv(some, columns, header=False)
    lists = [[row[name] for name in columns] for row in some]
    if form == "lists beside the label":
        others = [name for name in COLUMNS if name != LABEL]
        return json_lines({LABEL: row[LABEL], "x": [row[n] for n in others]} for row in some)
    return json_lines(lists)


@pytest.fixture(scope="module", params=["csv", "parquet", "objects"])
def trained(request, tmp_path_factory, run):
    """A model made from named columns."""
    folder = tmp_path_factory.mktemp("trained")
    source, path = folder / "s", folder / "m.npz"
    some = list(rows(300))
    if request.param == "parquet":
        pq.write_table(pa.Table.from_pylist(some), source)
    else:
        source.write_bytes(as_csv(some, COLUMNS) if request.param == "csv" else json_lines(some))
    run("learn", source, "-m", path, *OPTIONS, "--quiet", check=0)
    return path


def predictions(run, path, data):
    result = run("predict", "-m", path, input=data.decode(), check=0)
    return [json.loads(line)["prediction"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    "form",
    ["csv", "csv without", "lists", "lists without", "lists beside the label"],
)
def test_rows_without_names_mean_the_columns_of_the_first_source(form, trained, run):
    some = list(rows(100, seed=1))
    expected = predictions(run, trained, as_csv(some, COLUMNS))

    assert predictions(run, trained, in_form(form, some)) == expected
    assert set(expected) == {"north", "south"}
    assert sum(p == row[LABEL] for p, row in zip(expected, some, strict=True)) > 80


@pytest.mark.parametrize("form", ["csv", "lists"])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_another_number_of_values_is_an_error(n, form, trained, run):
    cells = ["1"] * n
    data = ",".join(cells) if form == "csv" else json.dumps([1] * n)
    result = run("predict", "-m", trained, input=data + "\n", check=1)

    assert (
        f"Error: stdin: row 1: it has {n} value{'s' * (n != 1)} without names, but the model has 6 "
        "columns, or 5 without the label 'kind'\n"
    ) == result.stderr


@pytest.mark.parametrize("form", ["csv", "lists", "lists beside the label"])
def test_rows_without_names_are_learned_as_those_with_them(form, trained, tmp_path, run):
    some = list(rows(200, seed=2))
    states = []
    for name, data in (("named", as_csv(some, COLUMNS)), ("bare", in_form(form, some))):
        path = tmp_path / f"{name}.npz"
        path.write_bytes(trained.read_bytes())
        source = tmp_path / name
        source.write_bytes(data)
        run("learn", source, "-m", path, "--quiet", check=0)
        states.append(state_of(LiveModel.load(path).model))

    assert states[0] == states[1]


def test_named_columns_in_another_order_are_read_by_name(tmp_path, run):
    """In a glob of files, positions of the label and an ignored column refer to the first."""
    some, rng = list(rows(300)), random.Random(0)
    one = tmp_path / "one.csv"
    one.write_bytes(as_csv(some, COLUMNS))
    many = []
    for i, start in enumerate(range(0, 300, 100)):
        columns = rng.sample(COLUMNS, len(COLUMNS)) if i else COLUMNS
        many.append(tmp_path / f"{i}.csv")
        many[-1].write_bytes(as_csv(some[start : start + 100], columns))
    options = ["--label", "3", "--ignore", "-1", "--weight", "4", "--lr", "0.1", "--quiet"]
    run("learn", one, "-m", tmp_path / "one.npz", *options, check=0)
    run("learn", *many, "-m", tmp_path / "many.npz", *options, check=0)
    for path in many:
        run("learn", path, "-m", tmp_path / "apart.npz", *options, check=0)
    models = [LiveModel.load(tmp_path / f"{name}.npz").model for name in ("one", "many", "apart")]

    assert state_of(models[0]) == state_of(models[1]) == state_of(models[2])
    assert models[0].features_ == ["area", "width"]
    run("verify", tmp_path / "many.npz", *many, check=0)


def test_people_see_features_in_the_order_of_the_columns(trained, tmp_path, run):
    source = tmp_path / "s.csv"
    source.write_bytes(as_csv(rows(3), COLUMNS))

    assert (
        "2 features, standardized: width, area\n" in run("learn", source, *OPTIONS, check=0).stderr
    )
    shown = run("inspect", trained, check=0).stdout
    assert re.search(r"features +2(, standardized)?: width, area\n", shown)


@pytest.mark.parametrize("form", ["csv", "arrow", "parquet"])
def test_two_columns_of_one_name_are_told_apart_by_place(form, tmp_path, run):
    source = tmp_path / "s"
    columns, cells = ["a", "b", "a", "label"], [[1, 2, 9, "x"], [2, 1, 9, "y"]]
    if form == "csv":
        source.write_bytes(("\n".join(",".join(map(str, c)) for c in [columns, *cells])).encode())
    else:
        table = pa.Table.from_arrays(
            [pa.array(part) for part in zip(*cells, strict=True)], names=columns
        )
        if form == "parquet":
            pq.write_table(table, source)
        else:
            with pa.ipc.new_file(str(source), table.schema) as writer:
                writer.write_table(table)
    refused = run("learn", source, check=1)
    path = tmp_path / "m.npz"
    run("learn", source, "--ignore", "3", "-m", path, check=0)
    other = run(
        "learn", source, "--ignore", "1", "--overwrite", "-m", path, "--trace", "1", check=0
    )

    assert (
        refused.stderr
        == f"Error: {source}: columns 1 and 3 are both called 'a': drop one with --ignore 3\n"
    )
    assert LiveModel.load(path).model.features_ == ["a", "b"]
    assert "2 features, standardized: b, a" in other.stderr


def test_an_error_about_columns_without_names_says_where(run):
    result = run("learn", "-p", "-", "--keep", "9", input="1,2,3\n4,5,6\n", check=1)

    assert "Error: stdin: there is no column '9' to keep among 'column 1', " in result.stderr
