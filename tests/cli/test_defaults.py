"""`learn` standardizes tables and JSON objects by default, and scales pixels."""

from __future__ import annotations

import inspect
import json
import random
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import (
    COMMAND,
    capture_state,
    encode_ipc,
    kill_after_saves,
    read_contents,
    write_jsonl,
)

from stream_perceptron import LiveModel, SGDPerceptron, load, save, stream
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron_cli.learn import learn

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


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow", ".jsonl"])
def test_tables_are_standardized_in_every_format_and_column_order(suffix, run, tmp_path):
    """Bytes in columns of a table are numbers like any other."""
    outcomes = set()
    names = ["age", "income", "b", "label"]
    for order in (names, names[::-1], [names[2], names[0], names[3], names[1]]):
        source = write_table(tmp_path / f"s{suffix}", generate_rows(2000), order)
        path = tmp_path / "m.npz"
        stderr = run("learn", source, "-m", path, "--overwrite", check=0).stderr
        live = LiveModel.load(path)
        weights = zip(live.model.features_, live.model.weights.T.round(9).tolist(), strict=True)
        outcomes.add((repr(sorted(weights)), live.progress.accuracy))
        assert read_chosen_settings(path) == (True, True, 0.1)
        expected_order = [name for name in order if name != "label"]
        if suffix != ".jsonl":  # keys have no order
            assert stderr.startswith(f"3 features, standardized: {', '.join(expected_order)}\n")
        assert live.progress.accuracy > 0.9
    assert len(outcomes) == 1
    assert list(load(path).model.steps) == ["Standardizer", "SGDPerceptron"]


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


PIXELS = [[0, 7, 255], [3, 0, 128], [0, 0, 1], [90, 91, 92]] * 30


def write_pixels(path, form):
    """Write rows of pixels; `form` is that of their features, then the format."""
    labels, (features, _, kind) = [i % 2 for i in range(len(PIXELS))], form.partition(" ")
    names = [f"pixel{i}" for i in range(3)]
    if kind == "csv":
        lines = [",".join(map(str, [*x, y])) for x, y in zip(PIXELS, labels, strict=True)]
        path.write_text("\n".join([",".join([*names, "label"]), *lines]) + "\n")
        return
    if features == "columns":
        rows = [dict(zip(names, x, strict=True)) for x in PIXELS]
    else:
        rows = [{features: x} for x in PIXELS]
    rows = [row | {"label": y} for row, y in zip(rows, labels, strict=True)]
    if kind == "json":
        write_jsonl(path, rows)
        return
    table = pa.Table.from_pylist(rows)
    if "bytes" in kind and features == "columns":
        table = table.cast(
            pa.schema([*((name, pa.uint8()) for name in names), table.field("label")])
        )
    elif "bytes" in kind:
        table = table.set_column(0, features, table[features].cast(pa.list_(pa.uint8())))
    if "parquet" in kind:
        pq.write_table(table, path)
    else:
        path.write_bytes(encode_ipc(table))


@pytest.mark.parametrize("way", ["file", "pipe"])
def test_pixels_are_scaled_in_every_form_with_the_same_bits(way, run, tmp_path):
    forms = ["columns csv", "columns json", "pixels json", "image json", "columns parquet",
             "pixels parquet", "pixel parquet", "pixels arrow", "columns arrow",
             "pixels parquet of bytes", "columns arrow of bytes"]  # fmt: skip
    outcomes = set()
    for form in forms:
        source, path = tmp_path / "s", tmp_path / "m.npz"
        write_pixels(source, form)
        with source.open("rb") as file:
            command = [COMMAND, "learn", *([source] if way == "file" else []), "-m", path]
            command += ["--overwrite", "--init-range", "0.03"]
            result = subprocess.run(command, stdin=file, stderr=subprocess.PIPE, check=True)
        first_line = result.stderr.decode().splitlines()[0]
        assert ", scaled by 1/255: pixel0, pixel1, pixel2" in first_line, form
        live = LiveModel.load(path)
        assert (live.read_options.scale, live.model.lr) == (1 / 255, 0.01)
        outcomes.add(live.model.weights.tobytes())
        predicted = run("evaluate", source, "-m", path, "--json", check=0).stdout
        outcomes.add(str(json.loads(predicted)["accuracy"]))

    assert len(outcomes) == 2


def test_python_streams_and_models_scale_pixels_like_the_command_line(run, tmp_path):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    write_pixels(source, "columns csv")
    model = SGDPerceptron(seed=0, lr=0.5)
    for x, y in stream.iter_source(source):
        model.learn_one(x, y)
    save(model, path)
    run("learn", source, "--lr", "0.5", "-m", tmp_path / "cli.npz", check=0)
    summaries = [
        json.loads(run("evaluate", source, "-m", name, "--json", check=0).stdout)["accuracy"]
        for name in (path, tmp_path / "cli.npz")
    ]

    assert capture_state(model) == capture_state(load(tmp_path / "cli.npz").model)
    assert summaries[0] == summaries[1]


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
    assert read_chosen_settings(path) == (True, True, 0.1)
    assert "every bit" in run("verify", path, table, next_source, check=0).stdout
    error = run("learn", next_source, "-m", path, "--no-standardize", check=1).stderr
    assert "--standardize cannot change for an existing model" in error


def get_default(name):
    return next(option.default for option in learn.params if option.name == name)


@pytest.mark.parametrize("name", ["epsilon", "activation", "init_range", "max_weights"])
def test_options_have_the_defaults_of_sgd_perceptron(name):
    parameter = inspect.signature(SGDPerceptron).parameters[name]

    assert get_default(name) == parameter.default


def test_max_pending_has_the_default_of_read_options():
    assert get_default("max_pending") == ReadOptions().max_pending


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
