"""`learn` standardizes tables by default, and the model keeps this setting."""

from __future__ import annotations

import inspect
import json
import random
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, contents_of, ipc, kill_after_saves, write_lines

from stream_perceptron import LiveModel, SGDPerceptron, load
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron_cli.learn import LearnOptions

NAMES = ["age", "income", "b"]


def rows_of(n, seed=0):
    rng = random.Random(seed)
    for _ in range(n):
        age, income = rng.randint(18, 90), round(rng.lognormvariate(10, 0.5), 1)
        noise = rng.gauss(0, 0.3)
        yield {
            "age": age, "income": income, "b": rng.random(),
            "label": "yes" if (age - 50) / 20 + (income - 25_000) / 10_000 + noise > 0 else "no",
        }  # fmt: skip


def write(path, rows, names=("age", "income", "b", "label"), has_header=True):
    """Write rows in the form of a file's suffix; ages are bytes in typed formats."""
    rows = list(rows)
    if path.suffix in (".parquet", ".arrow"):
        table = pa.Table.from_pylist([{name: row[name] for name in names} for row in rows])
        place = table.column_names.index("age")
        table = table.set_column(place, "age", table["age"].cast(pa.uint8()))
        if path.suffix == ".arrow":
            path.write_bytes(ipc(table))
        else:
            pq.write_table(table, path)
    elif path.suffix == ".jsonl":
        write_lines(path, rows)
    else:
        lines = [",".join(str(row[name]) for name in names) for row in rows]
        path.write_text("\n".join([",".join(names)] * has_header + lines) + "\n")
    return path


def what_was_chosen(path):
    live = LiveModel.load(path)
    return live.read_options.standardize, live.model.network.scaler is not None, live.model.lr


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".arrow"])
def test_a_table_is_standardized_in_any_form(ending, run, tmp_path):
    """Columns may have any order, and bytes are plain numbers."""
    outcomes = set()
    names = ["age", "income", "b", "label"]
    for order in (names, names[::-1], [names[2], names[0], names[3], names[1]]):
        source = write(tmp_path / f"s{ending}", rows_of(2000), order)
        path = tmp_path / "m.npz"
        told = run("learn", source, "-m", path, "--overwrite", check=0).stderr
        live = LiveModel.load(path)
        outcomes.add((live.model.weights.tobytes(), live.progress.accuracy))
        assert what_was_chosen(path) == (True, True, 0.1)
        shown = [name for name in order if name != "label"]
        assert told.startswith(f"3 features, standardized: {', '.join(shown)}\n")
        assert live.progress.accuracy > 0.9
    assert len(outcomes) == 1
    assert "StandardScaler" in repr(load(path).model)


def test_a_table_is_the_same_in_every_form(run, tmp_path):
    """A file without a header only has other names of columns."""
    found = set()
    renamed = dict(zip(("x0", "x1", "x2"), NAMES, strict=True))
    for name, has_header in (("a.csv", True), ("b.csv", False), ("c.parquet", True)):
        source = write(tmp_path / name, rows_of(500), ["label", *NAMES], has_header)
        path = tmp_path / f"{name}.npz"
        run("learn", source, "--init-range", "0", "-m", path, check=0)
        model = LiveModel.load(path).model
        features = [renamed.get(feature, feature) for feature in model.features_]
        found.add(
            tuple(sorted(zip(features, map(tuple, model.weights.T.round(9).tolist()), strict=True)))
        )

    assert len(found) == 1


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({"pixel0": 7, "pixel1": 255, "label": 1}, []),
        ({"x": [1, 2], "label": 1}, []),
        ({"age": 7, "b": 2, "label": 1}, ["--scale", "0.5"]),
        ({"age": 7, "b": 2, "label": 1}, ["--no-standardize"]),
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_what_is_not_standardized(row, options, ending, run, tmp_path):
    source, path = tmp_path / f"s{ending}", tmp_path / "m.npz"
    if ending == ".csv" and "x" in row:  # CSV has no lists
        ending, source = ".jsonl", tmp_path / "s.jsonl"
    if ending == ".csv":
        source.write_text(",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n")
    elif ending == ".jsonl":
        write_lines(source, [row])
    else:
        kinds = {k: pa.list_(pa.uint8()) if k == "x" else pa.uint8() for k in row if k != "label"}
        schema = pa.schema([*kinds.items(), ("label", pa.int64())])
        pq.write_table(pa.Table.from_pylist([row], schema), source)
    told = run("learn", source, "-m", path, *options, check=0).stderr

    assert what_was_chosen(path) == (False, False, 0.01)
    assert "features, standardized" not in told
    is_8_bit = ending == ".parquet" and not options
    assert is_8_bit == ("scaled by 1/255 (8-bit)" in told)
    if ending == ".csv" and "pixel0" in row:
        assert "--scale 1/255" in told


