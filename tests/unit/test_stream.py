"""Reading sources as River streams."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_csv, write_jsonl
from river import evaluate, metrics

from stream_perceptron import RecordEncoder, SampleError, SGDPerceptron, SourceError, load, stream


def test_iter_source_yields_raw_cells_of_csv(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('id,zip,a,w,note,class\n1,02138,2,0.5, "" ,x\n2,7.0,TRUE,2,"a ""b""",?\n')
    samples = stream.iter_source(
        str(path), path, weight="w", ignore=["id"], categorical=["zip"], missing=["?"]
    )

    expected = [
        ({"zip": "02138", "a": 2.0, "note": ' "" '}, "x", {"w": 0.5}),
        ({"zip": "7", "a": True, "note": 'a "b"'}, None, {"w": 2.0}),
    ]
    assert list(samples) == expected * 2


def test_iter_source_finds_a_label_and_a_weight_in_objects(tmp_path):
    path = write_jsonl(tmp_path / "f.jsonl", [{"a": 1, "m": {"y": "u", "w": 2.5, "z": 3}}])
    options = {"label": "m.y", "weight": "m.w"}

    assert list(stream.iter_source(path, **options)) == [({"a": 1, "m": {"z": 3}}, "u", {"w": 2.5})]
    assert list(stream.iter_source(path, ignore=["m"], **options)) == [({"a": 1}, "u", {"w": 2.5})]


def test_iter_source_yields_raw_records_of_json_and_parquet(tmp_path):
    path, columns = tmp_path / "rows.jsonl.gz", tmp_path / "rows.parquet"
    text = '{"a": {"b": "x", "y": 0}, "t": ["u"], "y": 1, "w": 3}\n'
    path.write_bytes(gzip.compress(text.encode()))
    when = dt.datetime(2024, 3, 5, 13, 45)
    row = {"n": 1.5, "s": "x", "when": when, "tags": ["u"], "y": 1}
    pq.write_table(pa.Table.from_pylist([row, {"y": 2}]), columns)

    (x, y, w) = next(stream.iter_source(path, weight="w", ignore=["a.b"]))
    assert (x, y, w) == ({"a": {"y": 0}, "t": ["u"]}, 1, {"w": 3.0})
    x, y = next(stream.iter_parquet(columns))
    assert (x, y) == ({"n": 1.5, "s": "x", "when": when, "tags": ["u"]}, 1)


def test_lists_of_numbers_are_yielded_as_their_elements(tmp_path):
    path = tmp_path / "rows.parquet"
    pixels = np.array([[0, 7], [255, 1]], np.uint8)
    pq.write_table(pa.table({"pixels": list(pixels), "y": ["a", "b"], "note": ["u", "v"]}), path)

    assert list(stream.iter_parquet(path)) == [
        ({"pixel0": 0.0, "pixel1": 7 * (1 / 255)}, "a"),
        ({"pixel0": 1.0, "pixel1": 1 / 255}, "b"),
    ]


def test_digits_in_a_river_loop_are_learned_as_by_the_command(run, mnist_files, tmp_path):
    """The model of the command takes lists of bytes and the records of `iter_parquet`."""
    source, path = mnist_files["train"], tmp_path / "m.npz"
    options = ["--classes", "0-9", "--limit", 3000, "-m", path, "--json", "-q"]
    summary = json.loads(run("learn", source, *options, check=0).stdout)
    digits = list(islice(stream.iter_parquet(source), 3000))
    model = SGDPerceptron(classes=range(10), seed=0)
    accuracy = evaluate.progressive_val_score(digits, model, metrics.Accuracy()).get()
    learned = load(path).model

    assert learned["SGDPerceptron"].weights.tobytes() == model.weights.tobytes()
    assert accuracy == summary["accuracy"]
    pixels = pq.read_table(source, columns=["pixels"]).slice(0, 1).to_pylist()[0]
    assert learned.predict_proba_one(pixels) == learned.predict_proba_one(digits[0][0])


def test_encoded_records_are_learned_like_the_file(run, tmp_path):
    """A model of the command line goes on with the records of the same file."""
    words, model = ["red", "a long string of words", ""], tmp_path / "m.npz"
    rows = [(i % 5 - 2, words[i % 3], "xy"[i % 2]) for i in range(60)]
    path = write_csv(tmp_path / "rows.csv", ["a", "s", "label"], rows)
    run("learn", path, "-m", model, "--no-standardize", "--seed", "5", check=0)
    pipeline = RecordEncoder() | SGDPerceptron(seed=5)
    for x, y in stream.iter_source(path):
        pipeline.learn_one(x, y)
    loaded = load(model).model

    for x, _ in stream.iter_source(path):
        assert loaded.predict_proba_one(x) == pipeline.predict_proba_one(x)


def test_rows_before_an_invalid_row_are_yielded(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("a,class\n1,x\n2,y\n3\n")
    samples = stream.iter_source(path)

    assert [next(samples), next(samples)] == [({"a": 1.0}, "x"), ({"a": 2.0}, "y")]
    with pytest.raises(SampleError, match="row 3: it has 1 field, not 2"):
        next(samples)
    with pytest.raises(SourceError, match="No such file"):
        stream.iter_source(tmp_path / "nothing.csv")
