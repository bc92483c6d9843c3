"""`learn` standardizes tables by default, and the model keeps the setting."""

from __future__ import annotations

import inspect
import json
import random
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, encode_ipc, kill_after_saves, read_contents, write_jsonl

from stream_perceptron import LiveModel, SGDPerceptron, load
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron_cli.learn import LearnOptions

NAMES = ["age", "income", "b"]


def generate_rows(n, seed=0):
    rng = random.Random(seed)
    for _ in range(n):
        age, income = rng.randint(18, 90), round(rng.lognormvariate(10, 0.5), 1)
        noise = rng.gauss(0, 0.3)
        yield {
            "age": age, "income": income, "b": rng.random(),
            "label": "yes" if (age - 50) / 20 + (income - 25_000) / 10_000 + noise > 0 else "no",
        }  # fmt: skip


def write_table(path, rows, names=("age", "income", "b", "label"), has_header=True):
    """Write rows in the format of the file's suffix; typed formats store ages as bytes."""
    rows = list(rows)
    if path.suffix in (".parquet", ".arrow"):
        table = pa.Table.from_pylist([{name: row[name] for name in names} for row in rows])
        index = table.column_names.index("age")
        table = table.set_column(index, "age", table["age"].cast(pa.uint8()))
        if path.suffix == ".arrow":
            path.write_bytes(encode_ipc(table))
        else:
            pq.write_table(table, path)
    elif path.suffix == ".jsonl":
        write_jsonl(path, rows)
    else:
        lines = [",".join(str(row[name]) for name in names) for row in rows]
        path.write_text("\n".join([",".join(names)] * has_header + lines) + "\n")
    return path


def read_chosen_settings(path):
    """Return the option, whether the model has a scaler, and lr."""
    live = LiveModel.load(path)
    return live.read_options.standardize, live.model.network.scaler is not None, live.model.lr


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
def test_tables_are_standardized_in_every_format_and_column_order(suffix, run, tmp_path):
    """Bytes in columns of a table are numbers like any other."""
    outcomes = set()
    names = ["age", "income", "b", "label"]
    for order in (names, names[::-1], [names[2], names[0], names[3], names[1]]):
        source = write_table(tmp_path / f"s{suffix}", generate_rows(2000), order)
        path = tmp_path / "m.npz"
        stderr = run("learn", source, "-m", path, "--overwrite", check=0).stderr
        live = LiveModel.load(path)
        outcomes.add((live.model.weights.tobytes(), live.progress.accuracy))
        assert read_chosen_settings(path) == (True, True, 0.1)
        expected_order = [name for name in order if name != "label"]
        assert stderr.startswith(f"3 features, standardized: {', '.join(expected_order)}\n")
        assert live.progress.accuracy > 0.9
    assert len(outcomes) == 1
    assert "StandardScaler" in repr(load(path).model)


def test_csv_and_parquet_give_the_same_model_with_or_without_header(run, tmp_path):
    """Without a header, only the names of the columns differ."""
    models = set()
    renamed = dict(zip(("x0", "x1", "x2"), NAMES, strict=True))
    for name, has_header in (("a.csv", True), ("b.csv", False), ("c.parquet", True)):
        source = write_table(tmp_path / name, generate_rows(500), ["label", *NAMES], has_header)
        path = tmp_path / f"{name}.npz"
        run("learn", source, "--init-range", "0", "-m", path, check=0)
        model = LiveModel.load(path).model
        features = [renamed.get(feature, feature) for feature in model.features_]
        models.add(
            tuple(sorted(zip(features, map(tuple, model.weights.T.round(9).tolist()), strict=True)))
        )

    assert len(models) == 1


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({"pixel0": 7, "pixel1": 255, "label": 1}, []),
        ({"x": [1, 2], "label": 1}, []),
        ({"age": 7, "b": 2, "label": 1}, ["--scale", "0.5"]),
        ({"age": 7, "b": 2, "label": 1}, ["--no-standardize"]),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_pixels_lists_and_scaled_columns_are_not_standardized(row, options, suffix, run, tmp_path):
    source, path = tmp_path / f"s{suffix}", tmp_path / "m.npz"
    if suffix == ".csv" and "x" in row:  # CSV has no lists
        suffix, source = ".jsonl", tmp_path / "s.jsonl"
    if suffix == ".csv":
        source.write_text(",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n")
    elif suffix == ".jsonl":
        write_jsonl(source, [row])
    else:
        kinds = {k: pa.list_(pa.uint8()) if k == "x" else pa.uint8() for k in row if k != "label"}
        schema = pa.schema([*kinds.items(), ("label", pa.int64())])
        pq.write_table(pa.Table.from_pylist([row], schema), source)
    stderr = run("learn", source, "-m", path, *options, check=0).stderr

    assert read_chosen_settings(path) == (False, False, 0.01)
    assert "features, standardized" not in stderr
    is_8_bit = suffix == ".parquet" and not options
    assert is_8_bit == ("scaled by 1/255 (8-bit)" in stderr)
    if suffix == ".csv" and "pixel0" in row:
        assert "--scale 1/255" in stderr


