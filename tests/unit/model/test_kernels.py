"""The kernel follows the rule, and is bit-identical for all forms of a sample."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import oracle
import pytest

from stream_perceptron.model import kernel
from stream_perceptron.model.activations import ACTIVATIONS
from stream_perceptron.model.kernel.types import Counters, Part, Results, Rule
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.vocabulary import Vocabulary
from stream_perceptron.model.weights import WeightStore


class Block(NamedTuple):
    """Targets, sample weights and rates of n rows, and buffers for their results."""

    targets: Any
    sample_weights: Any
    rates: Any
    nets: Any
    errors: Any
    updated: Any


def make_block(targets, k, rates=0.1, sample_weights=1.0):
    n = len(targets)
    return Block(
        np.array(targets, np.intp), np.full(n, sample_weights), np.full(n, rates),
        np.zeros((n, k)), np.full(n, np.nan), np.zeros(n, bool),
    )  # fmt: skip


def make_store(W, b):
    """Return a weight store that holds weights (k, d) and biases (k,)."""
    store = WeightStore(0, 0.0)
    store.restore(W, b, W.shape)
    return store


def learn_rows(store, X, rule, block, counters=None, feature_ids=None):
    """Let the kernel learn rows; return the number of rows it has processed."""
    rows = X if isinstance(X, Rows) else make_rows(X)
    if feature_ids is None:
        feature_ids = np.arange(len(rows.names), dtype=np.int32)
    part = Part(rows, 0, len(rows), feature_ids, *block[:3])
    results = Results(counters or Counters(), block.errors, block.updated, block.nets)
    return kernel.learn(store.current, rule, None, part, results)


def make_rows(X, is_present=None):
    return Rows.from_table(tuple(range(X.shape[1])), X, is_present)


def collect_bytes(store, block):
    return [
        array.tobytes()
        for array in (store.weights, store.biases, block.nets, block.errors, block.updated)
    ]


def draw_problem(rng, n=60, k=4, d=37, density=1.0):
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < density)
    targets = rng.integers(-1, k, n)
    W, b = rng.normal(size=(k, d)) * 0.1, rng.normal(size=k) * 0.1
    return X, targets, W, b


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("d", [0, 1, 8, 100])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 9, 11, 13, 29])
def test_kernel_matches_the_oracle(k, d, activation, rng):
    X, targets, W, b = draw_problem(rng, n=50, k=k, d=d)
    w, c = W.tolist(), b.tolist()
    block, store = make_block(targets, k, 0.05), make_store(W, b)
    learn_rows(store, X, Rule(ACTIVATIONS[activation], 0.2), block)
    for x, target, error in zip(X.tolist(), targets.tolist(), block.errors.tolist(), strict=True):
        if target < 0:
            assert np.isnan(error)
        else:
            assert oracle.update_weights(w, c, x, target, 0.05, 0.2, activation)[
                1
            ] == pytest.approx(error)

    np.testing.assert_allclose(w, store.weights, rtol=1e-9)
    np.testing.assert_allclose(c, store.biases, rtol=1e-9)


@pytest.mark.parametrize("k", [1, 4, 10, 12, 20])
@pytest.mark.parametrize("d", [5, 784, 2000])
def test_every_sample_form_gives_the_same_bits(k, d, rng):
    """Compare blocks of any size, rows without zeros, other names, and dicts."""
    X, targets, W, b = draw_problem(rng, k=k, d=d, density=0.1)
    X[::3] = abs(rng.normal(size=(20, d)))  # some consecutive rows have the same features
    X[1::3] = abs(rng.normal(size=(20, d)))
    rule = Rule(ACTIVATIONS["sigmoid"], 0.05)
    whole, block = make_store(W, b), make_block(targets, k)
    learn_rows(whole, X, rule, block)
    expected = collect_bytes(whole, block)
    for size in (1, 7):
        store, nets = make_store(W, b), []
        for i in range(0, len(X), size):
            part = make_block(targets[i : i + size], k)
            learn_rows(store, X[i : i + size], rule, part)
            nets.append(part.nets)
        assert collect_bytes(store, block._replace(nets=np.concatenate(nets)))[:3] == expected[:3]
    places = np.sort(rng.choice(d + 2, 2, replace=False))
    unknown = places - np.arange(2)
    feature_ids = np.insert(np.arange(d), unknown, [-1, d]).astype(np.int32)
    wide = np.insert(X, unknown, 7.0, axis=1)
    for is_present in (None, wide != 0):
        store, repeated = make_store(W, b), make_block(targets, k)
        rows = make_rows(wide, is_present=is_present)
        learn_rows(store, rows, rule, repeated, feature_ids=feature_ids)
        assert collect_bytes(store, repeated) == expected
    known = Vocabulary(range(d))
    nets = make_block([-1] * len(X), k)
    store = make_store(W, b)
    learn_rows(store, X, rule, nets)
    for x, net in zip(X.tolist(), nets.nets, strict=True):
        full = dict(enumerate(x))
        for features in (full, {i: value for i, value in full.items() if value}):
            dict_net = kernel.compute_net_one(features, known, store.current)
            assert dict_net.tobytes() == net.tobytes()


@pytest.mark.parametrize(
    ("x", "rate", "weight", "bias"),
    [
        (1e200, 1e300, 0.0, 0.0),
        (1.0, 1e308, 0.0, 0.0),
        (1e308, 1e308, 1.0, 0.0),
        (1.0, 1.0, 1e308, 0.0),
        (1e20, 1.0, 1e300, 0.0),
        (1.0, 1e300, 0.0, 1e308),
    ],
)
def test_kernel_never_writes_nonfinite_weights(x, rate, weight, bias):
    """The kernel rejects a sample that would make a weight infinite or NaN."""
    W = np.full((2, 20), weight)
    X = np.full((3, 20), x)
    X[0] = 0
    store = make_store(W, np.full(2, bias))
    block = make_block([0, 1, 0], 2, rate)
    rule = Rule(ACTIVATIONS["identity"], 0.0)
    done = learn_rows(store, X, rule, block)

    assert done < 3
    assert np.isfinite(store.weights).all()
    assert np.isfinite(store.biases).all()
    if done <= 1:
        assert W.tobytes() == store.weights.tobytes()


def test_stop_ends_at_the_first_error_below_epsilon():
    W, b = np.zeros((2, 1)), np.array([0.0, -100.0])
    X = np.array([[5.0], [200.0], [200.0], [5.0]])
    block = make_block([0, 0, 0, 0], 2, 1.0)
    rule = Rule(ACTIVATIONS["sigmoid"], 1e-6, stop=True)

    assert learn_rows(make_store(W, b), X, rule, block) == 2
    assert block.updated.tolist() == [True, False, False, False]
    assert np.isnan(block.errors[2:]).all()


def test_learning_rate_is_indexed_by_the_number_of_updates():
    store = make_store(np.zeros((1, 1)), np.zeros(1))
    block = make_block([-1, 0, -1, 0], 1)
    rates = np.array([1.0, 0.5, 0.0, 0.0])
    rule = Rule(ACTIVATIONS["identity"], 0.0)
    learn_rows(store, np.zeros((4, 1)), rule, block._replace(rates=rates))

    # The bias goes from 0 to 1 at rate 1, and then meets the target 1.
    assert store.biases[0] == 1.0


def test_kernel_counts_labeled_samples_and_updates(rng):
    X, targets, W, b = draw_problem(rng)
    counters, block = Counters(), make_block(targets, 4)
    learn_rows(make_store(W, b), X, Rule(ACTIVATIONS["sigmoid"], 0.4), block, counters)
    labeled = ~np.isnan(block.errors)

    assert [labeled.sum(), block.updated.sum()] == counters.counts.tolist()
    assert block.updated.sum() < labeled.sum() == (targets >= 0).sum()
    assert block.errors[labeled][-1] == counters.last_error[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_scores_are_outputs_scaled_to_a_sum_of_1(activation, rng):
    """Outputs may all be zero, or saturated."""
    nets = np.vstack([rng.normal(size=(50, 7)), np.zeros((1, 7)), np.full((1, 7), -800.0)])
    nets[50] = ACTIVATIONS[activation].low if activation == "identity" else -800.0
    if activation == "identity":
        nets[0, :2] = 1.7e308, -1.7e308
    function = ACTIVATIONS[activation]
    scores = kernel.compute_scores(function, nets)
    y = kernel.compute_outputs(function, nets[1:50])[0] - function.low
    y -= np.minimum(y.min(axis=1, keepdims=True), 0)

    np.testing.assert_allclose(scores[1:50], y / y.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-14)
    assert np.array_equal(scores[50], np.full(7, 1 / 7))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("k", [1, 2, 7])
def test_kernel_chooses_the_first_output_with_the_largest_net_input(activation, k, rng):
    X, targets, W, b = draw_problem(rng, k=k, d=3)
    W[:], X[::2] = W.round(1), 0.0  # zero rows have the biases as net inputs, with ties
    b[:] = rng.integers(0, 2, k) / 8
    block, store = make_block(targets, k, 0.5), make_store(W, b)
    predicted, scores = np.full(60, -1), np.full(60, np.nan)
    results = Results(
        Counters(), block.errors, block.updated, block.nets, predicted, scores, np.empty((60, k))
    )
    rows, rule = make_rows(X), Rule(ACTIVATIONS[activation], 0.3)
    part = Part(rows, 0, 60, np.arange(3, dtype=np.int32), *block[:3])
    assert kernel.learn(store.current, rule, None, part, results) == 60

    nets = block.nets.tolist()
    assert [net.index(max(net)) for net in nets] == predicted.tolist()
    expected = kernel.compute_scores(ACTIVATIONS[activation], block.nets)
    assert scores.tobytes() == expected.max(axis=1).tobytes()
    assert results.all_scores.tobytes() == expected.tobytes()
