"""Ordinary tables: unscaled numbers, texts, nulls, quotes, and the label in any column."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import encode_csv, encode_jsonl, write_jsonl
from river import evaluate, metrics
from sklearn import datasets

from stream_perceptron import SGDPerceptron, Standardizer, load
from stream_perceptron.distributed.averaging import average_files

TABLES = ["wine", "digits"]
OPTIONS = ["--standardize", "--lr", "0.1"]


def load_rows(name):
    """Return the feature names of a data set, and its shuffled rows with their labels."""
    loaded = getattr(datasets, f"load_{name}")()
    order = np.random.default_rng(0).permutation(len(loaded.data))
    names = [str(feature_name) for feature_name in loaded.feature_names]
    X, y = loaded.data[order].tolist(), loaded.target[order].tolist()
    return names, [
        dict(zip(names, x, strict=True)) | {"target": t} for x, t in zip(X, y, strict=True)
    ]


def encode_rows(rows, form):
    if form == "json":
        return encode_jsonl(rows)
    if form == "csv":
        return encode_csv([row.values() for row in rows], list(rows[0]))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


@pytest.fixture(scope="session")
def river_results():
    """The accuracy and the final pipeline of River's progressive evaluation, by table."""
    results = {}
    for name in TABLES:
        model = Standardizer() | SGDPerceptron(lr=0.1, seed=0)
        stream = [
            ({k: v for k, v in r.items() if k != "target"}, r["target"]) for r in load_rows(name)[1]
        ]
        metric = evaluate.progressive_val_score(stream, model, metrics.Accuracy())
        results[name] = metric.get(), model
    return results


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@pytest.mark.parametrize("name", TABLES)
def test_standardized_tables_give_the_accuracy_and_weights_of_river(
    name, form, river_results, tmp_path, run
):
    source, path = tmp_path / "source", tmp_path / "m.npz"
    source.write_bytes(encode_rows(load_rows(name)[1], form))
    shown = run("learn", source, "-m", path, "--json", "--quiet", *OPTIONS, check=0).stdout
    accuracy, pipeline = river_results[name]

    assert json.loads(shown)["accuracy"] == accuracy
    loaded, _ = load(path)
    assert list(loaded.steps) == ["RecordEncoder", "Standardizer", "SGDPerceptron"]
    ours, theirs = loaded["SGDPerceptron"], pipeline["SGDPerceptron"]
    assert theirs.features_ == ours.features_
    np.testing.assert_allclose(ours.weights, theirs.weights, rtol=0, atol=1e-12)
    our_scaler, scaler = loaded["Standardizer"], pipeline["Standardizer"]
    assert dict(our_scaler.counts) == dict(scaler.counts)
    assert dict(our_scaler.means) == dict(scaler.means)
    assert dict(our_scaler.vars) == dict(scaler.vars)
    assert our_scaler.standardized == scaler.standardized


def test_average_joins_indicators(tmp_path, run):
    """A feature is an indicator if it has only been 0 or 1 in all models."""
    base = tmp_path / "base.npz"
    rows = {
        "base": [{"x": i / 7, "b": i % 2, "y": i % 3} for i in range(40)],
        "one": [{"x": i / 7, "b": i % 2, "c": 1, "d": 1, "y": i % 3} for i in range(40)],
        "two": [{"x": i / 7, "b": i % 4, "d": 0, "y": i % 3} for i in range(40)],
    }
    for name, part in rows.items():
        write_jsonl(tmp_path / f"{name}.jsonl", part)
    run("learn", tmp_path / "base.jsonl", "-m", base, "--label", "y", check=0)
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for path in paths:
        path.write_bytes(base.read_bytes())
        run("learn", path.with_suffix(".jsonl"), "-m", path, check=0)
    network = average_files(paths, base).model.network

    is_indicator = dict(zip(network.feature_names, network.scaler.statistics[3], strict=False))
    assert is_indicator == {"x": 0, "b": 0, "c": 1, "d": 1}
