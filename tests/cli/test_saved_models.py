"""Commands that read a saved model: predict, evaluate and inspect."""

from __future__ import annotations

import json
import re
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, count_samples, wait_for
from river import metrics

from stream_perceptron import LiveModel, load, stream
from stream_perceptron.checkpoint.archive import FORMAT_VERSION


def test_predict_gives_the_model_predictions_and_learns_nothing(
    mnist_files, model, run, mnist_sample
):
    run("learn", mnist_sample, "-m", model, "--quiet", check=0)
    before = model.read_bytes()
    result = run("predict", mnist_files["test"], "-m", model, check=0)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    perceptron = load(model).model

    assert len(records) == 10_000
    assert model.read_bytes() == before
    for record, (x, y) in zip(
        records[:200], stream.iter_parquet(mnist_files["test"]), strict=False
    ):
        scores = perceptron.predict_proba_one(x)
        assert (y, next(iter(scores))) == (record["label"], record["prediction"])
        assert scores[record["prediction"]] == pytest.approx(record["score"])


def test_columns_with_openml_names_are_rejected(mnist_sample, model, run, tmp_path):
    """pixel1 to pixel784 do not replace pixel0 to pixel783."""
    run("learn", mnist_sample, "-m", model, "--quiet", check=0)
    path = tmp_path / "openml.parquet"
    pq.write_table(pa.table({f"pixel{i + 1}": [0.0] for i in range(784)}), path)
    result = run("predict", path, "-m", model, check=1)

    assert "lacks some of the model's features ('pixel0')" in result.stderr


def test_predict_reloads_a_model_saved_by_another_run(mnist_files, model, run):
    """The reader is slow, so the model is replaced while predict is running."""
    run("learn", mnist_files["train"], "-m", model, "--limit", 100, "--quiet", check=0)
    command = [COMMAND, "predict", mnist_files["test"], "-m", model, "--follow", "--learned"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as follower:
        lines = [follower.stdout.readline()]
        run("learn", mnist_files["train"], "-m", model, "--limit", 20_000, "--quiet", check=0)
        lines += follower.stdout.readlines()
        errors = follower.stderr.read()
    is_correct = [json.loads(line)["prediction"] == json.loads(line)["label"] for line in lines]

    assert errors == f"reloaded {model}: 20,000 samples\n"
    assert len(is_correct) == 10_000
    assert sorted({json.loads(line)["learned"] for line in lines}) == [100, 20_000]
    assert np.mean(is_correct[:100]) < 0.6
    assert np.mean(is_correct[5000:]) > 0.8


def test_evaluate_computes_the_metrics_of_river(mnist_files, mnist_sample, model, run):
    run("learn", mnist_sample, "-m", model, "--quiet", check=0)
    figures = json.loads(
        run("evaluate", mnist_files["test"], "-m", model, "--json", check=0).stdout
    )
    perceptron = load(model).model
    accuracy, f1, kappa = metrics.Accuracy(), metrics.MacroF1(), metrics.CohenKappa()
    precision, recall = metrics.ClassificationReport(), metrics.MacroRecall()
    confusion = metrics.ConfusionMatrix()
    for x, y in stream.iter_parquet(mnist_files["test"]):
        predicted = perceptron.predict_one(x)
        for metric in (accuracy, f1, kappa, precision, recall, confusion):
            metric.update(y, predicted)

    assert accuracy.get() == figures["accuracy"] > 0.8
    assert (f1.get(), kappa.get()) == (figures["macro_f1"], figures["cohen_kappa"])
    assert [[confusion[a][b] for b in range(10)] for a in range(10)] == figures["confusion"]
    recalls = [row["recall"] for row in figures["per_class"]]
    assert recall.get() == pytest.approx(np.mean(recalls))
    assert figures["per_class"][0]["samples"] == 980
    text = run("evaluate", mnist_files["test"], "-m", model, check=0).stdout
    assert text.startswith(f"10,000 samples: accuracy {figures['accuracy']:.2%}")


def test_inspect_shows_the_contents_of_a_model(mnist_files, model, run):
    run("learn", mnist_files["test"], "-m", model, "--limit", 2500, "--quiet", check=0)
    result = run("inspect", model, "--json", check=0)
    contents = json.loads(result.stdout)
    live = LiveModel.load(model)

    expected = {
        "format_version": FORMAT_VERSION, "lr": 0.01, "epsilon": 3e-06,
        "seed": 0,
        "activation": "sigmoid", "classes": [*range(10)], "samples": 2500,
        "updates": 2500, "is_complete": True,
        "accuracy": live.progress.accuracy, "features": live.model.features_,
    }  # fmt: skip
    assert {name: contents[name] for name in expected} == expected
    (file,), (entry,) = contents["files"], contents["entries"]
    assert (file["name"], file["rows"]) == (str(mnist_files["test"]), 2500)
    assert (entry["start"], entry["end"], contents["run"]["read"]) == (0, 2500, 2500)
    name, weight = contents["strongest_features"][3]["features"][0]
    feature_id = live.model.features_.index(name)
    assert (
        weight == live.model.weights[3, feature_id] or -weight == live.model.weights[3, feature_id]
    )
    assert np.abs(live.model.weights[3]).max() == abs(weight)
    text = run("inspect", model, check=0).stdout
    assert [line for line in text.splitlines() if not line.startswith(" ")][:6] == [
        str(model), "learned from", "files", "results", "by class", "hyperparameters"
    ]  # fmt: skip
    assert re.search(r"  samples +2,500\n", text)
    assert re.search(r"  majority class +1\n  majority share +11\.\d+%\n", text)


def test_model_saved_in_python_works_on_the_command_line(daily_files, tmp_path, run):
    from stream_perceptron import SGDPerceptron, save

    path = tmp_path / "python.npz"
    perceptron = SGDPerceptron(0.5, seed=0)
    for x, y in stream.iter_parquet(daily_files[0]):
        perceptron.learn_one(x, y)
    save(perceptron, path, {"mine": 1})

    assert (
        json.loads(run("evaluate", daily_files[1], "-m", path, "--json", check=0).stdout)[
            "accuracy"
        ]
        > 0.9
    )
    run("learn", daily_files[1], "-m", path, "--quiet", check=0)
    assert load(path).model.n_seen == 3000


def test_save_every_accepts_a_time_interval(mnist_files, model):
    """The model is saved long before the run ends, without a signal."""
    command = [COMMAND, "learn", mnist_files["train"], "-m", model, "--save-every", "1s", "--quiet"]
    with subprocess.Popen([*command, "--passes", "1000"]) as process:
        wait_for(model.exists, process)
        process.kill()

    assert count_samples(model) > 0