def test_columns_named_almost_like_pixels_are_standardized(run, tmp_path):
    for name in ("pixel_0_0", "pixels1", "pixel"):
        source, path = tmp_path / "s.csv", tmp_path / "m.npz"
        source.write_text(f"{name},label\n200,1\n3,0\n")
        run("learn", source, "-m", path, "--overwrite", check=0)
        assert read_chosen_settings(path) == (True, True, 0.1)


@pytest.mark.parametrize("first", ["table", "json"])
def test_model_keeps_its_standardization_setting(first, run, tmp_path):
    """The setting survives kill -9 and applies to the next source; `verify` agrees."""
    table = write_table(tmp_path / "a.csv", generate_rows(1500))
    next_source = write_table(tmp_path / "b.jsonl", generate_rows(1500, 1))
    if first == "json":
        table, next_source = next_source, table
    path, whole = tmp_path / "m.npz", tmp_path / "whole.npz"
    command = ["-m", path, "--save-every", "100", "--quiet"]
    process = subprocess.Popen([COMMAND, "learn", table, *command])
    kill_after_saves(process, path, 1, 0)
    process.wait()
    run("learn", table, *command, check=0)
    run("learn", next_source, *command, check=0)
    run("learn", table, "-m", whole, "--quiet", check=0)
    run("learn", next_source, "-m", whole, "--quiet", check=0)

    assert read_contents(path) == read_contents(whole)
    is_on = first == "table"
    assert read_chosen_settings(path) == (is_on, is_on, 0.1 if is_on else 0.01)
    assert "every bit" in run("verify", path, table, next_source, check=0).stdout
    option = "--no-standardize" if is_on else "--standardize"
    assert (
        "the model was made with" in run("learn", next_source, "-m", path, option, check=1).stderr
    )


@pytest.mark.parametrize("name", ["epsilon", "activation", "init_range", "max_weights"])
def test_options_have_the_defaults_of_sgd_perceptron(name):
    parameter = inspect.signature(SGDPerceptron).parameters[name]

    assert LearnOptions.definition_of(name).default == parameter.default


def test_max_pending_has_the_default_of_read_options():
    assert LearnOptions.definition_of("max_pending").default == ReadOptions().max_pending


def test_random_draws_and_sweeps_use_the_same_defaults(run, tmp_path):
    source = write_table(tmp_path / "a.csv", generate_rows(600))
    path = tmp_path / "m.npz"
    run("learn", source, "--random", "-m", path, check=0)
    trials = json.loads(run("sweep", source, "--standardize", "on,off", "--json", check=0).stdout)
    results_by_setting = {t["standardize"]: (t["lr"], t["accuracy"]) for t in trials["trials"]}
    separate_runs = {
        name: json.loads(run("learn", source, f"--{no}standardize", "--json", check=0).stdout)
        for name, no in (("on", ""), ("off", "no-"))
    }

    assert read_chosen_settings(path) == (True, True, 0.1)
    assert results_by_setting == {
        "on": (0.1, separate_runs["on"]["accuracy"]),
        "off": (0.01, separate_runs["off"]["accuracy"]),
    }
    best = trials["command"].split()[1:]
    run(*best, cwd=tmp_path, check=0)
    assert results_by_setting["on"][1] == LiveModel.load(tmp_path / "model.npz").progress.accuracy
