"""The activation functions and their targets."""

from __future__ import annotations

import math
from typing import NamedTuple

from stream_perceptron.model.rates import FallingRate


class Activation(NamedTuple):
    """An output function, which the kernel computes, with its targets."""

    name: str  # as users specify it
    low: float  # target of the outputs for all other labels
    high: float  # target of the output for the sample's label
    default_lr: float | FallingRate = 0.01


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation("sigmoid", 0.0, 1.0, FallingRate()),
        Activation("tanh", -1.0, 1.0),
        Activation("arctan", -math.pi / 2, math.pi / 2),
        Activation("identity", 0.0, 1.0),
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
