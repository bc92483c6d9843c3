"""`check_update`: find the mistake in your own update rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from stream_perceptron.errors import UpdateError
from stream_perceptron.model import kernel
from stream_perceptron.model.activations import Activation, get_activation
from stream_perceptron.model.arrays import Array

Update = Callable[[Array, Array, Array, Array], tuple[Array, Array]]

_FEATURES, _OUTPUTS, _SAMPLES = 4, 3, 5


def check_update(
    update: Update, activation: str = "sigmoid", lr: float = 0.1, seed: int = 0
) -> None:
    """Compare your update with the correct one, and name the mistake.

    Parameters
    ----------
    update
        A function, called as `update(x, d, weights, bias)` with a sample x (n,), its targets d
        (k,), weights (k, n) and biases (k,). It must return new weights and biases: weights +
        lr outer(delta, x) and bias + lr delta, where delta = (d - y) f'(net), y = f(net) and
        net = weights x + bias.
    activation
        The activation function f in the update: sigmoid, tanh, arctan or identity.
    lr
        The learning rate of the update.
    seed
        Seed of the random samples.

    Raises
    ------
    UpdateError
        If the update differs from the correct one. The message names the mistake that explains the
        difference or, if no known mistake does, the quantity that is wrong.
    ValueError
        If there is no such activation.

    Examples
    --------
    >>> def update(x, d, weights, bias):
    ...     y = 1 / (1 + np.exp(-(weights @ x + bias)))
    ...     delta = np.dot(d - y, y * (1 - y))
    ...     return weights + 0.1 * delta * x, bias + 0.1 * delta
    >>> check_update(update)
    Traceback (most recent call last):
    ...
    stream_perceptron.errors.UpdateError: sample 1: delta is one number for all outputs; there \
must be one per output: delta = (d - y) * f'(net), without a sum

    """
    f = get_activation(activation)
    rng = np.random.default_rng(seed)
    for number in range(1, _SAMPLES + 1):
        d = np.full(_OUTPUTS, f.low)
        x = rng.normal(size=_FEATURES)
        d[rng.integers(_OUTPUTS)] = f.high
        weights, bias = rng.normal(size=(_OUTPUTS, _FEATURES)), rng.normal(size=_OUTPUTS)
        message = _find_mistake(update, _Sample(f, lr, x, d, weights, bias), number)
        if message is not None:
            raise UpdateError(f"sample {number}: {message}")


def _find_mistake(update: Update, sample: _Sample, number: int) -> str | None:
    """Describe the mistake that an update makes on a sample; return None if there is none."""
    inputs = [sample.x, sample.d, sample.weights, sample.bias]
    copies = [array.copy() for array in inputs]
    try:
        new_weights, new_bias = update(*copies)
    except (TypeError, ValueError) as error:
        shapes = ", ".join(str(array.shape) for array in inputs)
        raise UpdateError(
            f"sample {number}: update(x, d, weights, bias) with shapes {shapes} must return new "
            f"weights and new biases: {error}"
        ) from error
    message = sample.find_mistake(np.asarray(new_weights), np.asarray(new_bias))
    is_changed = any(map(lambda a, b: not np.array_equal(a, b), copies[:2], inputs[:2]))
    if message is None and is_changed:
        return "x or d is changed in place, but both belong to the caller"
    return message


class _Sample:
    """One sample, and the correct update for it."""

    def __init__(
        self, f: Activation, lr: float, x: Array, d: Array, weights: Array, bias: Array
    ) -> None:
        self.f, self.lr, self.x, self.d = f, lr, x, d
        self.weights, self.bias = weights, bias
        self.net = weights @ x + bias
        self.y, self.slope = kernel.compute_outputs(f, self.net)
        self.delta = (d - self.y) * self.slope

    def find_mistake(self, weights: Array, bias: Array) -> str | None:
        """Describe the mistake in new weights and biases; return None if they are correct."""
        for name, new, old in (("weights", weights, self.weights), ("biases", bias, self.bias)):
            if new.shape != old.shape:
                return f"the new {name} have shape {new.shape}, the old ones {old.shape}"
        change_made, bias_change_made = weights - self.weights, bias - self.bias
        expected = self._compute_change(self.delta)
        if _are_close(change_made, expected[0]) and _are_close(bias_change_made, expected[1]):
            return None
        for message, (change, bias_change) in self._compute_mistaken_changes():
            if _are_close(change_made, change) and _are_close(bias_change_made, bias_change):
                return message
        if _are_close(change_made, expected[0]):
            if not bias_change_made.any():
                return "bias not updated: add lr * delta, as for a weight whose x is 1"
            return (
                f"the biases change by {_format_vector(bias_change_made)}, "
                f"not by lr * delta, {_format_vector(expected[1])}"
            )
        # Solve change_made = lr * outer(delta, x) for delta.
        delta = change_made @ self.x / (self.lr * (self.x @ self.x))
        if not _are_close(change_made, self.lr * np.multiply.outer(delta, self.x)):
            return "the change in the weights is not lr * np.outer(delta, x)"
        return (
            f"delta is {_format_vector(delta)}; (d - y) * f'(net) is {_format_vector(self.delta)}"
        )

    def _compute_change(self, delta: Array) -> tuple[Array, Array]:
        """Return the changes in the weights, shape (k, n), and in the biases, shape (k,)."""
        return self.lr * np.multiply.outer(delta, self.x), self.lr * delta

    def _compute_mistaken_changes(self) -> Iterator[tuple[str, tuple[Array, Array]]]:
        """Yield the message for each common mistake, and the changes that the mistake causes."""
        x, d, y, slope, delta = self.x, self.d, self.y, self.slope, self.delta
        ones = np.ones_like(delta)
        f = self.f.name
        for scalar in ((d - y) @ slope, (d - y).sum() * slope.sum(), (d - y).sum()):
            yield (
                "delta is one number for all outputs; there must be one per output: "
                "delta = (d - y) * f'(net), without a sum",
                self._compute_change(scalar * ones),
            )
        yield (
            "sign: the step goes uphill; add lr * delta * x with delta = (d - y) * f'(net)",
            (self._compute_change(-delta)),
        )
        yield (
            "the derivative f' is left out: delta = (d - y) * f'(net)",
            self._compute_change(d - y),
        )
        _, slope_at_y = kernel.compute_outputs(self.f, y)
        yield (
            f"derivative taken at y, not at net: y is already {f}(net)",
            self._compute_change((d - y) * slope_at_y),
        )
        yield (
            "lr is left out: the step is lr * delta * x",
            (np.multiply.outer(delta, x), delta),
        )
        yield (
            "the step is twice as long as it should be: the error is half the squared distance, "
            "so its derivative has no factor of 2",
            self._compute_change(2 * delta),
        )
        yield (
            "only the output of the label learns; all outputs must, even those with a low target",
            self._compute_change(np.where(d == self.f.high, delta, 0.0)),
        )
        y_without_bias, slope_without_bias = kernel.compute_outputs(self.f, self.weights @ x)
        yield (
            "net leaves the bias out: net = weights @ x + bias",
            self._compute_change((d - y_without_bias) * slope_without_bias),
        )
        error = 0.5 * (d - y) @ (d - y)
        yield (
            "delta uses the error of the whole sample instead of d - y",
            (self._compute_change(error * slope)),
        )


def _are_close(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=1e-6, atol=1e-9))


def _format_vector(values: Array) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values.tolist()) + "]"
