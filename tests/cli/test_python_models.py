"""Models saved in Python, used on the command line."""

from __future__ import annotations

import csv
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from helpers import encode_csv
from river import datasets, evaluate, metrics, preprocessing
from river.optim import schedulers

from stream_perceptron import LiveModel, SGDPerceptron, load, save, stream

MODEL_FACTORIES = {
    "bare": lambda: SGDPerceptron(lr=0.1, seed=0),
    "scaled": lambda: preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0),
}


@pytest.fixture(params=MODEL_FACTORIES)
def saved_model(request, tmp_path):
    """A saved model of 600 samples, a file of more samples, and the model that learned both."""
    model, rows = MODEL_FACTORIES[request.param](), list(datasets.ImageSegments())
    for x, y in rows[:600]:
        model.learn_one(x, y)
    save(model, tmp_path / "py.npz")
    with (tmp_path / "rest.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", *rows[0][0]])
        writer.writerows([y, *x.values()] for x, y in rows[600:])
    for x, y in rows[600:]:
        model.learn_one(x, y)
    return tmp_path / "py.npz", tmp_path / "rest.csv", model


def test_learn_continues_a_python_model_with_any_label_name(saved_model, run):
    path, rest, model = saved_model
    perceptron = list(model.steps.values())[-1] if hasattr(model, "steps") else model
    error = run("learn", rest, "-m", path, check=1).stderr
    assert "there is no label column" in error
    run("learn", rest, "-m", path, "--label", "kind", "--limit", "300", "--quiet", check=0)
    run("learn", rest, "-m", path, "--quiet", check=0)
    live = LiveModel.load(path)
    feature_indices = [perceptron.features_.index(name) for name in live.model.features_]

    assert (live.model.n_seen, live.model.classes_) == (perceptron.n_seen, perceptron.classes_)
    tolerance = 0 if live.model.network.scaler is None else 1e-12
    assert abs(live.model.weights - perceptron.weights[:, feature_indices]).max() <= tolerance
    error = run("learn", rest, "-m", path, "--label", "other", check=1).stderr
    assert "--label cannot change for an existing model (it is kind)" in error


@pytest.mark.slow
def test_every_command_accepts_a_python_model(saved_model, run, tmp_path):
    path, rest, _ = saved_model
    figures = json.loads(run("evaluate", rest, "-m", path, "--label", "kind", "--json").stdout)
    assert figures["samples"] == 1710
    assert run("predict", rest, "-m", path).stdout.count("\n") == 1710
    assert json.loads(run("inspect", path, "--json").stdout)["samples"] == 600
    run("report", path, "-o", tmp_path / "report.html", check=0)
    run("average", path, "--base", path, "-o", tmp_path / "mean.npz", check=0)


def learn_rows(model, rows):
    for x, y in rows:
        model.learn_one(x, y)


def test_river_loop_and_command_line_have_equal_accuracy(tmp_path, run):
    path = tmp_path / "samples.csv"
    rows = [(i % 7 - 3, (i % 5) / 4, "up" if i % 7 > 3 else "down") for i in range(200)]
    path.write_bytes(encode_csv(rows, ["a", "b", "label"]))
    accuracy = evaluate.progressive_val_score(
        stream.iter_source(path), SGDPerceptron(seed=0), metrics.Accuracy()
    ).get()
    summary = json.loads(run("learn", path, "--no-standardize", "--json", check=0).stdout)

    assert summary["accuracy"] == accuracy


def test_pickled_model_continues_in_another_process(tmp_path):
    model = SGDPerceptron(schedulers.InverseScaling(0.1), seed=0)
    rows = list(datasets.ImageSegments().take(500))
    learn_rows(model, rows[:400])
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(model))
    script = (
        "import pickle, sys; from river import datasets\n"
        "model = pickle.load(open(sys.argv[1], 'rb'))\n"
        "for x, y in list(datasets.ImageSegments().take(500))[400:]: model.learn_one(x, y)\n"
        "pickle.dump(model, open(sys.argv[1], 'wb'))"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True)
    unpickled = pickle.loads(path.read_bytes())
    learn_rows(model, rows[400:])

    assert unpickled.weights.tobytes() == model.weights.tobytes()
    assert unpickled.n_updates == model.n_updates


def test_numpy_code_of_the_docs_predicts_like_the_model(mnist_sample, run, tmp_path):
    """The NumPy code is that of docs/checkpoints.md."""
    path = tmp_path / "mnist.npz"
    run("learn", mnist_sample, "-m", path, "--quiet", check=0)
    x = np.arange(784) / 784
    file = np.load(path)
    labels = json.loads(file["meta.json"])["model"]["labels"]
    label = labels[(file["weights"] @ x + file["biases"]).argmax()]
    file.close()

    model = load(path).model
    assert model.predict_one({f"pixel{i}": v for i, v in enumerate(x.tolist())}) == label
