"""--dates and --words: features of dates, and of the words of texts."""

from __future__ import annotations

import csv
import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import contents_of, write_lines

from stream_perceptron import LiveModel, load, stream
from stream_perceptron.encoders import count_words, encode_date

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


def write(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=200)
        return path
    texts = [row | {"when": row["when"] and row["when"].isoformat()} for row in rows]
    if path.suffix == ".jsonl":
        return write_lines(path, texts)
    with path.open("w") as file:
        writer = csv.DictWriter(file, list(texts[0]))
        writer.writeheader()
        writer.writerows(texts)
    return path


def encode(row):
    features = {"a": row["a"]}
    features |= encode_date("when", row["when"]) if row["when"] else {}
    return features | (count_words("note", row["note"]) if row["note"] else {})


@pytest.mark.parametrize("form", FORMS)
def test_a_model_is_that_of_the_encoded_features(form, rows, tmp_path, run):
    source = write(tmp_path / f"s.{form}", rows)
    encoded = write_lines(tmp_path / "e.jsonl", [encode(r) | {"label": r["label"]} for r in rows])
    options = ["--no-standardize", "--lr", "0.1"]
    run("learn", source, *OPTIONS, *options, "-m", tmp_path / "m.npz", check=0)
    run("learn", encoded, *options, "-m", tmp_path / "e.npz", check=0)
    models = [LiveModel.load(tmp_path / name).model for name in ("m.npz", "e.npz")]
    found, expected = (dict(zip(m.features_, m.weights.T.tolist(), strict=True)) for m in models)

    assert found == expected


@pytest.mark.parametrize("form", FORMS)
def test_neither_dates_nor_words_are_standardized(form, rows, tmp_path, run):
    source, path = write(tmp_path / f"s.{form}", rows), tmp_path / "m.npz"
    run("learn", source, *OPTIONS, "--standardize", "-m", path, check=0)
    network = LiveModel.load(path).model.network
    unscaled = network.scaler.find_unscaled(network.feature_names)

    assert set(network.feature_names) - unscaled == {"a"}


@pytest.mark.parametrize("form", FORMS)
def test_a_model_resumes_predicts_and_verifies(form, rows, tmp_path, run):
    source = write(tmp_path / f"s.{form}", rows)
    whole, parts = tmp_path / "whole.npz", tmp_path / "parts.npz"
    run("learn", source, *OPTIONS, "-m", whole, check=0)
    for limit in (1, 50, 900):
        run("learn", source, *OPTIONS, "-m", parts, "--limit", limit, check=0)
    predicted = run("predict", source, "-m", whole, check=0).stdout.splitlines()
    trials = run("sweep", source, *OPTIONS, "--lr", "0.1,0.01", "--json", check=0).stdout
    told = json.loads(run("inspect", whole, "--json", check=0).stdout)

    assert contents_of(whole) == contents_of(parts)
    run("verify", whole, source, check=0)
    assert len(predicted) == 900
    assert len(json.loads(trials)["trials"]) == 2
    assert (told["dates"], told["words"]) == (["when"], ["note"])


def test_a_resumed_run_may_not_encode_other_columns(rows, tmp_path, run):
    source, path = write(tmp_path / "s.csv", rows), tmp_path / "m.npz"
    run("learn", source, "--dates", "when", "--limit", 100, "-m", path, check=0)
    error = run("learn", source, *OPTIONS, "-m", path, check=1).stderr.splitlines()[-1]

    assert "--words" in error


def test_late_labels_are_joined_to_encoded_samples(rows, tmp_path, run):
    for i, row in enumerate(rows):
        row["id"] = f"r{i}"
    whole = write_lines(
        tmp_path / "whole.jsonl", [r | {"when": r["when"] and str(r["when"])} for r in rows]
    )
    late = []
    for r in rows:
        features = {name: r[name] for name in ("id", "a", "note")}
        late.append(features | {"when": r["when"] and str(r["when"])})
        late.append({"id": r["id"], "label": r["label"]})
    late = write_lines(tmp_path / "late.jsonl", late)
    run("learn", whole, *OPTIONS, "--ignore", "id", "-m", tmp_path / "a.npz", check=0)
    run("learn", late, *OPTIONS, "--join", "id", "-m", tmp_path / "b.npz", check=0)
    one, other = (LiveModel.load(tmp_path / name) for name in ("a.npz", "b.npz"))
    order = [other.model.features_.index(name) for name in one.model.features_]

    assert one.model.weights.tolist() == other.model.weights[:, order].tolist()
    assert one.progress.missing == other.progress.missing > 0


@pytest.mark.parametrize("form", FORMS)
def test_the_notice_suggests_the_options(form, rows, tmp_path, run):
    notice = run("learn", write(tmp_path / f"s.{form}", rows), check=0).stderr

    assert "--dates when" in notice
    assert "--words note" in notice


def test_a_text_that_is_no_date_is_an_error(tmp_path, run):
    source = tmp_path / "s.csv"
    source.write_text("a,when,label\n1,2024-03-05,x\n2,today,y\n")
    error = run("learn", source, "--dates", "when", check=1).stderr.splitlines()[-1]

    assert error == (
        f"Error: {source}: row 2: 'when': 'today' is not a date such as 2024-03-05 or "
        "2024-03-05T13:45; to treat it as missing: --missing today; --skip-bad skips such rows"
    )
    run("learn", source, "--dates", "when", "--missing", "today", check=0)


@pytest.mark.parametrize(
    ("option", "column", "wanted"),
    [
        ("--dates", "a", "dates, timestamps and texts in ISO 8601"),
        ("--words", "a", "texts and lists of texts"),
        ("--words", "when", "texts and lists of texts"),
    ],
)
def test_a_column_of_another_type_is_an_error(option, column, wanted, rows, tmp_path, run):
    source = write(tmp_path / "s.parquet", rows)
    error = run("learn", source, option, column, check=1).stderr.splitlines()[-1]

    assert error.endswith(f": {option} is for {wanted}")


@pytest.mark.parametrize("form", FORMS)
def test_python_reads_and_predicts_as_the_command_line_does(form, rows, tmp_path, run):
    source, path = write(tmp_path / f"s.{form}", rows), tmp_path / "m.npz"
    run("learn", source, *OPTIONS, "-m", path, check=0)
    printed = run("predict", source, "-m", path, "--probabilities", check=0).stdout.splitlines()
    expected = [json.loads(line)["probabilities"] for line in printed]
    samples = list(stream.iter_source(source, dates=["when"], words=["note"]))
    model = load(path).model
    raw = [{name: row[name] for name in ("a", "when", "note")} for row in rows]
    found = [model.predict_proba_one(x) for x in raw]

    assert [dict(x) for x, _ in samples] == list(map(encode, rows))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose([one[y] for y in "xy"], [other[y] for y in "xy"], rtol=1e-9)
