"""learn --join: labels that arrive in rows of their own, in files and on pipes, and kills."""

from __future__ import annotations

import csv
import json
import random
import subprocess
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from helpers import (
    COMMAND,
    capture_state,
    encode_jsonl,
    read_outputs,
    write_jsonl,
)
from late_labels import FEATURE_NAMES, LateLabelOracle, draw_rows, draw_valid_rows, write_rows

from stream_perceptron import LiveModel, SGDPerceptron

JOIN_OPTIONS = ["--join", "id", "--no-standardize", "--lr", "0.1"]


def run_oracle(rows, max_pending=10**9, **parameters):
    """Return the oracle after it has processed the rows."""
    oracle = LateLabelOracle(SGDPerceptron(**{"lr": 0.1, "seed": 0} | parameters), max_pending)
    for number, row in enumerate(rows, 1):
        oracle.process_row(number, row)
    return oracle


def build_expected_lines(rows, oracle):
    """Return the expected row, prediction, label and ID of each line, as texts."""
    return [
        (str(number), format_cell(predicted), format_cell(row.get("label")), format_cell(row["id"]))
        for number, predicted in oracle.predicted.items()
        for row in [rows[number - 1]]
    ]


def format_cell(value):
    return "" if value is None else str(value)


def read_predictions(path):
    """Return the row, prediction, label and ID of each line of a predictions file, as texts."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            records = list(csv.DictReader(file))
    else:
        records = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        tuple(format_cell(record[n]) for n in ("row", "prediction", "label", "id"))
        for record in records
    ]


@pytest.mark.parametrize(
    ("form", "output_name"),
    [("json", "p.jsonl"), ("csv", "p.csv"), ("parquet", "p.jsonl"), ("arrow", "p.csv")],
)
def test_samples_are_predicted_with_ids_and_label_rows_are_not(form, output_name, run, tmp_path):
    rows = draw_valid_rows(0, 1200)
    source, predictions = write_rows(tmp_path / f"s.{form}", form, rows), tmp_path / output_name
    model = tmp_path / "m.npz"
    weights = ["--class-weight", "balanced"]
    run("learn", source, *JOIN_OPTIONS, *weights, "-m", model, "-p", predictions, check=0)
    oracle, live = run_oracle(rows, class_weight="balanced"), LiveModel.load(model)

    assert read_predictions(predictions) == build_expected_lines(rows, oracle)
    assert capture_state(live.model) == capture_state(oracle.model)
    assert live.model.features_ == list(FEATURE_NAMES)
    assert live.progress.missing == 0  # rows of labels lack no values
    assert oracle.accuracy == live.progress.accuracy > 0.5
    if form == "json" and output_name == "p.jsonl":
        ids = [json.loads(line)["id"] for line in predictions.read_text().splitlines()]
        assert all(type(key) is int for key in ids)
        assert not any("a" in json.loads(line) for line in predictions.read_text().splitlines())


def build_command(folder, options):
    return [
        COMMAND, "learn", *JOIN_OPTIONS, *options, "-m", folder / "model.npz", "-p",
        folder / "predictions.jsonl", "--quiet",
    ]  # fmt: skip


@pytest.mark.slow
def test_redelivered_rows_are_skipped(tmp_path):
    """Redelivered samples are not predicted again, and redelivered labels are not rejected."""
    rng, rows = random.Random(0), []
    for i, row in enumerate(draw_rows(1, 1000, 40)):
        rows.append({**row, "part": "pq"[i % 2], "offset": i})
    options = ["--position", "part,offset", "--skip-bad", "--max-pending", "15"]
    options += ["--save-every", "50"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    subprocess.run(build_command(whole, options), input=encode_jsonl(rows), check=True, timeout=300)
    done = n_redelivered = 0
    while done < len(rows):
        start, stop = rng.randint(0, done), min(done + rng.randint(1, 250), len(rows))
        n_redelivered += done - start
        data = encode_jsonl(rows[start:stop])
        subprocess.run(build_command(parts, options), input=data, check=True, timeout=300)
        done = stop
    live = LiveModel.load(parts / "model.npz")

    assert n_redelivered > 500
    assert read_outputs(whole) == read_outputs(parts)
    oracle = run_oracle(rows, 15)
    assert read_predictions(parts / "predictions.jsonl") == build_expected_lines(rows, oracle)
    assert list(live.pending.samples) == list(oracle.samples)
    assert live.progress.rows == len(rows)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_samples_on_a_pipe_are_predicted_one_by_one(form, tmp_path):
    """Each sample is predicted by the model that has learned the earlier labels."""
    rows = draw_valid_rows(3, 400, max_delay=6)
    source = write_rows(tmp_path / "s", form, rows)
    lines = source.read_bytes().splitlines(keepends=True)
    oracle, records = run_oracle(rows, lr=1.0), []
    command = [COMMAND, "learn", "--join", "id", "--no-standardize", "--lr", "1", "-p", "-"]
    with subprocess.Popen(
        [*command, "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        if form == "csv":
            process.stdin.write(lines.pop(0))
        for number, line in enumerate(lines, 1):
            process.stdin.write(line)
            process.stdin.flush()
            if number in oracle.predicted:
                records.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(60) == 0

    assert [
        tuple(format_cell(record[name]) for name in ("row", "prediction", "label", "id"))
        for record in records
    ] == build_expected_lines(rows, oracle)


@pytest.mark.parametrize("name", ["label", "Label", "TARGET"])
@pytest.mark.parametrize("labels", [("up", "down"), (7, 8)], ids=["texts", "numbers"])
def test_label_column_is_inferred_from_the_first_row_that_has_it(labels, name, run, tmp_path):
    """A number in a column with a new name could also be a feature."""
    rows = [{"id": i, "a": i % 2, "b": 1} for i in range(40)]
    rows += [{"id": i, name: labels[i % 2]} for i in range(40)]
    source, model = write_jsonl(tmp_path / "s.jsonl", rows), tmp_path / "m.npz"
    run("learn", source, "--join", "id", "-m", model, "-q", check=0)

    live = LiveModel.load(model)
    assert (live.progress.samples, live.schema.label) == (40, name)
    assert list(live.model.features_) == ["a", "b"]


@pytest.mark.parametrize("forms", [("csv", "csv"), ("parquet", "parquet"), ("csv", "parquet")])
def test_feature_columns_are_required_only_in_files_with_features(forms, run, tmp_path):
    """The file of labels needs no feature column, and has another order."""
    colors, n = ["red", "blue", "green"], 300
    ads = {
        "ad": [f"k{i}" for i in range(n)],
        "price": [float(i % 7) for i in range(n)],
        "color": [colors[i % 3] for i in range(n)],
        "w": [1.0 + i % 2 for i in range(n)],
    }
    clicks = {
        "ad": [f"k{i}" for i in reversed(range(n)) if i % 5],
        "clicked": [int(i % 3 == 0) for i in reversed(range(n)) if i % 5],
    }
    both = pa.concat_tables([pa.table(ads), pa.table(clicks)], promote_options="default")
    tables = {"ads": pa.table(ads), "clicks": pa.table(clicks), "both": both}
    sources = {}
    for (name, table), form in zip(tables.items(), (*forms, forms[0]), strict=True):
        sources[name] = tmp_path / f"{name}.{form}"
        write = pq.write_table if form == "parquet" else pa.csv.write_csv
        write(table, sources[name])
    options = ["--join", "ad", "--label", "clicked", "--weight", "w"]
    learned = {}
    for name, files in (("two", [sources["ads"], sources["clicks"]]), ("one", [sources["both"]])):
        model, predictions = tmp_path / f"{name}.npz", tmp_path / f"{name}.jsonl"
        run("learn", *files, "-m", model, *options, "-p", predictions, "--quiet", check=0)
        run("verify", model, *files, check=0)
        learned[name] = LiveModel.load(model), predictions.read_text()

    (two, lines_of_two), (one, lines_of_one) = learned["two"], learned["one"]
    assert two.progress.samples == len(clicks["ad"])
    assert capture_state(two.model) == capture_state(one.model)
    assert lines_of_two == lines_of_one


@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
def test_evaluate_and_report_join_labels_like_learn(form, run, tmp_path):
    """Each label is compared with the prediction for its sample; rows of features are unlabeled."""
    train, test = draw_valid_rows(0, 1200), draw_valid_rows(1, 900)
    model, source = tmp_path / "m.npz", write_rows(tmp_path / f"test.{form}", form, test)
    train_source = write_rows(tmp_path / f"train.{form}", form, train)
    run("learn", train_source, *JOIN_OPTIONS, "-m", model, "--quiet", check=0)
    trained_model = LiveModel.load(model).model
    oracle = LateLabelOracle(
        SimpleNamespace(predict_one=trained_model.predict_one, learn_one=lambda x, y: None)
    )
    for number, row in enumerate(test, 1):
        oracle.process_row(number, row)
    figures = json.loads(run("evaluate", source, "-m", model, "--json", check=0).stdout)
    page = tmp_path / "report.html"
    run("report", model, "-o", page, "--examples", source, check=0)

    assert figures["samples"] == len(oracle.tested)
    assert figures["accuracy"] == oracle.accuracy
    assert f"({oracle.accuracy:.1%}) are predicted correctly" in page.read_text()
