"""`learn` standardizes tables and JSON objects by default, and scales pixels."""

from __future__ import annotations

import inspect
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import encode_ipc, write_jsonl

from stream_perceptron import LiveModel, SGDPerceptron, load
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron_cli.learn import learn


def generate_rows(n):
    rng = random.Random(0)
    for _ in range(n):
        age, income = rng.randint(18, 90), round(rng.lognormvariate(10, 0.5), 1)
        noise = rng.gauss(0, 0.3)
        yield {
            "age": age, "income": income, "b": rng.random(),
            "label": "yes" if (age - 50) / 20 + (income - 25_000) / 10_000 + noise > 0 else "no",
        }  # fmt: skip


def write_table(path, rows, names=("age", "income", "b", "label")):
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
        path.write_text("\n".join([",".join(names), *lines]) + "\n")
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
            line = f"3 columns with numbers, standardized: {', '.join(expected_order)}\n"
            assert stderr.startswith(line)
        assert live.progress.accuracy > 0.9
    assert len(outcomes) == 1
    assert list(load(path).model.steps) == ["RecordEncoder", "Standardizer", "SGDPerceptron"]


def get_default(name):
    return next(option.default for option in learn.params if option.name == name)


@pytest.mark.parametrize("name", ["epsilon", "activation", "init_range", "max_weights"])
def test_options_have_the_defaults_of_sgd_perceptron(name):
    parameter = inspect.signature(SGDPerceptron).parameters[name]

    assert get_default(name) == parameter.default


def test_max_pending_has_the_default_of_read_options():
    assert get_default("max_pending") == ReadOptions().max_pending


def test_sweeps_use_the_same_defaults(run, tmp_path):
    source = write_table(tmp_path / "a.csv", generate_rows(600))
    for option in ([], ["--no-standardize"]):
        sweep = json.loads(run("sweep", source, *option, "--json", check=0).stdout)
        for trial in sweep["trials"]:
            alone = run("learn", source, *option, "--lr", trial["lr"], "--json", check=0).stdout
            assert trial["accuracy"] == json.loads(alone)["accuracy"]
    run(*sweep["command"].split()[1:], cwd=tmp_path, check=0)
    best = LiveModel.load(tmp_path / "model.npz")
    assert sweep["trials"][0]["accuracy"] == best.progress.accuracy
    assert not best.read_options.standardize
