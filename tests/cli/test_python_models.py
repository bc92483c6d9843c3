"""Models saved in Python, used on the command line."""

from __future__ import annotations

import csv
import json

import pytest
from helpers import capture_state, write_jsonl
from river import datasets, preprocessing

from stream_perceptron import (
    LiveModel,
    RecordEncoder,
    SGDPerceptron,
    Standardizer,
    load,
    save,
    stream,
)

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


def test_first_run_sets_the_options_that_python_lacks_and_no_others(tmp_path, run):
    """The encoder ignored the columns that are now the label, the weight and the offset."""
    used = ["kind", "w", "offset"]
    rows = [{"a": i % 3, "kind": "uv"[i % 2], "w": 1 + i % 2, "offset": i} for i in range(40)]
    path = tmp_path / "m.npz"
    encoder, model = RecordEncoder(ignore=[*used, "b"]), SGDPerceptron(seed=0)
    for row in rows[:20]:
        model.learn_one(encoder.transform_one(row), row["kind"], w=row["w"])
    save(encoder | model, path)
    source = write_jsonl(tmp_path / "rows.jsonl", rows[20:])
    options = ["--label", "kind", "--weight", "w", "--position", "offset"]
    error = run("learn", source, "-m", path, *options, "--categorical", "a", check=1).stderr
    assert "--categorical cannot change for an existing model (it is not set)" in error
    for _ in range(2):  # the second run finds the rows learned
        run("learn", source, "-m", path, *options, "-q", check=0)
    error = run("learn", source, "-m", path, "--weight", "a", check=1).stderr
    assert "--weight cannot change for an existing model (it is w)" in error
    for row in rows[20:]:
        model.learn_one(encoder.transform_one(row), row["kind"], w=row["w"])

    loaded = load(path).model
    assert capture_state(loaded["SGDPerceptron"]) == capture_state(model)
    assert sorted(loaded["RecordEncoder"].ignore) == sorted([*used, "b"])
    assert LiveModel.load(path).state.redeliveries.offsets == {(): 39}


def test_image_model_is_served_from_the_file_that_python_has_read(mnist_sample, tmp_path, run):
    """Both divide images by 255."""
    model, samples = RecordEncoder() | SGDPerceptron(seed=0), [*stream.iter_source(mnist_sample)]
    for x, y in samples[:1000]:
        model.learn_one(x, y)
    save(model, tmp_path / "m.npz")
    lines = run("predict", mnist_sample, "-m", tmp_path / "m.npz", check=0).stdout.splitlines()

    predicted = [json.loads(line)["prediction"] for line in lines]
    assert predicted == [model.predict_one(x) for x, _ in samples]


def test_scaler_that_knows_more_features_than_the_model_goes_on(tmp_path, run):
    """A scaler may have learned from samples that the perceptron has not had."""
    model, path = RecordEncoder() | Standardizer() | SGDPerceptron(seed=0), tmp_path / "m.npz"
    for i in range(30):
        model["Standardizer"].learn_one({"a": i % 5, "b": i % 7})
    model.learn_one({"a": 2}, "u")
    save(model, path)
    rows = [{"a": i % 4, "b": i % 3, "label": "uv"[i % 2]} for i in range(30)]
    run("learn", write_jsonl(tmp_path / "rows.jsonl", rows), "-m", path, "-q", check=0)
    for row in rows:
        model.learn_one({"a": row["a"], "b": row["b"]}, row["label"])

    loaded = load(path).model
    assert capture_state(loaded["SGDPerceptron"]) == capture_state(model["SGDPerceptron"])
    assert loaded["Standardizer"].means == model["Standardizer"].means
