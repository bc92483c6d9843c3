"""Activation functions and their derivatives."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from stream_perceptron.model import kernel
from stream_perceptron.model.activations import ACTIVATIONS, get_activation


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_agrees_with_finite_differences(name):
    net, h = np.linspace(-6, 6, 101), 1e-6
    above, below = (kernel.compute_outputs(ACTIVATIONS[name], net + step)[0] for step in (h, -h))
    _, slopes = kernel.compute_outputs(ACTIVATIONS[name], net)

    np.testing.assert_allclose(slopes, (above - below) / (2 * h), atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_are_at_most_one(name):
    """The overflow guard of the kernel relies on this bound."""
    net = np.concatenate([np.linspace(-800, 800, 10001), [0.0]])
    _, slopes = kernel.compute_outputs(ACTIVATIONS[name], net)

    assert (np.abs(slopes) <= 1).all()


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "arctan"])
def test_bounded_activations_approach_their_targets(name):
    activation = ACTIVATIONS[name]
    y, _ = kernel.compute_outputs(activation, np.array([-1e9, 1e9]))

    np.testing.assert_allclose([activation.low, activation.high], y, atol=1e-8)


def test_pickled_activation_is_the_same_object():
    assert get_activation("tanh") is pickle.loads(pickle.dumps(get_activation("tanh")))


@pytest.mark.parametrize("name", ["step", "Heaviside", "sign"])
def test_step_function_is_rejected_with_the_reason(name):
    with pytest.raises(ValueError, match=r"derivative is zero.*river\.linear_model\.Perceptron"):
        get_activation(name)


@pytest.mark.parametrize("name", ["relu", "", None, ["sigmoid"]])
def test_unknown_activation_error_lists_the_choices(name):
    with pytest.raises(ValueError, match="choose sigmoid, tanh, arctan or identity"):
        get_activation(name)
