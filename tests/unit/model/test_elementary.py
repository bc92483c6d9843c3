"""Accuracy of the activations, and scores."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from stream_perceptron.model import kernel
from stream_perceptron.model.activations import ACTIVATIONS


def compute_sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


FUNCTIONS = {
    # Reference, error bound in ulp, boundaries between approximations.
    "sigmoid": (compute_sigmoid, 2.5, [0.3466, 1.0397, 36.7]),
    "tanh": (mpmath.tanh, 2.0, [0.55, 19.06]),
    "arctan": (mpmath.atan, 1.0, [0.4375, 0.6875, 1.1875, 2.4375]),
}


def compute_outputs(name, x):
    return kernel.compute_outputs(ACTIVATIONS[name], x)[0]


def draw_numbers(boundaries):
    """Return numbers of all exponents and signs, many of them near the boundaries."""
    rng = np.random.default_rng(0)
    exponents = np.repeat(np.arange(-1073, 1025), 8)
    all_exponents = np.ldexp(rng.uniform(0.5, 1.0, len(exponents)), exponents)
    usual = rng.uniform(0.0, 1.0, 20_000) * 2.0 ** rng.integers(-6, 10, 20_000)
    near = [boundary * (1.0 + rng.uniform(-1, 1, 2000) * 2.0**-5) for boundary in boundaries]
    numbers = np.concatenate([all_exponents, usual, *near])
    return np.concatenate([numbers, -numbers])


def compute_ulp_error(computed, exact):
    """Return the error of a computed number in ulp of its reference."""
    nearest = float(exact)
    if math.isinf(nearest) or math.isinf(computed):
        return 0.0 if computed == nearest else math.inf
    return float(abs(mpmath.mpf(computed) - exact) / mpmath.mpf(float(np.spacing(abs(nearest)))))


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_ulp_errors_are_within_bounds(name, report_figure):
    reference_function, bound, boundaries = FUNCTIONS[name]
    x = draw_numbers(boundaries)
    computed = compute_outputs(name, x).tolist()
    with mpmath.workprec(120):
        errors = [
            compute_ulp_error(y, reference_function(mpmath.mpf(number)))
            for y, number in zip(computed, x.tolist(), strict=True)
            if name != "sigmoid" or number > -708  # below, it is e^-708
        ]

    report_figure(f"{name}: {max(errors):.3f} ulp at most over {len(errors):,} numbers")
    assert max(errors) <= bound


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_scores_of_extreme_net_inputs_sum_to_1(name):
    nets = np.array([[1.7e308, -1.7e308, 0.0], [-800.0] * 3])
    scores = kernel.compute_scores(ACTIVATIONS[name], nets)

    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(scores[1], 1 / 3, rtol=1e-14)
