"""Standardizing in the kernel matches a pipeline with River's StandardScaler."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers import capture_state
from river import preprocessing
from sklearn import datasets

from stream_perceptron import SGDPerceptron, Standardizer
from stream_perceptron.model.rows import Rows, Samples
from stream_perceptron.model.scaler import Scaler


def make_standardizing_model(**parameters):
    model = SGDPerceptron(lr=0.1, seed=0, **parameters)
    model.network.scaler = Scaler()
    return model


def load_table(name, is_complete):
    loaded = getattr(datasets, f"load_{name}")()
    order = np.random.default_rng(0).permutation(len(loaded.data))
    X, y = loaded.data[order], loaded.target[order].tolist()
    is_present = None if is_complete else np.random.default_rng(1).random(X.shape) < 0.7
    return Rows.from_table(tuple(f"f{i}" for i in range(X.shape[1])), X, is_present), y


def learn_rows(model, rows, labels):
    result = model.train(Samples(rows, labels, np.ones(len(labels))))
    return [None if i < 0 else model.classes_[i] for i in result.predicted.tolist()]


def convert_to_csr(rows):
    dicts = list(rows.dicts())
    return Rows.from_rows([tuple(x) for x in dicts], [np.array([*x.values()]) for x in dicts])


@pytest.mark.parametrize("is_complete", [True, False])
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_standardizing_model_matches_a_river_pipeline(name, is_complete):
    rows, labels = load_table(name, is_complete)
    perceptron = SGDPerceptron(lr=0.1, seed=0)
    pipeline = Standardizer() | perceptron
    predicted = []
    for x, y in zip(rows.dicts(), labels, strict=True):
        predicted.append(pipeline.predict_one(x))
        pipeline.learn_one(x, y)
    model, block_model = make_standardizing_model(), make_standardizing_model()
    assert predicted == learn_rows(model, rows, labels)
    sparse = convert_to_csr(rows)
    for start in range(0, len(labels), 7):
        learn_rows(block_model, sparse[start : start + 7], labels[start : start + 7])

    columns = [perceptron.features_.index(feature) for feature in model.features_]
    np.testing.assert_allclose(model.weights, perceptron.weights[:, columns], rtol=0, atol=1e-12)
    assert capture_state(model) == capture_state(block_model)
    assert model.network.snapshot().scaler.statistics.tobytes() == (
        block_model.network.snapshot().scaler.statistics.tobytes()
    )


def test_unlabeled_rows_are_scaled_but_not_counted(rng):
    model = make_standardizing_model()
    rows = Rows.from_table(("a", "b"), rng.normal(5, 2, size=(20, 2)))
    learn_rows(model, rows, [0, 1] * 10)
    before = model.network.snapshot().scaler.statistics
    nets = model.network.compute_nets(rows)
    learn_rows(model, rows, [None] * 20)

    assert model.network.snapshot().scaler.statistics.tobytes() == before.tobytes()
    scaled = (rows.values.reshape(20, 2) - before[1]) / np.sqrt(before[2])
    np.testing.assert_allclose(nets, scaled @ model.weights.T + model.biases)
    assert model.predict_one({"a": 5.0, "b": 9.0}) in (0, 1)


def test_indicators_are_counted_but_not_standardized_until_they_have_another_value(rng):
    """A row is predicted with the indicators before it, and learned with those after it."""
    names, X = ("a", "b", "c"), rng.integers(0, 2, (40, 3)).astype(float)
    X[:, 0], X[25:, 1] = rng.normal(size=40), rng.integers(0, 4, 15)
    X[25, 1] = 3.0
    model = make_standardizing_model()
    nets = []
    for i, x in enumerate(X):
        row = Rows.from_table(names, x[None])
        before = model.network.snapshot()
        nets.append(model.network.compute_nets(row)[0].copy())
        if i:
            _, means, variances, is_indicator = before.scaler.statistics
            z = np.divide(x - means, np.sqrt(variances), where=variances > 0, out=np.zeros(3))
            z = np.where(is_indicator, x, z)
            np.testing.assert_allclose(nets[-1], before.weights @ z + before.biases)
        learn_rows(model, row, [i % 2])
        statistics = model.network.snapshot().scaler.statistics
        expected = np.array([i + 1, X[: i + 1, 1].mean(), X[: i + 1, 1].var(), i < 25])
        np.testing.assert_allclose(statistics[:, 1], expected, atol=1e-12)
    whole = make_standardizing_model()
    learn_rows(whole, Rows.from_table(names, X), [i % 2 for i in range(40)])

    assert model.network.snapshot().scaler.statistics[3].tolist() == [0.0, 0.0, 1.0]
    assert capture_state(whole) == capture_state(model)


def test_scaler_without_indicators_follows_the_rule_of_river():
    rows, labels = load_table("digits", True)
    perceptron, model = SGDPerceptron(lr=0.1, seed=0), SGDPerceptron(lr=0.1, seed=0)
    model.network.scaler = Scaler(has_indicators=False)
    pipeline = preprocessing.StandardScaler() | perceptron
    for x, y in zip(rows.dicts(), labels, strict=True):
        pipeline.learn_one(x, y)
    learn_rows(model, rows, labels)

    np.testing.assert_allclose(model.weights, perceptron.weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [1e300, -1e300])
def test_diverging_row_is_not_counted(value):
    model = make_standardizing_model()
    learn_rows(model, Rows.from_table(("a",), np.array([[1.0], [value / 2]])), [0, 1])
    before = capture_state(model), model.network.snapshot().scaler.statistics.tobytes()
    result = model.train(Samples(Rows.from_table(("a",), np.array([[-value]])), [0], np.ones(1)))

    assert result.diverged
    assert (capture_state(model), model.network.snapshot().scaler.statistics.tobytes()) == before


def test_row_whose_error_is_infinite_is_not_counted():
    model = SGDPerceptron(lr=1e200, activation="identity", seed=0)
    model.network.scaler = Scaler()
    rows = Rows.from_table(("a",), np.array([[1.0], [2.0], [4.0]]))
    learn_rows(model, rows[:2], [0, 1])
    before = capture_state(model), model.network.snapshot().scaler.statistics.tobytes()
    result = model.train(Samples(rows[2:], [0], np.ones(1)))

    assert result.diverged
    assert (capture_state(model), model.network.snapshot().scaler.statistics.tobytes()) == before


def test_copies_have_independent_statistics(rng):
    model = make_standardizing_model()
    rows = Rows.from_table(("a", "b"), rng.normal(size=(20, 2)))
    learn_rows(model, rows, [0, 1] * 10)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for learner in (model, *copies):
        learn_rows(learner, rows, [1, 0] * 10)

    assert capture_state(model) == capture_state(copies[0]) == capture_state(copies[1])