def test_columns_that_are_like_pixels_are_a_table(run, tmp_path):
    for name in ("pixel_0_0", "pixels1", "pixel"):
        source, path = tmp_path / "s.csv", tmp_path / "m.npz"
        source.write_text(f"{name},label\n200,1\n3,0\n")
        run("learn", source, "-m", path, "--overwrite", check=0)
        assert what_was_chosen(path) == (True, True, 0.1)


@pytest.mark.parametrize("first", ["table", "json"])
def test_the_model_goes_on_as_it_began(first, run, tmp_path):
    """It does so after kill -9, with the next source, in shards and by draws; `verify` agrees."""
    table = write(tmp_path / "a.csv", rows_of(1500))
    other = write(tmp_path / "b.jsonl", rows_of(1500, 1))
    if first == "json":
        table, other = other, table
    path, whole = tmp_path / "m.npz", tmp_path / "whole.npz"
    command = ["-m", path, "--save-every", "100", "--quiet"]
    process = subprocess.Popen([COMMAND, "learn", table, *command])
    kill_after_saves(process, path, 1, 0)
    process.wait()
    run("learn", table, *command, check=0)
    run("learn", other, *command, check=0)
    run("learn", table, "-m", whole, "--quiet", check=0)
    run("learn", other, "-m", whole, "--quiet", check=0)

    assert contents_of(path) == contents_of(whole)
    is_on = first == "table"
    assert what_was_chosen(path) == (is_on, is_on, 0.1 if is_on else 0.01)
    assert "every bit" in run("verify", path, table, other, check=0).stdout
    option = "--no-standardize" if is_on else "--standardize"
    assert "the model was made with" in run("learn", other, "-m", path, option, check=1).stderr


@pytest.mark.parametrize("name", ["epsilon", "activation", "init_range", "max_weights"])
def test_options_have_the_defaults_of_the_class(name):
    parameter = inspect.signature(SGDPerceptron).parameters[name]

    assert LearnOptions.definition_of(name).default == parameter.default


def test_the_option_max_pending_has_the_default_of_the_library():
    assert LearnOptions.definition_of("max_pending").default == ReadOptions().max_pending


def test_draws_and_sweeps_have_the_same_defaults(run, tmp_path):
    source = write(tmp_path / "a.csv", rows_of(600))
    path = tmp_path / "m.npz"
    run("learn", source, "--random", "-m", path, check=0)
    trials = json.loads(run("sweep", source, "--standardize", "on,off", "--json", check=0).stdout)
    found = {t["standardize"]: (t["lr"], t["accuracy"]) for t in trials["trials"]}
    alone = {
        name: json.loads(run("learn", source, f"--{no}standardize", "--json", check=0).stdout)
        for name, no in (("on", ""), ("off", "no-"))
    }

    assert what_was_chosen(path) == (True, True, 0.1)
    assert found == {
        "on": (0.1, alone["on"]["accuracy"]),
        "off": (0.01, alone["off"]["accuracy"]),
    }
    best = trials["command"].split()[1:]
    run(*best, cwd=tmp_path, check=0)
    assert found["on"][1] == LiveModel.load(tmp_path / "model.npz").progress.accuracy
