"""The delta rule in NumPy, one sample after another.

For a sample x with target d, k outputs and m nonzero features, in the order of the code:

    net   = x W + b                      W (m, k), b (k,)
    y     = f(net)
    eps   = 1/2 sum_j (d_j - y_j)^2      no update if eps < epsilon
    delta = (d - y) f'(net)              (k,), one number for each output
    W    += rate * outer(x, delta)
    b    += rate * delta

So a sample's cost depends on its nonzero features, not on how many are known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.activations import Activation, row_sums
from stream_perceptron.model.kernel.types import Block, Counters, Done, Rule
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.weights import Grown

Array = NDArray[Any]

NAME = "numpy"


def learn(
    store: Grown, rows: Rows, places: NDArray[np.int32], rule: Rule, block: Block,
    counters: Counters, scaler: Scaler | None = None,
) -> Done:  # fmt: skip
    """Predict and then learn rows of features, one after another.

    `places` has the column of the weights for each name of the rows, -1 for none. A scaler predicts
    each row with the statistics so far, counts it, and scales it again to learn it. With
    `rule.stop`, the first row with eps < epsilon ends the training.
    """
    W, biases = store.weights.T, store.biases
    widths = np.full(len(rows) + 1, len(W)) if block.widths is None else block.widths
    every, values, n_updates, n_tests = places[rows.places], rows.numbers, 0, 0
    with np.errstate(all="ignore"):
        for i, target in enumerate(block.targets.tolist()):
            cells = slice(rows.starts[i], rows.starts[i + 1])
            there, raw = _chosen(every[cells], values[cells], widths[i + 1])
            at, x = _nonzero(there, raw if scaler is None else scaler.scaled(there, raw))
            net = block.nets[i] = x @ W[at] + biases
            if block.tests is not None and widths[i] < widths[i + 1]:
                known = at < widths[i]
                test = block.tests[n_tests] = x[known] @ W[at[known]] + biases
                n_tests += 1
                if not np.isfinite(test).all():
                    return Done(i, True)
            if not np.isfinite(net).all():
                return Done(i, True)
            if target < 0:
                continue
            before = None if scaler is None else scaler.at(there)
            if scaler is not None:
                if scaler.update(there, raw):
                    return Done(i, True)
                at, x = _nonzero(there, scaler.scaled(there, raw))
                net = x @ W[at] + biases
            eps, delta = _errors(rule.activation, net, target)
            updates = eps >= rule.epsilon
            rate = block.rates[n_updates] * block.sample_weights[i] if updates else 0.0
            step = rate * delta
            new_weights, new_biases = W[at] + np.outer(x, step), biases + step
            if not all(np.isfinite(each).all() for each in (eps, net, new_weights, new_biases)):
                if scaler is not None and before is not None:
                    scaler.put(there, before)
                return Done(i, True)
            if updates:
                W[at], biases[:] = new_weights, new_biases
            block.updated[i] = updates
            n_updates += updates
            block.eps[i] = counters.last[0] = eps
            counters.counts += (1, updates)
            if rule.stop and not updates:
                return Done(i + 1, False)
    return Done(len(rows), False)


def _errors(activation: Activation, net: Array, target: int) -> tuple[float, Array]:
    """Return eps and delta (k,) of net inputs (k,)."""
    y = np.empty_like(net)
    activation.function(net, y)
    error = np.full_like(net, activation.low) - y
    error[target] = activation.high - y[target]
    slopes = activation.derivative(net, y)
    return 0.5 * float(error @ error), error * slopes


def _chosen(at: Array, x: Array, width: int) -> tuple[Array, Array]:
    """Return a row's known features in ascending order, and their values."""
    order = np.argsort(at, kind="stable")
    order = order[(at[order] >= 0) & (at[order] < width)]
    return at[order], x[order]


def _nonzero(at: Array, x: Array) -> tuple[Array, Array]:
    """Return the features with nonzero values."""
    return at[x != 0], x[x != 0]


def probabilities(activation: Activation, nets: Array) -> NDArray[np.float64]:
    """Return the probabilities (n, k) for net inputs (n, k).

    From each output subtract the low target, then the smallest if that is negative; scale to a sum
    of 1. If all are zero, the probabilities are uniform.
    """
    y = np.empty(nets.shape)
    with np.errstate(over="ignore"):
        activation.function(nets, y)
    y -= activation.low
    y -= y.min(axis=1, keepdims=True, initial=0.0)
    top = y.max(axis=1, keepdims=True, initial=0.0)
    # Scaling by the largest first keeps the sum finite.
    y = np.divide(y, top, out=np.ones_like(y), where=top > 0)
    return np.asarray(y / row_sums(y)[:, np.newaxis])
