"""Learning rates that fall for each feature, and the update counts that they depend on."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from helpers import train_copy
from river.utils import expand_param_grid

from stream_perceptron import FallingRate, SGDPerceptron
from stream_perceptron.distributed.averaging import average


def get_counts(model):
    return model.network.snapshot().update_counts.tolist()


@pytest.mark.parametrize(
    ("start", "end"), [(0.1, 0.5), (1.0, 0.0), (math.inf, 1.0), (math.nan, 0.1), (0.5, math.nan)]
)
def test_start_below_the_end_is_rejected(start, end):
    with pytest.raises(ValueError, match=f"cannot fall from {start} to {end}"):
        FallingRate(start, end)


def test_parameters_stay_as_given_and_each_activation_has_its_own_default():
    models = expand_param_grid(SGDPerceptron(), {"activation": ["tanh", "sigmoid"]})

    assert [(m.lr, m.lr_) for m in models] == [(None, 0.01), (None, FallingRate(0.5, 0.1))]
    for lr in (None, 0.2, FallingRate(0.4, 0.3)):
        assert copy.deepcopy(SGDPerceptron(lr).clone()).lr == lr


def test_counts_end_with_the_rate_and_continue_with_one_that_ends_later():
    """The first rate ends after 17 updates; a constant rate counts none."""
    model = SGDPerceptron(FallingRate(0.5, 0.4), epsilon=0.0, seed=0)
    for i in range(20):
        model.learn_one({"a": 1.0, "b": float(i % 2), "c": 0.0}, "left")
    assert get_counts(model) == [17, 17, 10, 0]
    for lr, expected in ((0.1, [17, 17, 10, 0]), (FallingRate(0.5, 0.1), [27, 27, 15, 0])):
        model.lr = lr
        for i in range(10):
            model.learn_one({"a": 1.0, "b": float(i % 2)}, "right")
        assert get_counts(model) == expected
    model.epsilon = 10.0  # no update
    model.learn_one({"a": 1.0}, "left")
    assert get_counts(model) == [27, 27, 15, 0]


def test_average_adds_the_counts_of_its_models():
    base = train_copy(SGDPerceptron(epsilon=0.0, seed=7), [({"a": 1.0}, "left")] * 5)
    one = train_copy(base, [({"a": 1.0, "c": 1.0}, "left")] * 3)
    two = train_copy(base, [({"b": 1.0, "c": 1.0}, "right")] * 4)
    mean = average(base, [one, two])

    assert mean.features_ == ["a", "c", "b"]
    assert get_counts(mean) == [12, 8, 7, 4]


def test_raised_end_stops_the_counts_where_the_rate_itself_does():
    rate, raised = FallingRate(0.5, 0.1), FallingRate(0.5, 0.1).multiply_end_rate(8)

    assert (raised.start, raised.end, raised.n_falling) == (0.5, 0.5, rate.n_falling)
    assert np.array_equal(raised.compute_rates([0, 719, 720]), [0.5] * 3)
    assert FallingRate(0.5, 0.1).multiply_end_rate(2) == FallingRate(0.5, 0.2)
