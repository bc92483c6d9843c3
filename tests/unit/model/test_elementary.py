"""exp, tanh and atan: their errors and their special values."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from stream_perceptron.model import _elementary

FUNCTIONS = {
    # The function, its reference, the bound of its error in ulp, and its joints.
    "exp": (_elementary.exp, mpmath.exp, 1.0, [0.3466, 1.0397, 709.78, 745.13]),
    "tanh": (_elementary.tanh, mpmath.tanh, 2.0, [0.55, 19.06]),
    "arctan": (_elementary.arctan, mpmath.atan, 1.0, [0.4375, 0.6875, 1.1875, 2.4375]),
}


def values(joints):
    """Numbers of all exponents and signs, many of them near a function's joints."""
    rng = np.random.default_rng(0)
    exponents = np.repeat(np.arange(-1073, 1025), 8)
    anywhere = np.ldexp(rng.uniform(0.5, 1.0, len(exponents)), exponents)
    usual = rng.uniform(0.0, 1.0, 20_000) * 2.0 ** rng.integers(-6, 10, 20_000)
    near = [joint * (1.0 + rng.uniform(-1, 1, 2000) * 2.0**-5) for joint in joints]
    numbers = np.concatenate([anywhere, usual, *near])
    return np.concatenate([numbers, -numbers])


def error(found, truth):
    """Return the error of a number in ulp of its reference."""
    nearest = float(truth)
    if math.isinf(nearest) or math.isinf(found):
        return 0.0 if found == nearest else math.inf
    return float(abs(mpmath.mpf(found) - truth) / mpmath.mpf(float(np.spacing(abs(nearest)))))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_are_within_their_bounds(name, tell):
    function, true, bound, joints = FUNCTIONS[name]
    x = values(joints)
    found = function(x, np.empty_like(x)).tolist()
    with mpmath.workprec(120):
        errors = [
            error(y, true(mpmath.mpf(each)))
            for y, each in zip(found, x.tolist(), strict=True)
            if name != "exp" or abs(each) < 1000
        ]

    tell(f"{name}: {max(errors):.3f} ulp at most over {len(errors):,} numbers")
    assert max(errors) <= bound


@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values(name):
    function, *_ = FUNCTIONS[name]
    x = np.array([0.0, -0.0, np.inf, -np.inf, 5e-324, -5e-324, 1e308, -1e308])
    expected = {
        "exp": [1.0, 1.0, np.inf, 0.0, 1.0, 1.0, np.inf, 0.0],
        "tanh": [0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 1.0, -1.0],
        "arctan": [0.0, -0.0, np.pi / 2, -np.pi / 2, 5e-324, -5e-324, np.pi / 2, -np.pi / 2],
    }[name]

    assert np.array(expected).tobytes() == function(x, np.empty(8)).tobytes()
    # NaN, and a NaN with another payload.
    odd = np.array([0x7FF8000000000000, 0x7FF8000000000040], np.uint64).view(np.float64)
    assert np.isnan(function(odd, np.empty(2))).all()


@pytest.mark.parametrize("name", ["tanh", "arctan"])
def test_odd_functions_are_odd(name):
    function, _, _, joints = FUNCTIONS[name]
    x = values(joints)

    assert function(-x, np.empty_like(x)).tobytes() == (-function(x, np.empty_like(x))).tobytes()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_float_is_the_double_rounded(name):
    function, _, _, joints = FUNCTIONS[name]
    x = values(joints)
    x = x[abs(x) < 80].astype(np.float32)
    double = function(x.astype(np.float64), np.empty(len(x)))

    assert double.astype(np.float32).tobytes() == function(x, np.empty_like(x)).tobytes()
