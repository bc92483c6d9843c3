"""Predictions for other programs: kept columns, all probabilities, CSV."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import state_of, write_lines

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


def write(path, rows=ROWS):
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


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_what_is_kept_is_no_feature_and_stands_beside_the_prediction(ending, run, tmp_path):
    source = write(tmp_path / f"s{ending}")
    args = ["learn", source, "--label", "y"]
    plain = run(*args, "--ignore", "id", "-m", tmp_path / "a.npz", "-p", "-", check=0)
    kept = run(*args, "--keep", "id", "-m", tmp_path / "b.npz", "-p", "-", check=0)
    one, other = (LiveModel.load(tmp_path / name).model for name in ("a.npz", "b.npz"))

    assert one.weights.tobytes() == other.weights.tobytes()
    assert other.features_ == ["a", "b"]
    for before, after, row in zip(lines_of(plain.stdout), lines_of(kept.stdout), ROWS, strict=True):
        assert after == before | {"id": row["id"]}
    predicted = run("predict", source, "-m", tmp_path / "b.npz", "--keep", "id,a", check=0)
    for line, row in zip(lines_of(predicted.stdout), ROWS, strict=True):
        assert row["id"] == line["id"]
        assert row["a"] == float(line["a"])


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_csv_says_what_json_says(ending, run, tmp_path):
    source = write(tmp_path / f"s{ending}")
    model = tmp_path / "m.npz"
    run("learn", source, "-m", model, "--label", "y", "--ignore", "id", check=0)
    args = ["predict", source, "-m", model, "--keep", "id", "--probabilities"]
    run(*args, "-p", tmp_path / "p.csv", check=0)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = lines_of(run(*args, check=0).stdout)
    piped = run(*args, "--output-format", "csv", check=0).stdout

    assert piped == (tmp_path / "p.csv").read_text()
    assert len(ROWS) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        shares = {label: float(row.pop(f"probability of {label}")) for label in "LR"}
        assert line.pop("probabilities") == shares
        assert math.isclose(1.0, sum(shares.values()))
        assert shares[line["prediction"]] == line["probability"] == max(shares.values())
        assert {name: str(value) for name, value in line.items()} == row


def test_probabilities_are_those_before_learning(run, tmp_path):
    source = write(tmp_path / "s.jsonl")
    lines = lines_of(
        run("learn", source, "--label", "y", "--ignore", "id", "--lr", 1, "-p", "-",
            "--probabilities", check=0).stdout
    )  # fmt: skip
    from stream_perceptron import SGDPerceptron

    model = SGDPerceptron(lr=1.0, seed=0)
    for row, line in zip(ROWS, lines, strict=True):
        x = {"a": row["a"], "b": row["b"]}
        assert {str(k): p for k, p in model.predict_proba_one(x).items()} == line["probabilities"]
        model.learn_one(x, row["y"])


def test_csv_of_a_killed_run_is_that_of_a_whole_one(run, tmp_path):
    source = write(tmp_path / "s.csv")
    args = ["learn", source, "--label", "y", "--keep", "id"]
    run(*args, "-m", tmp_path / "a.npz", "-p", tmp_path / "a.csv", check=0)
    for limit in (1, 400, 1500):
        run(*args, "-m", tmp_path / "b.npz", "-p", tmp_path / "b.csv", "--limit", limit, check=0)

    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_labels_that_are_new_have_no_column_of_csv(run, tmp_path):
    source = write(tmp_path / "s.csv")
    args = ["learn", source, "--label", "y", "--ignore", "id", "--probabilities", "-p"]
    file = tmp_path / "p.csv"

    assert "--classes" in run(*args, file, check=2).stderr
    assert "label 'R' has no column" in run(*args, file, "--classes", "L,Q", check=1).stderr
    # Learned samples have their predictions nevertheless.
    assert len(file.read_text().splitlines()) > 1
    run(*args, file, "--classes", "L,R", check=0)
    assert len(file.read_text().splitlines()) == len(ROWS) + 1


def test_a_file_with_other_columns_is_not_gone_on_with(run, tmp_path):
    source = write(tmp_path / "s.csv")
    model, file = tmp_path / "m.npz", tmp_path / "p.csv"
    args = ["learn", source, "--label", "y", "--ignore", "id", "-m", model, "-p", file]
    run(*args, "--limit", 500, check=0)
    before = file.read_text(), model.read_bytes()
    result = run(*args, "--probabilities", check=1)

    assert f"{file}: its columns differ from those of this run" in result.stderr
    assert (file.read_text(), model.read_bytes()) == before
    run(*args, check=0)
    assert len(file.read_text().splitlines()) == len(ROWS) + 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_keep_only_copies(suffix, tmp_path, run):
    """Features, label and weight may be kept; the model and its predictions stay the same."""
    rows = [row | {"w": 1 + i % 2} for i, row in enumerate(ROWS)]
    source = write(tmp_path / f"s{suffix}", rows)
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

    assert state_of(models[0]) == state_of(models[1])
    assert models[0].features_ == ["a", "b"]
    for before, kept in zip(outputs[:2], outputs[2:], strict=True):
        assert kept == [one | two for one, two in zip(kept, before, strict=True)]
        copied = [{name: row[name] for name in ("a", "y", "w", "id")} for row in kept]
        asked = [{name: row[name] for name in ("a", "y", "w", "id")} for row in rows]
        texts = [{name: str(value) for name, value in row.items()} for row in asked]
        assert copied == (texts if suffix == ".csv" else asked)


def test_a_kept_column_that_looks_like_an_id_keeps_its_warning(tmp_path, run):
    source = write(tmp_path / "s.csv", [row | {"id": i} for i, row in enumerate(ROWS)])
    result = run("learn", source, "--label", "y", "-p", tmp_path / "p.csv", "--keep", "id", check=0)

    assert "warning: 'id' looks like a row number, which spoils learning" in result.stderr


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--keep", "nix"], "there is no column 'nix' to keep among"),
        (["--keep", "row"], "--keep row: predictions already have a field of that name"),
    ],
)
def test_what_cannot_be_kept(args, why, run, tmp_path):
    source = write(tmp_path / "s.csv")
    result = run("learn", source, "--label", "y", "-p", "-", *args)

    assert why in result.stderr
    assert result.stdout == ""


def test_from_train_to_submission_without_jq(run, tmp_path, sample):
    """Kaggle's digits have no label and no id in the test set; the submission has two columns."""
    table = pq.read_table(sample)
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
def test_a_line_says_how_many_samples_the_model_had_learned(ending, run, tmp_path):
    """This holds for rows with and without labels, and for any block size."""
    rows = [row | {"y": None if i % 7 == 3 else row["y"]} for i, row in enumerate(ROWS)]
    source, model = write(tmp_path / f"s{ending}", rows), tmp_path / "m.npz"
    args = ["learn", source, "--label", "y", "--ignore", "id", "--learned", "-m", model, "-p", "-"]
    found = []
    for limit in (1, 400, len(rows)):
        found += lines_of(run(*args, "--limit", limit, check=0).stdout)
    predicted = run("predict", source, "-m", model, "--learned", "--output-format", "csv", check=0)
    table = list(csv.DictReader(predicted.stdout.splitlines()))
    before = np.cumsum([0, *(row["y"] is not None for row in rows)]).tolist()

    assert [line["learned"] for line in found] == before[:-1]
    assert {line["learned"] for line in table} == {str(before[-1])}


@pytest.mark.parametrize("n_unlabeled", [0, 7, 60])
def test_predict_to_a_file_ends_with_its_count_and_accuracy(n_unlabeled, tmp_path, run):
    rows = [{"a": i % 5, "label": "xy"[i % 5 > 2]} for i in range(60)]
    source, model, path = tmp_path / "s.jsonl", tmp_path / "m.npz", tmp_path / "p.jsonl"
    write_lines(source, rows)
    run("learn", source, "-m", model, check=0)
    for row in rows[:n_unlabeled]:
        del row["label"]
    write_lines(source, rows)
    shown = run("predict", source, "-m", model, "-p", path, check=0)
    predictions = [json.loads(line) for line in path.read_text().splitlines()]
    labeled = [each for each in predictions if each["label"] is not None]
    n_right = sum(each["prediction"] == each["label"] for each in labeled)

    expected = f"{path}: 60 predictions"
    if labeled:
        expected += f", accuracy {n_right / len(labeled):.2%}"
    if 0 < n_unlabeled < 60:
        expected += " of the 53 labeled rows"
    assert shown.stderr == f"{expected}\n"
    assert run("predict", source, "-m", model, check=0).stderr == ""
