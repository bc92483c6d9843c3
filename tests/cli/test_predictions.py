"""Predictions for other programs: passthrough columns, all scores, and CSV."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import capture_state, write_jsonl

from stream_perceptron import LiveModel

ROWS = [
    {
        "id": f'n{i}, "{i}"' if i % 3 else f"n{i}",
        "a": i % 7 / 4,
        "b": (i * i) % 5,
        "y": "LR"[i % 2],
    }
    for i in range(1500)
]


def write_rows(path, rows=ROWS):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return path


def parse_json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_kept_columns_are_copied_and_are_not_features(ending, run, tmp_path):
    source = write_rows(tmp_path / f"s{ending}")
    args = ["learn", source, "--label", "y"]
    plain = run(*args, "--ignore", "id", "-m", tmp_path / "a.npz", "-p", "-", check=0)
    kept = run(*args, "--keep", "id", "-m", tmp_path / "b.npz", "-p", "-", check=0)
    models = [LiveModel.load(tmp_path / name).model for name in ("a.npz", "b.npz")]

    assert models[0].weights.tobytes() == models[1].weights.tobytes()
    assert models[1].features_ == ["a", "b"]
    plain_lines, kept_lines = parse_json_lines(plain.stdout), parse_json_lines(kept.stdout)
    for plain_line, kept_line, row in zip(plain_lines, kept_lines, ROWS, strict=True):
        assert kept_line == plain_line | {"id": row["id"]}
    predicted = run("predict", source, "-m", tmp_path / "b.npz", "--keep", "id,a", check=0)
    for line, row in zip(parse_json_lines(predicted.stdout), ROWS, strict=True):
        assert row["id"] == line["id"]
        assert row["a"] == float(line["a"])


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_csv_and_json_have_the_same_predictions(ending, run, tmp_path):
    source = write_rows(tmp_path / f"s{ending}")
    model = tmp_path / "m.npz"
    run("learn", source, "-m", model, "--label", "y", "--ignore", "id", check=0)
    args = ["predict", source, "-m", model, "--keep", "id", "--scores"]
    run(*args, "-p", tmp_path / "p.csv", check=0)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = parse_json_lines(run(*args, check=0).stdout)
    piped = run(*args, "--output-format", "csv", check=0).stdout

    assert piped == (tmp_path / "p.csv").read_text()
    assert len(ROWS) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        scores = {label: float(row.pop(f"score of {label}")) for label in "LR"}
        assert line.pop("scores") == scores
        assert math.isclose(1.0, sum(scores.values()))
        assert scores[line["prediction"]] == line["score"] == max(scores.values())
        assert {name: str(value) for name, value in line.items()} == row


def test_scores_are_computed_before_learning(run, tmp_path):
    source = write_rows(tmp_path / "s.jsonl")
    lines = parse_json_lines(
        run("learn", source, "--label", "y", "--ignore", "id", "--lr", 1, "-p", "-",
            "--scores", "--no-standardize", check=0).stdout
    )  # fmt: skip
    from stream_perceptron import SGDPerceptron

    model = SGDPerceptron(lr=1.0, seed=0)
    for row, line in zip(ROWS, lines, strict=True):
        x = {"a": row["a"], "b": row["b"]}
        assert {str(k): p for k, p in model.predict_proba_one(x).items()} == line["scores"]
        model.learn_one(x, row["y"])


def test_csv_of_a_split_run_equals_that_of_a_single_run(run, tmp_path):
    source = write_rows(tmp_path / "s.csv")
    args = ["learn", source, "--label", "y", "--keep", "id"]
    run(*args, "-m", tmp_path / "a.npz", "-p", tmp_path / "a.csv", check=0)
    for limit in (1, 400, 1500):
        run(*args, "-m", tmp_path / "b.npz", "-p", tmp_path / "b.csv", "--limit", limit, check=0)

    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_new_label_without_a_csv_column_is_an_error(run, tmp_path):
    source = write_rows(tmp_path / "s.csv")
    args = ["learn", source, "--label", "y", "--ignore", "id", "--scores", "-p"]
    file = tmp_path / "p.csv"

    assert "--classes" in run(*args, file, check=2).stderr
    assert "label 'R' has no column" in run(*args, file, "--classes", "L,Q", check=1).stderr
    # Samples that were learned before the error have predictions.
    assert len(file.read_text().splitlines()) > 1
    run(*args, file, "--classes", "L,R", check=0)
    assert len(file.read_text().splitlines()) == len(ROWS) + 1


def test_predictions_with_other_columns_are_not_continued(run, tmp_path):
    source = write_rows(tmp_path / "s.csv")
    model, file = tmp_path / "m.npz", tmp_path / "p.csv"
    args = ["learn", source, "--label", "y", "--ignore", "id", "-m", model, "-p", file]
    run(*args, "--limit", 500, check=0)
    before = file.read_text(), model.read_bytes()
    result = run(*args, "--scores", check=1)

    assert f"{file}: its columns differ from those of this run" in result.stderr
    assert (file.read_text(), model.read_bytes()) == before
    run(*args, check=0)
    assert len(file.read_text().splitlines()) == len(ROWS) + 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_keep_copies_columns_without_changing_the_model(suffix, tmp_path, run):
    """Features, label and weight may be kept; the model and its predictions stay the same."""
    rows = [row | {"w": 1 + i % 2} for i, row in enumerate(ROWS)]
    source = write_rows(tmp_path / f"s{suffix}", rows)
    outputs, models = [], []
    for keep in ([], ["--keep", "a,y,w,id"]):
        path, file = tmp_path / f"{len(keep)}.npz", tmp_path / "p.jsonl"
        options = ["--label", "y", "--weight", "w", "--ignore", "id"]
        run("learn", source, "-m", path, "-p", file, *options, *keep, "--quiet", check=0)
        outputs.append(list(map(json.loads, file.read_text().splitlines())))
        outputs.append(
            list(map(json.loads, run("predict", source, "-m", path, *keep).stdout.splitlines()))
        )
        models.append(LiveModel.load(path).model)

    assert capture_state(models[0]) == capture_state(models[1])
    assert models[0].features_ == ["a", "b"]
    for before, kept in zip(outputs[:2], outputs[2:], strict=True):
        assert kept == [row | plain for row, plain in zip(kept, before, strict=True)]
        copied = [{name: row[name] for name in ("a", "y", "w", "id")} for row in kept]
        expected = [{name: row[name] for name in ("a", "y", "w", "id")} for row in rows]
        texts = [{name: str(value) for name, value in row.items()} for row in expected]
        assert copied == (texts if suffix == ".csv" else expected)


def test_kept_column_that_looks_like_an_id_is_warned_about(tmp_path, run):
    source = write_rows(tmp_path / "s.csv", [row | {"id": i} for i, row in enumerate(ROWS)])
    result = run("learn", source, "--label", "y", "-p", tmp_path / "p.csv", "--keep", "id", check=0)

    assert "warning: 'id' looks like a row number, which spoils learning" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--keep", "nix"], "there is no column 'nix' to keep among"),
        (["--keep", "row"], "--keep row: predictions already have a field of that name"),
    ],
)
def test_invalid_names_in_keep_are_errors(args, message, run, tmp_path):
    source = write_rows(tmp_path / "s.csv")
    result = run("learn", source, "--label", "y", "-p", "-", *args)

    assert message in result.stderr
    assert result.stdout == ""


def test_kaggle_submission_is_made_without_jq(run, tmp_path, mnist_sample):
    """Kaggle's test set has neither labels nor IDs; a submission has two columns."""
    table = pq.read_table(mnist_sample)
    pixels = np.array([list(row) for row in table["pixels"].to_pylist()])
    header = ",".join(f"pixel{i}" for i in range(784))
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    labels = np.array(table["label"].to_pylist())
    labeled = np.c_[labels, pixels][:4000]
    np.savetxt(train, labeled, "%d", ",", header=f"label,{header}", comments="")
    np.savetxt(test, pixels[4000:], "%d", ",", header=header, comments="")
    run("learn", train, "--scale", "1/255", "-m", tmp_path / "m.npz", "--lr", 0.1, check=0)
    predicted = run("predict", test, "-m", tmp_path / "m.npz", "--output-format", "csv", check=0)
    lines = [line.split(",")[:2] for line in predicted.stdout.splitlines()]

    assert lines[0] == ["row", "prediction"]
    assert [str(i + 1) for i in range(1000)] == [row for row, _ in lines[1:]]
    assert np.mean(labels[4000:] == [int(digit) for _, digit in lines[1:]]) > 0.8


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_learned_option_adds_the_number_of_learned_samples(ending, run, tmp_path):
    """This holds for rows with and without labels, and for any block size."""
    rows = [row | {"y": None if i % 7 == 3 else row["y"]} for i, row in enumerate(ROWS)]
    source, model = write_rows(tmp_path / f"s{ending}", rows), tmp_path / "m.npz"
    args = ["learn", source, "--label", "y", "--ignore", "id", "--learned", "-m", model, "-p", "-"]
    lines = []
    for limit in (1, 400, len(rows)):
        lines += parse_json_lines(run(*args, "--limit", limit, check=0).stdout)
    predicted = run("predict", source, "-m", model, "--learned", "--output-format", "csv", check=0)
    table = list(csv.DictReader(predicted.stdout.splitlines()))
    before = np.cumsum([0, *(row["y"] is not None for row in rows)]).tolist()

    assert [line["learned"] for line in lines] == before[:-1]
    assert {line["learned"] for line in table} == {str(before[-1])}


@pytest.mark.parametrize("n_unlabeled", [0, 7, 60])
def test_predict_to_a_file_reports_count_and_accuracy(n_unlabeled, tmp_path, run):
    rows = [{"a": i % 5, "label": "xy"[i % 5 > 2]} for i in range(60)]
    source, model, path = tmp_path / "s.jsonl", tmp_path / "m.npz", tmp_path / "p.jsonl"
    write_jsonl(source, rows)
    run("learn", source, "-m", model, check=0)
    for row in rows[:n_unlabeled]:
        del row["label"]
    write_jsonl(source, rows)
    shown = run("predict", source, "-m", model, "-p", path, check=0)
    predictions = [json.loads(line) for line in path.read_text().splitlines()]
    labeled = [prediction for prediction in predictions if prediction["label"] is not None]
    n_right = sum(prediction["prediction"] == prediction["label"] for prediction in labeled)

    expected = f"{path}: 60 predictions"
    if labeled:
        expected += f", accuracy {n_right / len(labeled):.2%}"
    if 0 < n_unlabeled < 60:
        expected += " on the 53 labeled rows"
    assert shown.stderr == f"{expected}\n"
    assert run("predict", source, "-m", model, check=0).stderr == ""
