"""The activation functions, their targets and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.arrays import Array

# Bit-identical on every machine.
_functions: Any = import_module("stream_perceptron.model._elementary")


@dataclass(frozen=True, eq=False, repr=False)
class Activation:
    """An output function y = f(net), with its targets."""

    name: str  # as users specify it
    low: float  # target of the other outputs
    high: float  # target of the output for the sample's label
    # `function(net, out)` writes f(net) into `out`, elementwise.
    function: Callable[[Array, Array], Array]
    # `derivative(net, y)` returns f'(net), given y = f(net).
    derivative: Callable[[Array, Array], Array]

    def __reduce__(self) -> tuple[Callable[[str], Activation], tuple[str]]:
        return get_activation, (self.name,)


def sum_rows(numbers: Array) -> NDArray[np.float64]:
    """Sum each row of an array (n, k) from left to right; return the sums, shape (n,)."""
    if not numbers.shape[1]:
        return np.zeros(len(numbers))
    return np.asarray(np.add.accumulate(numbers, axis=1)[:, -1])


def _sigmoid(net: Array, out: Array) -> Array:
    # For a net input below -709, exp overflows to infinity, and 1 / infinity is 0, as it should be.
    _functions.exp(np.negative(net, out), out)
    return np.reciprocal(np.add(out, 1.0, out), out)


def _identity(net: Array, out: Array) -> Array:
    np.copyto(out, net)
    return out


def _arctan_derivative(net: Array, y: Array) -> Array:
    return np.asarray(1.0 / (1.0 + net * net))


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation("sigmoid", 0.0, 1.0, _sigmoid, lambda net, y: (1.0 - y) * y),
        Activation("tanh", -1.0, 1.0, _functions.tanh, lambda net, y: 1.0 - y * y),
        Activation("arctan", -np.pi / 2, np.pi / 2, _functions.arctan, _arctan_derivative),
        Activation("identity", 0.0, 1.0, _identity, lambda net, y: np.ones_like(net)),
    )
}

_STEP_NAMES = {"step", "unit_step", "unit step", "heaviside", "sign", "sgn", "threshold"}


def get_activation(name: str) -> Activation:
    """Return the activation with this name.

    Parameters
    ----------
    name
        sigmoid, tanh, arctan or identity.

    Raises
    ------
    ValueError
        If the name is unknown or is that of the unit step, which the delta rule cannot train.

    Examples
    --------
    >>> tanh = get_activation("tanh")
    >>> tanh.low, tanh.high
    (-1.0, 1.0)

    >>> get_activation("step")
    Traceback (most recent call last):
    ...
    ValueError: activation 'step' cannot be trained by the delta rule: its derivative is zero, so \
every update would be zero; choose sigmoid, tanh, arctan or identity, or use \
river.linear_model.Perceptron, whose rule is made for the step function

    """
    try:
        return ACTIVATIONS[name]
    except (KeyError, TypeError):
        pass
    choices = ", ".join(list(ACTIVATIONS)[:-1]) + " or " + list(ACTIVATIONS)[-1]
    if isinstance(name, str) and name.lower() in _STEP_NAMES:
        raise ValueError(
            f"activation {name!r} cannot be trained by the delta rule: its derivative is zero, "
            f"so every update would be zero; choose {choices}, or use "
            "river.linear_model.Perceptron, whose rule is made for the step function"
        )
    raise ValueError(f"activation {name!r} is unknown: choose {choices}")
