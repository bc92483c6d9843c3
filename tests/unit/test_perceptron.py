"""The learning rule, predictions and labels of SGDPerceptron."""

from __future__ import annotations

import io
import math

import numpy as np
import oracle
import pytest
from helpers import capture_state
from river.optim import schedulers

from stream_perceptron import FallingRate, SGDPerceptron, save
from stream_perceptron.model.weights import draw_initial_weights, hash_names


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@pytest.mark.parametrize(
    ("classes", "lr"),
    [
        (None, 0.05), (["a", "b"], schedulers.InverseScaling(0.2)), (None, FallingRate(0.5, 0.01)),
        (["a", "b"], FallingRate(0.3, 0.3)), (None, FallingRate(0.05, 0.03)),
    ],
)  # fmt: skip
def test_growing_model_matches_the_reference_rule(activation, classes, lr, rng):
    """Names of the first sample get drawn weights, later names 0. New labels are not predicted."""

    def draw(j, name):
        hashes = np.zeros(1, np.uint64) if name is None else hash_names([name])
        return draw_initial_weights(3, np.array([j]), hashes, 0.5).item()

    reference = oracle.Model(classes or [], draw)
    model, n_updates = SGDPerceptron(lr, 0, activation, 0.5, classes=classes, seed=3), 0
    for n in range(400):
        names = [f"x{i}" for i in rng.permutation(3 + n // 20)[: rng.integers(4 + n // 20)]]
        values = rng.normal(size=len(names)) / 2 * (rng.random(len(names)) < 0.7)
        x = dict(zip(names, values.tolist(), strict=True))
        label = "abcdefghijklmnopqrstuvwxyzABC"[int(rng.integers(min(29, 1 + n // 12)))]
        model.epsilon = epsilon = float(rng.choice([0.0, 0.3, 0.6, 1.2, 5.0]))
        w = float(rng.choice([0.5, 1.0, 2.0]))
        rate = lr.get(n_updates) if isinstance(lr, schedulers.InverseScaling) else lr
        if isinstance(lr, FallingRate):
            rate = lr.start, lr.end
        tested = x | {"unknown": [1e9, math.nan, "text", None][n % 4]}  # ignored
        scores, predicted = model.predict_proba_one(tested), reference.predict(x)
        assert predicted == model.predict_one(tested) == next(iter(scores), None)
        assert pytest.approx(reference.compute_scores(x, activation)) == scores
        assert sorted(scores.values(), reverse=True) == [*scores.values()]

        model.learn_one(x | ({"null": None} if n % 3 == 0 else {}), label, w)
        error = reference.learn(x, label, rate, epsilon, activation, w)
        n_updates += error >= epsilon
        np.testing.assert_allclose(model.last_error, error, rtol=1e-9)
    assert (model.n_seen, model.n_updates) == (400, n_updates)
    assert 50 < n_updates < 390
    assert (reference.labels, reference.features) == (model.classes_, model.features_)
    np.testing.assert_allclose(model.weights, reference.w, atol=1e-12)
    np.testing.assert_allclose(model.biases, reference.b, atol=1e-12)
    assert reference.counts == model.network.snapshot().update_counts.tolist()


def test_equal_labels_merge_and_numpy_labels_become_python_types():
    model = SGDPerceptron()
    for label in (1, True, np.int64(1), np.float32(1)):
        model.learn_one({"x": 1}, label)
    model.learn_one({"x": 1}, np.str_("a"))
    model.test_then_train(np.ones((4, 1)), [1.0, False, 0, -0.0])

    assert model.classes_ == [1, "a", False]
    assert [int, str, bool] == [type(label) for label in model.classes_]


def test_ties_go_to_the_earlier_label_and_have_uniform_scores():
    model = SGDPerceptron(activation="identity", init_range=0, classes=["b", "a"])

    assert model.predict_one({"x": 1}) == "b"
    assert list(model.predict_proba_one({"x": 1}).items()) == [("b", 0.5), ("a", 0.5)]
    assert model.test_then_train(np.zeros((2, 1)), ["a", "a"], w=0) == ["b", "b"]


def test_seed_none_draws_a_seed_that_gives_the_same_model_again():
    first, other = SGDPerceptron(classes=["a"]), SGDPerceptron(classes=["a"])
    assert first.seed is None
    assert capture_state(first) != capture_state(other)
    files = [io.BytesIO(), io.BytesIO()]
    for file, seed in zip(files, (first.seed_, np.uint64(first.seed_)), strict=True):
        again = SGDPerceptron(classes=["a"], seed=seed)
        assert capture_state(again) == capture_state(first)
        save(again, file)
    assert files[0].getvalue() == files[1].getvalue()


def test_weights_are_read_only(trained_model):
    with pytest.raises(ValueError, match="read-only"):
        trained_model.weights[0, 0] = 1.0
