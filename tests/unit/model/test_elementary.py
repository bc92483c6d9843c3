"""Accuracy and special values of exp, tanh and arctan."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from stream_perceptron.model import _elementary

FUNCTIONS = {
    # Function, reference, error bound in ulp, boundaries between its approximations.
    "exp": (_elementary.exp, mpmath.exp, 1.0, [0.3466, 1.0397, 709.78, 745.13]),
    "tanh": (_elementary.tanh, mpmath.tanh, 2.0, [0.55, 19.06]),
    "arctan": (_elementary.arctan, mpmath.atan, 1.0, [0.4375, 0.6875, 1.1875, 2.4375]),
}


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
    function, reference_function, bound, boundaries = FUNCTIONS[name]
    x = draw_numbers(boundaries)
    computed = function(x, np.empty_like(x)).tolist()
    with mpmath.workprec(120):
        errors = [
            compute_ulp_error(y, reference_function(mpmath.mpf(number)))
            for y, number in zip(computed, x.tolist(), strict=True)
            if name != "exp" or abs(number) < 1000
        ]

    report_figure(f"{name}: {max(errors):.3f} ulp at most over {len(errors):,} numbers")
    assert max(errors) <= bound


@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_are_exact(name):
    function, *_ = FUNCTIONS[name]
    x = np.array([0.0, -0.0, np.inf, -np.inf, 5e-324, -5e-324, 1e308, -1e308])
    expected = {
        "exp": [1.0, 1.0, np.inf, 0.0, 1.0, 1.0, np.inf, 0.0],
        "tanh": [0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 1.0, -1.0],
        "arctan": [0.0, -0.0, np.pi / 2, -np.pi / 2, 5e-324, -5e-324, np.pi / 2, -np.pi / 2],
    }[name]

    assert np.array(expected).tobytes() == function(x, np.empty(8)).tobytes()
    # NaN, and a NaN with another payload.
    nans = np.array([0x7FF8000000000000, 0x7FF8000000000040], np.uint64).view(np.float64)
    assert np.isnan(function(nans, np.empty(2))).all()


@pytest.mark.parametrize("name", ["tanh", "arctan"])
def test_tanh_and_arctan_are_odd_functions(name):
    function, _, _, boundaries = FUNCTIONS[name]
    x = draw_numbers(boundaries)

    assert function(-x, np.empty_like(x)).tobytes() == (-function(x, np.empty_like(x))).tobytes()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float_result_is_the_rounded_double_result(name):
    function, _, _, boundaries = FUNCTIONS[name]
    x = draw_numbers(boundaries)
    x = x[abs(x) < 80].astype(np.float32)
    double = function(x.astype(np.float64), np.empty(len(x)))

    assert double.astype(np.float32).tobytes() == function(x, np.empty_like(x)).tobytes()
