"""Saved models in predict, evaluate and inspect."""

from __future__ import annotations

import json
import re
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, samples_in, wait_for
from river import metrics

from stream_perceptron import LiveModel, load, stream
from stream_perceptron.checkpoint.archive import FORMAT_VERSION
from stream_perceptron.model.kernel import NAME


def test_predict_says_what_the_model_says_and_learns_nothing(digits, model, run, sample):
    run("learn", sample, "-m", model, "--quiet", check=0)
    before = model.read_bytes()
    result = run("predict", digits["test"], "-m", model, check=0)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    perceptron = load(model).model

    assert len(records) == 10_000
    assert model.read_bytes() == before
    for record, (x, y) in zip(records[:200], stream.iter_parquet(digits["test"]), strict=False):
        probabilities = perceptron.predict_proba_one(x)
        assert (y, next(iter(probabilities))) == (record["label"], record["prediction"])
        assert probabilities[record["prediction"]] == pytest.approx(record["probability"])


def test_predict_needs_no_label_and_leaves_other_features_out(days, model, run, tmp_path):
    run("learn", days[0], "-m", model, "--quiet", check=0)
    bare = tmp_path / "bare.parquet"
    pq.write_table(pa.table({"b": [0.0], "a": [9.0]}), bare)
    more = tmp_path / "more.parquet"
    pq.write_table(pa.table({"b": [0.0], "a": [9.0], "c": [1.0]}), more)
    less = tmp_path / "less.parquet"
    pq.write_table(pa.table({"b": [0.0]}), less)

    result = run("predict", bare, "-m", model, check=0)
    assert tuple(json.loads(result.stdout)[k] for k in ("prediction", "label")) == ("right", None)
    extra = run("predict", more, "-m", model, check=0)
    assert ("warning: 'c' is not in the model and ignored\n", result.stdout) == (
        extra.stderr,
        extra.stdout,
    )
    assert run("predict", more, "-m", model, "--ignore", "c", check=0).stderr == ""
    assert "lacks 'a'" in run("predict", less, "-m", model, check=1).stderr


def test_openml_names_are_not_let_through(sample, model, run, tmp_path):
    """pixel1 to pixel784 are refused for pixel0 to pixel783."""
    run("learn", sample, "-m", model, "--quiet", check=0)
    path = tmp_path / "openml.parquet"
    pq.write_table(pa.table({f"pixel{i + 1}": [0.0] for i in range(784)}), path)
    result = run("predict", path, "-m", model, check=1)

    assert "lacks 'pixel0'" in result.stderr


def test_predict_follows_a_learner(digits, model, run):
    """A predictor with a slow reader loads the model saved meanwhile."""
    run("learn", digits["train"], "-m", model, "--limit", 100, "--quiet", check=0)
    command = [COMMAND, "predict", digits["test"], "-m", model, "--follow", "--learned"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as follower:
        lines = [follower.stdout.readline()]
        run("learn", digits["train"], "-m", model, "--limit", 20_000, "--quiet", check=0)
        lines += follower.stdout.readlines()
        errors = follower.stderr.read()
    hits = [json.loads(line)["prediction"] == json.loads(line)["label"] for line in lines]

    assert errors == f"reloaded {model}: 20,000 samples\n"
    assert len(hits) == 10_000
    assert sorted({json.loads(line)["learned"] for line in lines}) == [100, 20_000]
    assert np.mean(hits[:100]) < 0.6
    assert np.mean(hits[5000:]) > 0.8


def test_evaluate_gives_rivers_metrics(digits, sample, model, run):
    run("learn", sample, "-m", model, "--quiet", check=0)
    figures = json.loads(run("evaluate", digits["test"], "-m", model, "--json", check=0).stdout)
    perceptron = load(model).model
    accuracy, f1, kappa = metrics.Accuracy(), metrics.MacroF1(), metrics.CohenKappa()
    precision, recall = metrics.ClassificationReport(), metrics.MacroRecall()
    confusion = metrics.ConfusionMatrix()
    for x, y in stream.iter_parquet(digits["test"]):
        predicted = perceptron.predict_one(x)
        for metric in (accuracy, f1, kappa, precision, recall, confusion):
            metric.update(y, predicted)

    assert accuracy.get() == figures["accuracy"] > 0.8
    assert (f1.get(), kappa.get()) == (figures["macro_f1"], figures["cohen_kappa"])
    assert [[confusion[a][b] for b in range(10)] for a in range(10)] == figures["confusion"]
    recalls = [row["recall"] for row in figures["per_class"]]
    assert recall.get() == pytest.approx(np.mean(recalls))
    assert figures["per_class"][0]["samples"] == 980
    text = run("evaluate", digits["test"], "-m", model, check=0).stdout
    assert text.startswith(f"10,000 samples: accuracy {figures['accuracy']:.2%}")


def test_evaluate_counts_classes_that_the_model_does_not_know(days, model, run, tmp_path):
    run("learn", days[0], "-m", model, "--quiet", check=0)
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [9.0, -9.0], "b": [0.0, 0.0], "class": ["right", "up"]}), path)
    figures = json.loads(run("evaluate", path, "-m", model, "--json", check=0).stdout)

    assert figures["accuracy"] == 0.5
    assert "up" in figures["classes"]
    nothing = tmp_path / "nothing.parquet"
    pq.write_table(pa.table({"a": [9.0], "b": [0.0]}), nothing)
    assert "no labels to test against" in run("evaluate", nothing, "-m", model, check=1).stderr


