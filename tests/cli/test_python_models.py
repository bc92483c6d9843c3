"""Models saved in Python, used on the command line."""

from __future__ import annotations

import csv
import json

import pytest
from river import datasets, preprocessing

from stream_perceptron import LiveModel, SGDPerceptron, load, save

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
    save(model, tmp_path / "py.npz", extra={"offset": 600})
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
    assert load(path).extra == {"offset": 600}
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
