"""The delta rule in NumPy, one sample after another: the reference for the compiled kernel.

For a sample with m nonzero features x, weight rows W (m, k), biases b (k,) and target d (k,):

    nets   = x W + b                     (k,)
    y      = f(nets)                     (k,)
    error  = 1/2 sum_j (d_j - y_j)^2     no update if error < epsilon
    deltas = (d - y) f'(nets)            (k,), one for each output
    W     += rate outer(x, deltas)
    b     += rate deltas
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.activations import Activation, sum_rows
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.kernel.types import Part, Results, Rule
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.weights import Weights

NAME = "numpy"


class Deltas(NamedTuple):
    """The outputs, targets, error and deltas of a sample; arrays have shape (k,)."""

    y: Array  # outputs
    d: Array  # targets of the outputs
    error: float
    deltas: Array


def compute_deltas(activation: Activation, nets: Array, target: int) -> Deltas:
    """Compute outputs, targets, error and deltas from net inputs (k,) and the label's index."""
    y = activation.function(nets, np.empty_like(nets))
    d = np.full_like(nets, activation.low)
    d[target] = activation.high
    error = 0.5 * float((d - y) @ (d - y))
    return Deltas(y, d, error, (d - y) * activation.derivative(nets, y))


def learn(weights: Weights, rule: Rule, scaler: Scaler | None, part: Part, results: Results) -> int:
    """Predict and then learn rows, one after another; return the number of rows processed.

    Processing ends early before a row that would make the model diverge, and after a row that ends
    the training. With a scaler, a row is standardized for its prediction, added to the statistics,
    and standardized again before it is learned.
    """
    n_done = _learn_rows(weights, rule, scaler, part, results)
    nets = results.nets[:n_done]
    if not nets.size:
        return n_done
    if results.predicted is not None:
        results.predicted[:n_done] = nets.argmax(axis=1)
    if results.scores is not None:
        results.scores[:n_done] = compute_scores(rule.activation, nets).max(axis=1)
    return n_done


def _learn_rows(
    weights: Weights, rule: Rule, scaler: Scaler | None, part: Part, results: Results
) -> int:
    """Predict and then learn rows, without choosing an output for each."""
    W, b, n_updates = weights.weights.T, weights.biases, 0
    counters = results.counters
    with np.errstate(all="ignore"):
        for i, target in enumerate(part.targets.tolist()):
            feature_ids, raw = _read_row(part, i, len(W))
            before = None if scaler is None else scaler.get_statistics(feature_ids)
            ids, x = _standardize(scaler, feature_ids, raw)
            nets = results.nets[i] = _compute_nets(W[ids], x, b)
            if not np.isfinite(nets).all():
                return i
            if target < 0:
                continue
            if scaler is not None:
                if not scaler.add_sample(feature_ids, raw):
                    return i
                ids, x = _standardize(scaler, feature_ids, raw)
                nets = _compute_nets(W[ids], x, b)
            *_, error, deltas = compute_deltas(rule.activation, nets, target)
            updates = error >= rule.epsilon
            rate = part.rates[n_updates] * part.sample_weights[i] if updates else 0.0
            new_rows, new_biases = W[ids] + np.outer(x, rate * deltas), b + rate * deltas
            if not all(np.isfinite(each).all() for each in (nets, error, new_rows, new_biases)):
                if scaler is not None and before is not None:
                    scaler.set_statistics(feature_ids, before)
                return i
            if updates:
                W[ids], b[:] = new_rows, new_biases
            results.updated[i] = updates
            n_updates += updates
            results.errors[i] = counters.last_error[0] = error
            counters.counts += (1, updates)
            if rule.stop and not updates:
                return i + 1
    return len(part.targets)


def _compute_nets(rows: Array, x: Array, b: Array) -> Array:
    """Return the net inputs (k,) from the weights (m, k) of the nonzero features of a row.

    Products are added from left to right, so that trailing features with weight 0 change no bit.
    """
    return sum_rows(rows.T * x) + b


def _read_row(part: Part, i: int, d: int) -> tuple[Array, Array]:
    """Return the known features of a row, those that it adds last, and their values."""
    rows = part.rows[i : i + 1]
    ids = part.feature_ids[rows.value_name_ids]
    known, end = (d, d) if part.n_known is None else part.n_known[i : i + 2].tolist()
    order = np.argsort(ids >= known, kind="stable")
    order = order[(ids[order] >= 0) & (ids[order] < end)]
    return ids[order], rows.numbers[order]


def _standardize(scaler: Scaler | None, ids: Array, x: Array) -> tuple[Array, Array]:
    """Return the nonzero features of a row, standardized if there is a scaler."""
    if scaler is not None:
        x = scaler.standardize(ids, x)
    return ids[x != 0], x[x != 0]


def compute_scores(activation: Activation, nets: Array) -> NDArray[np.float64]:
    """Compute the scores (n, k) from net inputs (n, k).

    The low target is subtracted from the outputs of a row; then the smallest difference is
    subtracted if it is negative, and the results are scaled to a sum of 1. If all results are zero,
    the scores are uniform.
    """
    y = np.empty(nets.shape)
    with np.errstate(over="ignore"):
        activation.function(nets, y)
    y -= activation.low
    smallest, largest = (f(axis=1, keepdims=True, initial=0.0) for f in (y.min, y.max))
    with np.errstate(over="ignore"):
        factor = np.where(largest - smallest < np.inf, 1.0, 0.5)  # prevents overflow
    y = factor * y - factor * smallest
    largest = y.max(axis=1, keepdims=True, initial=0.0)
    # Dividing by the largest value first keeps the sum finite.
    y = np.divide(y, largest, out=np.ones_like(y), where=largest > 0)
    return np.asarray(y / sum_rows(y)[:, np.newaxis])
