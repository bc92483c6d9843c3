"""learn --join: labels that arrive in rows of their own, in files and on pipes."""

from __future__ import annotations

import csv
import json
import subprocess
from types import SimpleNamespace

import pytest
from helpers import COMMAND, capture_state, encode_jsonl
from late_labels import FEATURE_NAMES, LateLabelOracle, draw_valid_rows, write_rows

from stream_perceptron import LiveModel, SGDPerceptron

JOIN_OPTIONS = ["--join", "id", "--no-standardize", "--lr", "0.1"]


def run_oracle(rows, **parameters):
    """Return the oracle after it has processed the rows."""
    oracle = LateLabelOracle(SGDPerceptron(**{"lr": 0.1, "seed": 0} | parameters))
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


def test_samples_on_a_pipe_are_predicted_one_by_one():
    """Each sample is predicted by the model that has learned the earlier labels."""
    rows = draw_valid_rows(3, 400, max_delay=6)
    oracle, records = run_oracle(rows, lr=1.0), []
    command = [COMMAND, "learn", "--join", "id", "--no-standardize", "--lr", "1", "-p", "-"]
    with subprocess.Popen(
        [*command, "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        for number, row in enumerate(rows, 1):
            process.stdin.write(encode_jsonl([row]))
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
