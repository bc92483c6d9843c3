"""Invalid samples are rejected and leave the model unchanged."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
from helpers import capture_state, to_dicts
from river.optim import schedulers

from stream_perceptron import DivergedError, SampleError, SGDPerceptron


@pytest.mark.parametrize("rate", [math.nan, -1.0, math.inf])
def test_invalid_rate_from_a_scheduler_is_rejected(rate, trained_model):
    trained_model.mutate({"lr": schedulers.Constant(rate)})
    before = capture_state(trained_model)

    with pytest.raises(ValueError, match="learning rate"):
        trained_model.learn_one({"brand": 1, "new": 2}, "new")
    assert capture_state(trained_model) == before


@pytest.mark.parametrize("y", [None, math.nan, np.nan, pd.NaT, pd.NA, np.datetime64("NaT", "s")])
def test_missing_label_is_rejected(y, trained_model):
    before = capture_state(trained_model)

    with pytest.raises(SampleError, match="label is missing"):
        trained_model.learn_one({"x0": 1.0, "new": 1}, y)
    assert capture_state(trained_model) == before


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1.5", "'x9' is '1.5', a str"),
        (dt.date(2024, 1, 1), "a date"),
        (1j, "a complex"),
        ([1.0], "a list"),
        (math.nan, "'x9' is nan, not finite"),
        (-math.inf, "'x9' is -inf, not finite"),
        (10**400, "'x9' is inf, not finite"),
    ],
    ids=repr,
)
def test_invalid_feature_value_is_rejected_with_its_name(value, reason, trained_model):
    before = capture_state(trained_model)

    with pytest.raises(SampleError, match=reason):
        trained_model.learn_one({"x0": 1.0, "x9": value}, "new")
    with pytest.raises(SampleError, match=reason.replace("x9", "x1")):
        trained_model.predict_one({"x0": 1.0, "x1": value})
    assert trained_model.predict_proba_one({"x0": 1.0}) == trained_model.predict_proba_one(
        {"x0": 1.0, "x9": value}
    )
    assert capture_state(trained_model) == before


@pytest.mark.parametrize("w", [-1, math.nan, math.inf, "1", None, 10**400], ids=repr)
def test_invalid_sample_weight_is_rejected(w, trained_model):
    before = capture_state(trained_model)

    with pytest.raises(SampleError, match="sample weight"):
        trained_model.learn_one({"new": 1.0}, "new", w=w)
    assert capture_state(trained_model) == before


@pytest.mark.parametrize("y", [["a"], {"a": 1}, np.array([1, 2])], ids=repr)
def test_unhashable_label_is_rejected(y, trained_model):
    before = capture_state(trained_model)

    with pytest.raises(SampleError, match="not hashable"):
        trained_model.learn_one({"x0": 1.0}, y)
    assert capture_state(trained_model) == before


@pytest.mark.parametrize(
    ("overflowing_value", "activation", "lr", "init_range", "x", "w"),
    [
        ("error", "identity", 0.5, 0.5, 0.5, 1.0),
        ("net input", "sigmoid", 0.5, 9.0, 0.99, 1.0),
        ("rate", "sigmoid", 9.0, 0.0, 1e-300, 0.99),
        ("weight", "sigmoid", 0.5, 0.0, 1e-280, 0.99),
    ],
)
def test_diverging_sample_leaves_the_model_unchanged(
    overflowing_value, activation, lr, init_range, x, w, rng
):
    """The parameters x and w are fractions of the largest float."""
    largest = float(np.finfo(float).max)
    model = SGDPerceptron(lr, 0, activation, init_range, ["a", "b"], seed=0)
    for row in to_dicts(rng.normal(size=(20, 6)) / 10):
        model.learn_one(row, "a")
    before = capture_state(model)
    x = max(x * largest, 30.0)

    with pytest.raises(DivergedError, match="diverged at sample 21: lower lr or scale"):
        model.learn_one({"x0": x, "x1": x, "new": x}, "c", w=w * largest if w < 1 else w)
    assert capture_state(model) == before
    model.learn_one({"x0": 1.0}, "a")
    assert model.n_seen == 21


def test_diverging_sample_of_known_names_leaves_the_model_unchanged():
    model = SGDPerceptron(activation="identity", seed=0)
    model.learn_one({"a": 1.0}, "up")
    before = capture_state(model)

    with pytest.raises(DivergedError, match="diverged at sample 2: lower lr or scale"):
        model.learn_one({"a": 1e200}, "up")
    assert capture_state(model) == before


def test_samples_without_finite_net_input_cannot_be_predicted():
    model = SGDPerceptron(classes=["a", "b"], init_range=9.0, seed=0)
    model.learn_one({"x": 1.0, "y": 1.0}, "a")
    x = {"x": 1e308, "y": 1e308}

    with pytest.raises(SampleError, match="the net input is not finite: scale the features"):
        model.predict_proba_one(x)
    with pytest.raises(SampleError, match="the net input of row 1 is not finite"):
        model.predict_many(pd.DataFrame([{"x": 1.0, "y": 1.0}, x]))


def test_divergence_error_names_the_sample_and_keeps_weights_finite(rng):
    model = SGDPerceptron(activation="identity", lr=0.01, classes=range(10), seed=0)
    X = rng.integers(0, 256, (500, 50)).astype(float)
    with pytest.raises(DivergedError) as caught:
        model.test_then_train(X, rng.integers(0, 10, 500))

    assert caught.value.sample == model.n_seen + 1
    assert np.isfinite(model.weights).all()
    expected = SGDPerceptron(activation="identity", lr=0.01, classes=range(10), seed=0)
    rng = np.random.default_rng(42)
    X, labels = rng.integers(0, 256, (500, 50)).astype(float), rng.integers(0, 10, 500)
    expected.test_then_train(X[: model.n_seen], labels[: model.n_seen])
    assert capture_state(expected) == capture_state(model)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"lr": 0}, "lr is 0: choose a finite number above 0"),
        ({"lr": math.nan}, "lr is nan: choose a finite number above 0"),
        ({"lr": 10**400}, r"lr is above 1.8e\+308: choose a finite number above 0"),
        ({"lr": "fast"}, "lr is 'fast'"),
        ({"epsilon": -1}, "epsilon is -1: choose a finite number greater than or equal to 0"),
        ({"init_range": math.inf}, "init_range is inf"),
        ({"seed": -1}, r"seed is -1: choose a whole number from 0 to 2\^64 - 1"),
        ({"seed": 1.5}, "seed is 1.5: choose a whole number from 0"),
        ({"seed": 2**64}, f"seed is {2**64}: choose a whole number from 0"),
        ({"seed": 10**100}, "seed is a number with very many digits: choose a whole number"),
        ({"max_weights": 0}, r"max_weights is 0: choose a whole number from 1 to 2\^62 - 1"),
        ({"max_weights": 2**62}, f"max_weights is {2**62}: choose a whole number from 1"),
        ({"max_weights": 1e6}, "max_weights is 1000000.0: choose a whole number from 1"),
        ({"classes": ()}, "distinct labels, none of them missing"),
        ({"classes": ["a", "a"]}, "distinct labels, none of them missing"),
        ({"classes": ["a", None]}, "distinct labels, none of them missing"),
        ({"classes": "ab"}, "list of labels"),
        ({"activation": "step"}, "derivative is zero"),
    ],
    ids=repr,
)
def test_invalid_parameters_are_rejected(parameters, reason):
    with pytest.raises(ValueError, match=reason):
        SGDPerceptron(**parameters)
    model = SGDPerceptron(seed=0)
    if parameters.keys() <= model._mutable_attributes:
        before = model._get_params()
        with pytest.raises(ValueError, match=reason):
            model.mutate(parameters)
        assert model._get_params() == before
