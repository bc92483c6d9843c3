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

from math import isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import daxpy, dger, saxpy, sger

from stream_perceptron.model.features import ByteRows
from stream_perceptron.model.kernel.types import Block, Rule

__all__ = ["NAME", "forward", "learn_rows", "learn_sparse", "wants_dense"]

Array = NDArray[Any]

NAME = "numpy"

_AXPY = {"d": daxpy, "f": saxpy}
_GER = {"d": dger, "f": sger}
# An increment below half the spacing of the largest floats cannot make a finite weight overflow.
_SAFE = {char: float(np.finfo(char).max * np.finfo(char).eps / 8) for char in "df"}


def wants_dense(n_nonzero: int, n_features: int) -> bool:
    """Whether a sample with `n_nonzero` of `n_features` is computed as a dense row.

    To gather a weight costs about as much as to compute with eight that lie in order, and up to
    1,024 columns the dense arithmetic costs less than the calls around it.
    """
    return n_features <= 1024 or n_nonzero * 8 >= n_features


def forward(weights: Array, biases: Array, columns: Array | None, values: Array) -> Array:
    """Return the net inputs (k,) of one sample.

    `values` (m,) belong to the ascending `columns` (m,), or to all columns if that is None.
    """
    if columns is None and not wants_dense(int(np.count_nonzero(values)), len(values)):
        columns = np.flatnonzero(values)
        values = values[columns]
    if columns is not None:
        weights = weights.take(columns, axis=1)
    with np.errstate(all="ignore"):
        return np.asarray(weights.dot(values) + biases)


def learn_rows(
    weights: Array, biases: Array, X: Array | ByteRows, rule: Rule, block: Block
) -> tuple[int, bool]:
    """Predict from and learn the rows of X (n, n_features), one after another.

    `weights` is C-contiguous and, like `biases`, changed in place. X is an array of their type, or
    `ByteRows`.

    Returns
    -------
    The number of rows done, and whether the next one was refused because it would diverge. With
    `rule.stop`, the first row whose eps is below epsilon is the last one done.

    """
    if isinstance(X, ByteRows):
        X = X.numbers(weights.dtype)
    ger = _GER[weights.dtype.char]
    axpy = _AXPY[weights.dtype.char]
    safe = _SAFE[weights.dtype.char]
    activation = rule.activation
    n_outputs, n_features = weights.shape
    d = np.full_like(biases, activation.low)
    y = np.empty_like(biases)
    delta = np.empty_like(biases)
    n_nonzero = None if wants_dense(0, n_features) else np.count_nonzero(X, axis=1).tolist()
    reach = np.maximum(X.max(axis=1, initial=1.0), -X.min(axis=1, initial=-1.0)).tolist()
    rates, sample_weights = block.rates.tolist(), block.sample_weights.tolist()
    n_updates = 0

    with np.errstate(all="ignore"):
        for i, (x, net, target) in enumerate(
            zip(X, block.nets, block.targets.tolist(), strict=True)
        ):
            w = weights
            is_dense = n_nonzero is None or wants_dense(n_nonzero[i], n_features)
            if not is_dense:
                columns = np.flatnonzero(x)
                x = x[columns]
                w = weights.take(columns, axis=1)

            np.add(w.dot(x, net), biases, net)
            if target < 0:
                continue
            activation.function(net, y)
            d[target] = activation.high
            np.subtract(d, y, delta)
            d[target] = activation.low
            eps = 0.5 * float(delta.dot(delta))
            if not (isfinite(eps) and (isfinite(net.dot(net)) or np.isfinite(net).all())):
                return i, True
            block.eps[i] = eps
            if eps < rule.epsilon:
                if rule.stop:
                    return i + 1, False
                continue

            np.multiply(delta, activation.derivative(net, y), delta)
            rate = rates[n_updates] * sample_weights[i]
            # No |delta_j| exceeds sqrt(2 eps), as no f' exceeds 1.
            if not rate * sqrt(2.0 * eps) * reach[i] < safe:
                step = rate * delta
                if (
                    not np.isfinite(w + np.multiply.outer(step, x)).all()
                    or not np.isfinite(biases + step).all()
                ):
                    return i, True
            if len(x):
                ger(rate, x, delta, a=w.T, overwrite_a=1)
            axpy(delta, biases, n_outputs, rate)
            if not is_dense:
                weights[:, columns] = w
            block.updated[i] = True
            n_updates += 1
    return len(X), False


def learn_sparse(
    weights: Array, biases: Array, columns: Array, X: Array, rule: Rule, block: Block
) -> tuple[int, bool]:
    """Do as `learn_rows` for rows X (n, m) over the ascending `columns` (m,) alone.

    `weights` need not be contiguous.
    """
    n_updates = 0
    for i, x in enumerate(X):
        nonzero = np.flatnonzero(x)
        gathered = weights.take(columns[nonzero], axis=1)
        rates = block.rates[n_updates : n_updates + 1]
        one = slice(i, i + 1)
        sample = Block(
            block.targets[one],
            block.sample_weights[one],
            rates,
            block.nets[one],
            block.eps[one],
            block.updated[one],
        )
        _, diverged = learn_rows(gathered, biases, x[np.newaxis, nonzero], rule, sample)
        if diverged:
            return i, True
        if block.updated[i]:
            weights[:, columns[nonzero]] = gathered
            n_updates += 1
        elif rule.stop and block.eps[i] < rule.epsilon:
            return i + 1, False
    return len(X), False
