"""Samples in every form, learned by the kernels and by the rule as it is written on paper."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import growing
import numpy as np

from stream_perceptron import DivergedError, SampleError, SGDPerceptron
from stream_perceptron.model import activations

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from oracle import step


def case(rng: np.random.Generator, folder: Path) -> str:
    """Learn random samples one by one, in one block, and on paper; or with a model that grows."""
    if rng.random() < 0.3:
        return growing.case(rng, folder)
    k, d, n = int(rng.integers(2, 5)), int(rng.integers(0, 12)), int(rng.integers(1, 20))
    activation = str(rng.choice(list(activations.ACTIVATIONS)))
    parameters: dict[str, Any] = {
        "lr": float(10 ** rng.uniform(-3, 0)),
        "epsilon": float(rng.choice([0.0, 3e-6, 0.1])),
        "activation": activation,
        "dtype": str(rng.choice(["float64", "float32"])),
        "seed": int(rng.integers(2**32)),
        "classes": list(range(k)),
    }
    X = _values(rng, n, d)
    labels = rng.integers(0, k, n).tolist()
    names = [f"f{i}" for i in range(d)]

    single, block = SGDPerceptron(**parameters), SGDPerceptron(**parameters)
    diverged = None
    for i in range(n):
        x = _mapping(rng, names, X[i])
        try:
            single.learn_one(x, labels[i])
        except (DivergedError, SampleError) as error:
            diverged = type(error)
            break
    try:
        block.test_then_train(_laid_out(rng, X), labels, names)
        assert diverged is None, f"singly: {diverged}, but nothing in a block"
    except DivergedError:
        assert diverged is DivergedError, "diverged in a block only"
    except SampleError:
        assert diverged is SampleError, "refused in a block only"
        return "refused"
    assert single.n_seen == block.n_seen
    assert single.n_updates == block.n_updates
    assert _weights(single) == _weights(block), "other bits in a block than singly"
    if diverged is not None:
        return "diverged"
    _compare_with_paper(single, parameters, X, labels)
    return "learned"


def _values(rng: np.random.Generator, n: int, d: int) -> np.ndarray[Any, Any]:
    kind = rng.integers(4)
    if kind == 0:
        return rng.integers(0, 256, (n, d)).astype(np.uint8)
    X = rng.normal(size=(n, d)) * 10 ** rng.uniform(-3, 1)
    X[rng.random((n, d)) < rng.random()] = 0.0
    if kind == 1:
        X = X.astype(np.float32)
    elif kind == 2 and X.size and rng.random() < 0.3:
        X.flat[rng.integers(X.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e300, 5e-324, -0.0])
    return X


def _laid_out(rng: np.random.Generator, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the same values elsewhere in memory: by columns, in steps, unaligned, read-only."""
    kind = rng.integers(5)
    if kind == 0:
        return np.asfortranarray(X)
    if kind == 1:
        wide = np.zeros((2 * len(X), 3 * X.shape[1]), X.dtype)
        wide[::2, ::3] = X
        return wide[::2, ::3]
    if kind == 2:
        memory = np.zeros(X.nbytes + 1, np.uint8)
        unaligned = memory[1:].view(X.dtype).reshape(X.shape)
        unaligned[:] = X
        return unaligned
    if kind == 3:
        X = X.copy()
        X.flags.writeable = False
        return X
    return X[::-1].copy()[::-1]


def _mapping(rng: np.random.Generator, names: list[str], row: np.ndarray[Any, Any]) -> Any:
    """Return a sample as a dict, in some order, of numbers of some type."""
    order = rng.permutation(len(names)) if rng.random() < 0.2 else range(len(names))
    values = row.tolist() if rng.random() < 0.7 else list(row)
    return {names[i]: values[i] for i in order}


def _weights(model: SGDPerceptron) -> tuple[Any, ...]:
    order = np.argsort([str(name) for name in model.features_])
    return model.weights[:, order].tobytes(), model.biases.tobytes(), len(order)


def _compare_with_paper(
    model: SGDPerceptron,
    parameters: dict[str, Any],
    X: np.ndarray[Any, Any],
    labels: list[int],
) -> None:
    start = SGDPerceptron(**parameters)
    start.network.add(model.features_, [])
    order = [int(str(name)[1:]) for name in model.features_]
    w, b = start.weights.astype(float).tolist(), start.biases.astype(float).tolist()
    updates = 0
    for x, label in zip(X.astype(float)[:, order].tolist(), labels, strict=True):
        try:
            before = [row[:] for row in w], b[:]
            _, eps = step(
                w, b, x, label, parameters["lr"], parameters["epsilon"], parameters["activation"]
            )
        except OverflowError:  # where paper has no infinity
            return
        if abs(eps - parameters["epsilon"]) < 1e-3 * parameters["epsilon"]:
            return  # rounding decides
        updates += before != (w, b) or eps >= parameters["epsilon"]
    largest = max(map(abs, np.ravel(w).tolist() + b))
    # Where an error grows from sample to sample, so does that of rounding.
    if not largest < 100:
        return
    exact = 1e-9 if parameters["dtype"] == "float64" else 2e-2
    assert updates == model.n_updates or parameters["dtype"] == "float32"
    np.testing.assert_allclose(model.weights, w, rtol=exact, atol=exact * max(largest, 1.0))
    np.testing.assert_allclose(model.biases, b, rtol=exact, atol=exact * max(largest, 1.0))