def test_inspect_says_what_is_in_a_model(digits, model, run):
    run("learn", digits["test"], "-m", model, "--limit", 2500, "--quiet", check=0)
    result = run("inspect", model, "--json", check=0)
    contents = json.loads(result.stdout)
    live = LiveModel.load(model)

    expected = {
        "format_version": FORMAT_VERSION, "kernel": NAME, "lr": 0.01, "epsilon": 3e-06,
        "seed": 0,
        "activation": "sigmoid", "classes": [*range(10)], "n_features": 784, "samples": 2500,
        "updates": 2500, "row": 2500, "source": 0, "turn": 0, "rows_read": 2500,
        "accuracy": live.progress.accuracy, "features": live.model.features_,
    }  # fmt: skip
    assert {name: contents[name] for name in expected} == expected
    assert digits["test"].stat().st_size == contents["files"][0]["bytes"]
    name, weight = contents["strongest_features"][3]["features"][0]
    column = live.model.features_.index(name)
    assert weight == live.model.weights[3, column] or -weight == live.model.weights[3, column]
    assert np.abs(live.model.weights[3]).max() == abs(weight)
    text = run("inspect", model, check=0).stdout
    assert [line for line in text.splitlines() if not line.startswith(" ")][:6] == [
        str(model), "learned from", "files", "results", "by class", "hyperparameters"
    ]  # fmt: skip
    assert re.search(r"  samples +2,500, 2,500 of them changed the weights\n", text)
    assert re.search(r"  largest class +1, 11\.\d+%\n", text)


def test_model_that_python_saved_serves_the_command_line(days, tmp_path, run):
    from stream_perceptron import SGDPerceptron, save

    path = tmp_path / "python.npz"
    perceptron = SGDPerceptron(0.5, seed=0)
    for x, y in stream.iter_parquet(days[0]):
        perceptron.learn_one(x, y)
    save(perceptron, path, {"mine": 1})

    assert (
        json.loads(run("evaluate", days[1], "-m", path, "--json", check=0).stdout)["accuracy"] > 0.9
    )
    run("learn", days[1], "-m", path, "--quiet", check=0)
    assert load(path).model.n_seen == 3000


def test_a_run_is_saved_after_so_much_time(digits, model):
    """It saves long before its end, and without a signal."""
    command = [COMMAND, "learn", digits["train"], "-m", model, "--save-every", "1s", "--quiet"]
    with subprocess.Popen([*command, "--passes", "1000"]) as process:
        wait_for(model.exists, process)
        process.kill()

    assert samples_in(model) > 0
