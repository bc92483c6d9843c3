"""Standardizing in the kernel: indicators, and rows that diverge."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import capture_state

from stream_perceptron import DivergedError, SGDPerceptron
from stream_perceptron.model.rows import Rows, as_samples
from stream_perceptron.model.scaler import Scaler


def make_standardizing_model(**parameters):
    model = SGDPerceptron(**{"lr": 0.1, "seed": 0} | parameters)
    model.network.scaler = Scaler()
    return model


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
        model.train(as_samples(row, [i % 2], np.ones(1)))
        statistics = model.network.snapshot().scaler.statistics
        expected = np.array([i + 1, X[: i + 1, 1].mean(), X[: i + 1, 1].var(), i < 25])
        np.testing.assert_allclose(statistics[:, 1], expected, atol=1e-12)

    assert model.network.snapshot().scaler.statistics[3].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("parameters", "value"), [({}, -1e300), ({"lr": 1e200, "activation": "identity"}, 2.0)]
)
def test_diverging_row_is_not_counted(parameters, value):
    model = make_standardizing_model(**parameters)
    model.learn_one({"a": 1.0}, 0)
    before = capture_state(model)
    with pytest.raises(DivergedError):
        model.learn_one({"a": value}, 0)

    assert capture_state(model) == before
