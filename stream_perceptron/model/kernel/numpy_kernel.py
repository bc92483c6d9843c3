"""The delta rule in NumPy, one sample after another.

For a sample x with target d, k outputs and n features, in the order of the code:

    net   = W x + b                      W (k, n), b (k,)
    y     = f(net)
    eps   = 1/2 sum_j (d_j - y_j)^2      no update if eps < epsilon
    delta = (d - y) f'(net)              (k,), one number for each output
    W    += rate * outer(delta, x)
    b    += rate * delta

A row with few nonzero features among many is learned on its nonzero columns, gathered and put
back, so that it costs what its nonzero features cost. The choice depends on these two numbers
alone, so a sample gives the same bits however it came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import daxpy, dger, saxpy, sger

from stream_perceptron.model.activations import Activation, row_sums
from stream_perceptron.model.features import Features, Sparse, wants_dense
from stream_perceptron.model.kernel.types import Block, Counters, Done, Outcome, Rule
from stream_perceptron.model.scaler import Scaler

Array = NDArray[Any]

NAME = "numpy"

_AXPY = {"d": daxpy, "f": saxpy}
_GER = {"d": dger, "f": sger}
# An increment below half the spacing of the largest floats cannot make a finite weight overflow.
_SAFE = {char: float(np.finfo(char).max * np.finfo(char).eps / 8) for char in "df"}


def learn(
    weights: Array,
    biases: Array,
    features: Features,
    rule: Rule,
    block: Block,
    counters: Counters,
    scaler: Scaler | None = None,
) -> Done:
    """Predict from and learn rows of features, one after another.

    With a scaler, rows are float64 and have a value for each feature that is there. Each one is
    predicted with the statistics so far; then they are updated with it, and it is scaled anew to be
    learned, as in River's progressive loop.

    Returns
    -------
    How far it came. With `rule.stop`, the first row whose eps is below epsilon is the last one.

    """
    char = weights.dtype.char
    ger, axpy, safe = _GER[char], _AXPY[char], _SAFE[char]
    activation = rule.activation
    n_outputs = len(biases)
    d = np.full_like(biases, activation.low)
    y, delta = np.empty_like(biases), np.empty_like(biases)
    rates, sample_weights = block.rates.tolist(), block.sample_weights.tolist()
    n_updates = n_tests = 0
    all_weights = weights
    widths = [weights.shape[1]] * (len(features) + 1)
    if block.widths is not None:
        widths = block.widths.tolist()
    rows = _rows(features, weights.dtype, widths) if scaler is None else _present(features, widths)
    samples = zip(rows, block.nets, block.targets.tolist(), strict=True)
    with np.errstate(all="ignore"):
        for i, ((columns, x), net, target) in enumerate(samples):
            weights = all_weights[:, : widths[i + 1]]
            if scaler is not None:
                there, raw = columns, x
                columns, x = _scaled(scaler, there, raw, weights)
            if widths[i] < widths[i + 1] and block.tests is not None:
                _test(block.tests[n_tests], columns, x, weights[:, : widths[i]], biases)
                n_tests += 1
            # BLAS changes contiguous weights in place, and a copy of others.
            w = np.ascontiguousarray(weights) if columns is None else weights.take(columns, axis=1)
            np.add(w.dot(x, net), biases, net)
            if target < 0:
                continue
            before: Array | None = None
            if scaler is not None:
                before = scaler.at(there, len(raw))
                if scaler.update(there, raw):
                    return Done(i, True)
                columns, x = _scaled(scaler, there, raw, weights)
                net = np.add(w.dot(x), biases)
            activation.function(net, y)
            d[target] = activation.high
            np.subtract(d, y, delta)
            d[target] = activation.low
            eps = 0.5 * float(delta.dot(delta))
            if not (isfinite(eps) and np.isfinite(net).all()):
                if scaler is not None and before is not None:
                    scaler.put(there, before)
                return Done(i, True)
            updates = eps >= rule.epsilon
            if updates:
                np.multiply(delta, activation.derivative(net, y), delta)
                rate = rates[n_updates] * sample_weights[i]
                # No |delta_j| exceeds sqrt(2 eps), as no f' exceeds 1.
                reach = max(1.0, float(x.max(initial=0.0)), -float(x.min(initial=0.0)))
                step = None
                if not (rate < safe and rate * sqrt(2.0 * eps) * reach < safe):
                    # The rate by itself may be more than the type can hold.
                    step = (rate * delta.astype(np.float64)).astype(delta.dtype)
                    if (
                        not np.isfinite(w + np.multiply.outer(step, x)).all()
                        or not np.isfinite(biases + step).all()
                    ):
                        if scaler is not None and before is not None:
                            scaler.put(there, before)
                        return Done(i, True)
                rate, change = (rate, delta) if step is None else (1.0, step)
                if len(x):
                    ger(rate, x, change, a=w.T, overwrite_a=1)
                axpy(change, biases, n_outputs, rate)
                if columns is not None:
                    weights[:, columns] = w
                elif w is not weights:
                    weights[:] = w
                block.updated[i] = True
                n_updates += 1
            block.eps[i] = counters.last[0] = eps
            counters.counts += (1, updates)
            if not updates and rule.stop:
                return Done(i + 1, False)
    return Done(len(features), False)


def _test(
    net: Array, columns: NDArray[np.intp] | None, x: Array, weights: Array, biases: Array
) -> None:
    """Write the net inputs of a row by the weights of its first features."""
    d = weights.shape[1]
    if columns is None:
        columns, x = None, x[:d]
    else:
        columns, x = columns[columns < d], x[columns < d]
        if wants_dense(len(columns), d):
            values = np.zeros(d, weights.dtype)
            values[columns] = x
            columns, x = None, values
    w = np.ascontiguousarray(weights) if columns is None else weights.take(columns, axis=1)
    np.add(w.dot(x, net), biases, net)


def _rows(
    features: Features, dtype: np.dtype[Any], widths: Sequence[int]
) -> Iterator[tuple[Array | None, Array]]:
    """Yield each row up to its width: nonzero columns and their values, or None and all values."""
    if isinstance(features, Sparse):
        for (columns, x), d in zip(_present(features, widths), widths[1:], strict=True):
            assert columns is not None
            nonzero = np.flatnonzero(x)
            columns, x = columns[nonzero], x[nonzero]
            if wants_dense(len(columns), d):
                values = np.zeros(d, dtype)
                values[columns] = x
                yield None, values
            else:
                yield columns, x
        return
    for x, d in zip(features.numbers(dtype), widths[1:], strict=True):
        x = x[:d]
        if wants_dense(0, d) or wants_dense(int(np.count_nonzero(x)), d):
            yield None, np.ascontiguousarray(x)
        else:
            columns = np.flatnonzero(x)
            yield columns, x[columns]


def _present(
    features: Features, widths: Sequence[int]
) -> Iterator[tuple[NDArray[np.intp] | None, Array]]:
    """Yield the columns and the values of what is there of each row, up to its width.

    None stands for all columns.
    """
    if isinstance(features, Sparse):
        for (start, end), d in zip(pairwise(features.starts.tolist()), widths[1:], strict=True):
            columns, values = features.columns[start:end], features.values[start:end]
            if len(columns) and columns.max() >= d:
                values, columns = values[columns < d], columns[columns < d]
            yield columns, values
    else:
        for x, d in zip(features.values, widths[1:], strict=True):
            there = ~np.isnan(x[:d])
            if there.all():
                yield None, x[:d]
            else:
                columns = np.flatnonzero(there)
                yield columns, x[columns]


def _scaled(
    scaler: Scaler, columns: NDArray[np.intp] | None, raw: Array, weights: Array
) -> tuple[NDArray[np.intp] | None, Array]:
    """Return a row scaled, as `_rows` would yield it."""
    x = scaler.scaled(columns, raw).astype(weights.dtype)
    if columns is None or not wants_dense(len(columns), weights.shape[1]):
        return columns, x
    values = np.zeros(weights.shape[1], weights.dtype)
    values[columns] = x
    return None, values


def probabilities(activation: Activation, nets: Array) -> NDArray[np.float64]:
    """Return the probabilities (n, k) that belong to net inputs (n, k).

    Outputs minus the low target, minus the smallest if that is negative, scaled to a sum of 1;
    uniform if all are zero.
    """
    y = np.empty(nets.shape)
    with np.errstate(over="ignore"):
        activation.function(nets.astype(np.float64), y)
    y -= activation.low
    y -= y.min(axis=1, keepdims=True, initial=0.0)
    top = y.max(axis=1, keepdims=True, initial=0.0)
    # Scaling by the largest first keeps the sum finite.
    y = np.divide(y, top, out=np.ones_like(y), where=top > 0)
    return np.asarray(y / row_sums(y)[:, np.newaxis])


def learn_one(*_: Any) -> Outcome:
    """Refuse: this kernel has no short way for a dict."""
    return Outcome.NOT_PLAIN


def net_one(*_: Any) -> None:
    """Refuse, as `learn_one`."""


def predict_one(*_: Any) -> int:
    """Refuse, as `learn_one`."""
    return -1


def fill(*_: Any) -> bool:
    """Refuse, as `learn_one`."""
    return False
