"""The two kernels do the same, and the compiled one gives the same bits however a sample comes."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from stream_perceptron import SGDPerceptron
from stream_perceptron.model.activations import ACTIVATIONS
from stream_perceptron.model.features import Dense, Sparse, Uint8
from stream_perceptron.model.kernel import _compiled as _kernel
from stream_perceptron.model.kernel import numpy_kernel as _numpy_kernel
from stream_perceptron.model.kernel.types import Block, Counters, Rule
from stream_perceptron.model.scaler import Scaler

KERNELS = {"compiled": _kernel, "numpy": _numpy_kernel}
DTYPES = ["float64", "float32"]


def block_of(targets, k, dtype, rates=0.1, sample_weights=1.0):
    n = len(targets)
    return Block(
        np.array(targets, np.intp), np.full(n, sample_weights), np.full(n, rates),
        np.zeros((n, k), dtype), np.full(n, np.nan), np.zeros(n, bool),
    )  # fmt: skip


def learn(kernel, weights, biases, X, rule, block, counters=None):
    features = X if isinstance(X, Dense | Sparse | Uint8) else Dense((), X)
    return kernel.learn(weights, biases, features, rule, block, counters or Counters())


def problem(rng, dtype, n=60, k=4, d=37, density=1.0):
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < density)
    targets = rng.integers(-1, k, n)
    W, b = rng.normal(size=(k, d)) * 0.1, rng.normal(size=k) * 0.1
    return X.astype(dtype), targets, W.astype(dtype), b.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("epsilon", [0.0, 0.4])
@pytest.mark.parametrize("d", [0, 1, 15, 16, 17, 100, 3000])
def test_kernels_agree_to_rounding(dtype, activation, epsilon, d, rng):
    X, targets, W, b = problem(rng, dtype, d=d, density=0.05 if d > 1024 else 1.0)
    rule = Rule(ACTIVATIONS[activation], epsilon)
    results = []
    for kernel in KERNELS.values():
        w, c, block = W.copy(), b.copy(), block_of(targets, 4, dtype, 0.01)
        assert (60, False) == learn(kernel, w, c, X, rule, block)
        results.append((w, c, block))
    (w1, b1, one), (w2, b2, two) = results

    rtol, atol = (1e-9, 1e-11) if dtype == "float64" else (1e-3, 1e-4)
    np.testing.assert_allclose(w1, w2, rtol, atol)
    np.testing.assert_allclose(b1, b2, rtol, atol)
    np.testing.assert_allclose(one.nets, two.nets, rtol, atol)
    np.testing.assert_allclose(one.eps, two.eps, rtol, atol)
    assert one.updated.tolist() == two.updated.tolist()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_kernels_do_what_the_oracle_does(kernel, activation, rng):
    X, targets, W, b = problem(rng, "float64", n=50, k=3, d=5)
    w, c = W.tolist(), b.tolist()
    block = block_of(targets, 3, "float64", 0.05)
    learn(KERNELS[kernel], W, b, X, Rule(ACTIVATIONS[activation], 0.2), block)
    for x, target, eps in zip(X.tolist(), targets.tolist(), block.eps.tolist(), strict=True):
        if target < 0:
            assert np.isnan(eps)
        else:
            assert oracle.step(w, c, x, target, 0.05, 0.2, activation)[1] == pytest.approx(eps)

    np.testing.assert_allclose(w, W, rtol=1e-9)
    np.testing.assert_allclose(c, b, rtol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [5, 784, 2000])
def test_bits_do_not_depend_on_how_a_sample_comes(dtype, d, rng):
    """Dense, sparse, one by one, over spare columns: all the same."""
    X, targets, W, b = problem(rng, dtype, k=3, d=d, density=0.1)
    X = abs(X)
    # Between sparse rows some that are dense, the one in its left half, the next in its right.
    X[::4, : d // 2] = abs(rng.normal(size=(15, d // 2)))
    X[2::4, d // 2 :] = abs(rng.normal(size=(15, d - d // 2)))
    X[::4, d // 2 :] = X[2::4, : d // 2] = 0
    rule = Rule(ACTIVATIONS["sigmoid"], 0.05)

    def by_rows(step):
        w, c = W.copy(), b.copy()
        for i in range(0, len(X), step):
            learn(_kernel, w, c, X[i : i + step], rule, block_of(targets[i : i + step], 3, dtype))
        return w, c

    def by_columns():
        w, c = W.copy(), b.copy()
        for x, target in zip(X, targets, strict=True):
            columns = np.flatnonzero(x)
            block = block_of([target], 3, dtype)
            row = Sparse((), np.array([0, len(columns)]), columns, x[columns])
            learn(_kernel, w, c, row, rule, block)
        return w, c

    def with_spare_columns():
        w, c = np.zeros((3, 2 * d + 3), dtype), b.copy()
        w[:, :d] = W
        learn(_kernel, w[:, :d], c, X, rule, block_of(targets, 3, dtype))
        return w[:, :d], c

    ways = [by_rows(1), by_rows(7), by_rows(60), by_columns(), with_spare_columns()]
    for w, c in ways[1:]:
        assert ways[0][0].tobytes() == w.tobytes()
        assert ways[0][1].tobytes() == c.tobytes()
    names, x = list(range(d)), X[0].astype(float).tolist()
    nets = block_of([-1], 3, dtype)
    learn(_kernel, W, b, X[:1], rule, nets)
    for features in (dict(enumerate(x)), {i: value for i, value in enumerate(x) if value}):
        net = _kernel.net_one(features, names, dict(zip(names, names, strict=True)), W, b)
        assert nets.nets[0].tobytes() == net.tobytes()


def beginning_lines(W):
    """Return W with rows that begin with a cache line each, and have other numbers behind."""
    k, d = W.shape
    line = 64 // W.itemsize
    width = -(-d // line) * line
    memory = np.zeros(k * width + line, W.dtype)
    start = -memory.ctypes.data % 64 // W.itemsize
    rows = memory[start : start + k * width].reshape(k, width)
    rows[:] = -7.0
    rows[:, :d] = W
    return rows[:, :d]


@pytest.mark.parametrize("form", ["dense", "bytes", "sparse", "scaled"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 5, 30, 717, 1100])
def test_bits_do_not_depend_on_where_rows_of_weights_begin(form, dtype, d, rng):
    X, targets, W, b = problem(rng, "float64" if form == "scaled" else dtype, d=d, density=0.3)
    X = abs(X)
    W, b = W.astype(dtype), b.astype(dtype)
    if form == "bytes":
        X = Uint8((), rng.integers(0, 3, X.shape).astype(np.uint8), scale=0.3)
    if form == "sparse":
        rows, columns = np.nonzero(X)
        starts = np.searchsorted(rows, np.arange(len(X) + 1))
        X = Sparse((), starts, columns, X[rows, columns])
    features = X if form in ("bytes", "sparse") else Dense((), X)
    outcomes = []
    for w in (W.copy(), beginning_lines(W)):
        c, block, scaler = b.copy(), block_of(targets, 4, dtype, 0.01), None
        if form == "scaled":
            scaler = Scaler()
            scaler.extend(0, np.zeros(d, bool))
        _kernel.learn(w, c, features, Rule(ACTIVATIONS["sigmoid"], 0.1), block, Counters(), scaler)
        outcomes.append([w.tobytes(), c.tobytes(), block.nets.tobytes(), block.eps.tobytes()])

    assert outcomes[0] == outcomes[1]
    assert W.tobytes() != outcomes[0][0]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [5, 63, 784, 2000])
def test_bytes_are_learned_as_the_numbers_that_they_stand_for(kernel, dtype, d, rng):
    _, targets, W, b = problem(rng, dtype, k=8, d=d)
    pixels = (rng.integers(0, 256, (60, d)) * (rng.random((60, d)) < 0.1)).astype(np.uint8)
    pixels[:, d // 4 : d // 2] = 0
    rows = Uint8((), pixels, scale=1 / 255)
    rule = Rule(ACTIVATIONS["sigmoid"], 0.05)
    results = []
    for X in (rows, np.multiply(pixels, 1 / 255, dtype=np.float64).astype(dtype)):
        w, c, block = W.copy(), b.copy(), block_of(targets, 8, dtype)
        learn(KERNELS[kernel], w, c, X, rule, block)
        results.append([w.tobytes(), c.tobytes(), block.nets.tobytes()])

    assert results[0] == results[1]
    assert results[0][0] != W.tobytes()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("x", "rate", "weight", "bias"),
    [
        (1e30, 1e300, 0.0, 0.0),
        (1.0, 1e308, 0.0, 0.0),
        (3e38, 3e38, 1.0, 0.0),
        (1.0, 1.0, 1e308, 0.0),
        (1e20, 1.0, 1e300, 0.0),
        (1.0, 1e300, 0.0, 1e308),
    ],
)
def test_nothing_that_is_not_finite_is_ever_written(kernel, dtype, x, rate, weight, bias):
    """The sample that would do it is refused, and all is as before it."""
    largest = float(np.finfo(dtype).max)
    W = np.full((2, 20), min(weight, largest), dtype)
    b = np.full(2, min(bias, largest), dtype)
    X = np.full((3, 20), min(x, largest), dtype)
    X[0] = 0
    before = W.copy()
    block = block_of([0, 1, 0], 2, dtype, rate)
    rule = Rule(ACTIVATIONS["identity"], 0.0)
    done, diverged = learn(KERNELS[kernel], W, b, X, rule, block)

    assert diverged
    assert done < 3
    assert np.isfinite(W).all()
    assert np.isfinite(b).all()
    if done <= 1:
        assert before.tobytes() == W.tobytes()


@pytest.mark.parametrize("kernel", KERNELS)
def test_stop_ends_with_the_first_sample_that_fits(kernel):
    W, b = np.zeros((2, 1)), np.array([0.0, -100.0])
    X = np.array([[5.0], [200.0], [200.0], [5.0]])
    block = block_of([0, 0, 0, 0], 2, "float64", 1.0)
    rule = Rule(ACTIVATIONS["sigmoid"], 1e-6, stop=True)

    assert (2, False) == learn(KERNELS[kernel], W, b, X, rule, block)
    assert [True, False, False, False] == block.updated.tolist()
    assert np.isnan(block.eps[2:]).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_schedule_is_asked_by_the_number_of_updates(kernel):
    W, b = np.zeros((1, 1)), np.zeros(1)
    block = block_of([-1, 0, -1, 0], 1, "float64")
    rates = np.array([1.0, 0.5, 0.0, 0.0])
    rule = Rule(ACTIVATIONS["identity"], 0.0)
    learn(KERNELS[kernel], W, b, np.zeros((4, 1)), rule, block._replace(rates=rates))

    # 0 -> 1 at rate 1; then the target 1 is met.
    assert 1.0 == b[0]


@pytest.mark.parametrize("d", [16, 1100])
def test_bytes_find_features_that_are_known_in_another_order(d, rng):
    """Also where the model knows features that they lack."""
    pixels = rng.integers(0, 256, (40, d)).astype(np.uint8)
    labels = rng.integers(0, 3, 40).tolist()
    names = tuple(f"pixel{i}" for i in range(d))
    weights = []
    for X in (Uint8(names, pixels, scale=1 / 255), Dense(names, pixels * (1 / 255))):
        model = SGDPerceptron(classes=range(3), seed=0)
        model.learn_one({"other": 1.0, names[3]: 0.5}, 0)
        model.train(X, labels, np.ones(40))
        weights.append(model.weights.tobytes())

    assert weights[0] == weights[1]


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_count_what_they_learn(kernel, rng):
    X, targets, W, b = problem(rng, "float64")
    counters, block = Counters(), block_of(targets, 4, "float64")
    learn(KERNELS[kernel], W, b, X, Rule(ACTIVATIONS["sigmoid"], 0.4), block, counters)
    labelled = ~np.isnan(block.eps)

    assert [labelled.sum(), block.updated.sum()] == counters.counts.tolist()
    assert block.updated.sum() < labelled.sum() == (targets >= 0).sum()
    assert block.eps[labelled][-1] == counters.last[0]


@pytest.mark.parametrize("scale", [1.0, 1 / 255, -0.3, 0.0])
@pytest.mark.parametrize("n", [0, 1, 50])
def test_largest_of_bytes_is_that_of_their_numbers(scale, n, rng):
    pixels = rng.integers(0, 256, (n, 7)).astype(np.uint8)
    rows = Uint8(tuple(range(7)), pixels, scale=scale)

    assert rows.largest() == Dense(rows.names, rows.numbers(np.float64)).largest()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_kernels_agree_on_probabilities(activation, rng):
    """Also where all outputs are zero, and where they are far out."""
    nets = np.vstack([rng.normal(size=(50, 7)), np.zeros((1, 7)), np.full((1, 7), -800.0)])
    nets[50] = ACTIVATIONS[activation].low if activation == "identity" else -800.0
    rule = ACTIVATIONS[activation]
    compiled, numpy = (kernel.probabilities(rule, nets) for kernel in KERNELS.values())

    np.testing.assert_allclose(compiled, numpy, rtol=1e-14)
    np.testing.assert_allclose(compiled.sum(axis=1), 1.0, rtol=1e-14)
    assert np.array_equal(compiled[50], np.full(7, 1 / 7))
