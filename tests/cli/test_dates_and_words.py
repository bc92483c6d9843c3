"""--dates and --words: features from dates, and from the words of texts."""

from __future__ import annotations

import csv
import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_jsonl

from stream_perceptron import LiveModel, load, stream
from stream_perceptron.encoders import encode_date, encode_words

FORMS = ("csv", "jsonl", "parquet")
OPTIONS = ("--dates", "when", "--words", "note")


@pytest.fixture
def rows(rng):
    start = dt.datetime(2023, 12, 30, 22, 15)
    notes = ["paid late, late", "asks for a refund", None, "Größe 42 refund"]
    return [
        {
            "a": float(x),
            "when": None if i % 7 == 0 else start + i * dt.timedelta(hours=5, minutes=7),
            "note": notes[i % 4] and f"{notes[i % 4]}, order {i}",
            "label": "xy"[int(x > 0)],
        }
        for i, x in enumerate(rng.normal(size=900))
    ]


def write_rows(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=200)
        return path
    texts = [row | {"when": row["when"] and row["when"].isoformat()} for row in rows]
    if path.suffix == ".jsonl":
        return write_jsonl(path, texts)
    with path.open("w") as file:
        writer = csv.DictWriter(file, list(texts[0]))
        writer.writeheader()
        writer.writerows(texts)
    return path


def encode_row(row):
    features = {"a": row["a"]}
    features |= encode_date("when", row["when"]) if row["when"] else {}
    return features | (encode_words("note", row["note"]) if row["note"] else {})


@pytest.mark.parametrize("form", FORMS)
def test_python_reads_and_predicts_like_the_command_line(form, rows, tmp_path, run):
    source, path = write_rows(tmp_path / f"s.{form}", rows), tmp_path / "m.npz"
    run("learn", source, *OPTIONS, "-m", path, check=0)
    printed = run("predict", source, "-m", path, "--scores", check=0).stdout.splitlines()
    expected = [json.loads(line)["scores"] for line in printed]
    samples = list(stream.iter_source(source, dates=["when"], words=["note"]))
    model = load(path).model
    network = LiveModel.load(path).model.network
    is_indicator = network.scaler.statistics[3, : len(network.feature_names)]
    raw = [{name: row[name] for name in ("a", "when", "note")} for row in rows]
    actual = [model.predict_proba_one(x) for x in raw]

    assert [dict(x) for x, _ in samples] == list(map(encode_row, rows))
    assert set(np.array(network.feature_names)[is_indicator == 0].tolist()) == {"a", "when_days"}
    for scores, printed_scores in zip(actual, expected, strict=True):
        np.testing.assert_allclose(
            [scores[y] for y in "xy"], [printed_scores[y] for y in "xy"], rtol=1e-9
        )


def test_python_model_accepts_lists_numbers_and_missing_values(tmp_path, run):
    rows = [
        {"a": 1.0 * i, "tags": [["eu", "new eu"], 5, None, " ", True, "eu"][i % 6],
         "at": ["2024-03-05", None, " "][i % 3], "label": "xy"[i % 2]}
        for i in range(60)
    ]  # fmt: skip
    source, path = write_jsonl(tmp_path / "s.jsonl", rows), tmp_path / "m.npz"
    run("learn", source, "--words", "tags", "--dates", "at", "-m", path, check=0)
    printed = run("predict", source, "-m", path, "--scores", check=0).stdout.splitlines()
    model = load(path).model
    for row, line in zip(rows, printed, strict=True):
        actual = model.predict_proba_one({name: row[name] for name in ("a", "tags", "at")})
        assert actual == pytest.approx(json.loads(line)["scores"])
