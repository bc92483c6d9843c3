"""`check_update` finds the mistake in your own update rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import UpdateError
from stream_perceptron.model.activations import Activation, get_activation

Array = NDArray[Any]
Update = Callable[[Array, Array, Array, Array], tuple[Array, Array]]

_FEATURES, _OUTPUTS, _SAMPLES = 4, 3, 5


def check_update(
    update: Update, activation: str = "sigmoid", lr: float = 0.1, seed: int = 0
) -> None:
    """Compare your update with the right one, and name the mistake.

    Parameters
    ----------
    update
        A function, called as `update(x, d, weights, bias)` with a sample x (n,), its targets d
        (k,), weights (k, n) and biases (k,). It returns new weights and biases: weights +
        lr outer(delta, x) and bias + lr delta, where delta = (d - y) f'(net), y = f(net),
        net = weights x + bias.
    activation
        The f of the update: sigmoid, tanh, arctan or identity.
    lr
        The learning rate of the update.
    seed
        Seed of the random samples.

    Raises
    ------
    UpdateError
        If the update differs. The message names the mistake that explains the difference, or else
        the wrong quantity.
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
        message = _mistake(update, _Sample(f, lr, x, d, weights, bias), number)
        if message is not None:
            raise UpdateError(f"sample {number}: {message}")


def _mistake(update: Update, sample: _Sample, number: int) -> str | None:
    """Return the mistake of an update on a sample as text, or None."""
    inputs = [sample.x, sample.d, sample.weights, sample.bias]
    given = [each.copy() for each in inputs]
    try:
        new_weights, new_bias = update(*given)
    except (TypeError, ValueError) as error:
        shapes = ", ".join(str(each.shape) for each in inputs)
        raise UpdateError(
            f"sample {number}: update(x, d, weights, bias) with shapes {shapes} must return new "
            f"weights and new biases: {error}"
        ) from error
    message = sample.mistake(np.asarray(new_weights), np.asarray(new_bias))
    is_changed = any(map(lambda a, b: not np.array_equal(a, b), given[:2], inputs[:2]))
    if message is None and is_changed:
        return "x or d is changed in place; they belong to the caller"
    return message


class _Sample:
    """One sample, and the right update of the weights."""

    def __init__(
        self, f: Activation, lr: float, x: Array, d: Array, weights: Array, bias: Array
    ) -> None:
        self.f, self.lr, self.x, self.d = f, lr, x, d
        self.weights, self.bias = weights, bias
        self.net = weights @ x + bias
        self.y = self._f(self.net)
        self.slope = f.derivative(self.net, self.y)
        self.delta = (d - self.y) * self.slope

    def _f(self, net: Array) -> Array:
        y = np.empty_like(net)
        self.f.function(net, y)
        return y

    def mistake(self, weights: Array, bias: Array) -> str | None:
        """Return the mistake in new weights and biases as text, or None."""
        for name, new, old in (("weights", weights, self.weights), ("biases", bias, self.bias)):
            if new.shape != old.shape:
                return f"the new {name} have shape {new.shape}, the old ones {old.shape}"
        moved, moved_bias = weights - self.weights, bias - self.bias
        right = self._update(self.delta)
        if _same(moved, right[0]) and _same(moved_bias, right[1]):
            return None
        for message, (change, bias_change) in self._mistakes():
            if _same(moved, change) and _same(moved_bias, bias_change):
                return message
        if _same(moved, right[0]):
            if not moved_bias.any():
                return "bias not updated: it changes by lr * delta, like a weight whose x is 1"
            return (
                f"the biases change by {_shown(moved_bias)}, not by lr * delta, {_shown(right[1])}"
            )
        # Solve moved = lr * outer(delta, x) for delta.
        delta = moved @ self.x / (self.lr * (self.x @ self.x))
        if not _same(moved, self.lr * np.multiply.outer(delta, self.x)):
            return "the change of the weights is not lr * np.outer(delta, x)"
        return f"delta is {_shown(delta)}; (d - y) * f'(net) is {_shown(self.delta)}"

    def _update(self, delta: Array, bias_delta: Array | None = None) -> tuple[Array, Array]:
        return (
            self.lr * np.multiply.outer(delta, self.x),
            self.lr * (delta if bias_delta is None else bias_delta),
        )

    def _mistakes(self) -> Iterator[tuple[str, tuple[Array, Array]]]:
        x, d, y, slope, delta = self.x, self.d, self.y, self.slope, self.delta
        one = np.ones_like(delta)
        f = self.f.name
        for scalar in ((d - y) @ slope, (d - y).sum() * slope.sum(), (d - y).sum()):
            yield (
                "delta is one number for all outputs; there must be one per output: "
                "delta = (d - y) * f'(net), without a sum",
                self._update(scalar * one),
            )
        yield (
            "sign: the step goes uphill; add lr * delta * x with delta = (d - y) * f'(net)",
            (self._update(-delta)),
        )
        yield "the derivative f' is left out: delta = (d - y) * f'(net)", self._update(d - y)
        of_y = self.f.derivative(y, self._f(y))
        yield (
            f"derivative taken of y, not of net: y is {f}(net) already",
            self._update((d - y) * of_y),
        )
        yield (
            "lr is left out: the step is lr * delta * x",
            (np.multiply.outer(delta, x), delta),
        )
        yield (
            "the step is twice as long as it should be: the error is half the squared one, so "
            "its derivative has no 2",
            self._update(2 * delta),
        )
        yield (
            "only the output of the label learns; all outputs must, also those with a low target",
            self._update(np.where(d == self.f.high, delta, 0.0)),
        )
        net = self.weights @ x
        bare = self._f(net)
        yield (
            "net leaves the bias out: net = weights @ x + bias",
            self._update((d - bare) * self.f.derivative(net, bare)),
        )
        error = 0.5 * (d - y) @ (d - y)
        yield (
            "delta uses the error of the whole sample instead of d - y",
            (self._update(error * slope)),
        )


def _same(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=1e-6, atol=1e-9))


def _shown(values: Array) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values.tolist()) + "]"
