"""The learning rule, predictions, labels and copies of SGDPerceptron."""

from __future__ import annotations

import copy
import datetime as dt
import math
import pickle

import numpy as np
import oracle
import pytest
from helpers import FEATURE_NAMES, capture_state, to_dicts
from river.optim import schedulers

from stream_perceptron import SampleError, SGDPerceptron
from stream_perceptron.model.rows import Rows, Samples
from stream_perceptron.model.weights import draw_initial_weights, hash_names


@pytest.mark.parametrize(
    ("activation", "epsilon"),
    [(name, 0.0) for name in oracle.ACTIVATIONS]
    + [("sigmoid", 0.3), ("tanh", 1.2), ("arctan", 2.5), ("identity", 0.3)],
)
def test_each_step_matches_the_reference_rule(activation, epsilon, rng):
    X = rng.normal(size=(300, 6)) * (rng.random((300, 6)) < 0.7)
    labels = rng.integers(0, 3, 300).tolist()
    model = SGDPerceptron(0.05, epsilon, activation, 0.5, classes=range(3), seed=7)
    w = draw_initial_weights(7, np.arange(3), hash_names(FEATURE_NAMES), 0.5).tolist()
    b = draw_initial_weights(7, np.arange(3), np.zeros(1, np.uint64), 0.5)[:, 0].tolist()
    skipped = 0
    for x, label in zip(X, labels, strict=True):
        features = dict(zip(FEATURE_NAMES, x.tolist(), strict=True))
        predicted = model.predict_one(features)
        model.learn_one(features, label)
        net, error = oracle.update_weights(w, b, x.tolist(), label, 0.05, epsilon, activation)
        skipped += error < epsilon

        np.testing.assert_allclose(model.last_error, error, rtol=1e-12)
        np.testing.assert_allclose(model.weights, w, atol=1e-12)
        np.testing.assert_allclose(model.biases, b, atol=1e-12)
        assert net[predicted] >= max(net) - 1e-12
    assert (model.n_seen, model.n_updates) == (300, 300 - skipped)
    assert (skipped > 20) == (epsilon > 0)


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@pytest.mark.parametrize("classes", [None, ["a", "b"]])
def test_growing_model_matches_the_reference_rule(activation, classes, rng):
    """Names of the first sample get drawn weights, later names 0. New labels are not predicted."""

    def draw(j, name):
        hashes = np.zeros(1, np.uint64) if name is None else hash_names([name])
        return draw_initial_weights(3, np.array([j]), hashes, 0.5).item()

    reference = oracle.Model(classes or [], draw)
    model = SGDPerceptron(0.05, 0.1, activation, 0.5, classes=classes, seed=3)
    for n in range(400):
        names = rng.choice(list("abcdefghij")[: 3 + n // 20], 3, replace=False).tolist()
        x = dict(zip(names, rng.normal(size=3).tolist(), strict=True))
        label = "abcd"[int(rng.integers(min(4, 1 + n // 50)))]

        assert reference.predict(x) == model.predict_one(x)
        assert [reference.predict(x)] == copy.deepcopy(model).test_then_train(
            np.array([[*x.values()]]), [label], names
        )
        model.learn_one(x, label)
        error = reference.learn(x, label, 0.05, 0.1, activation)
        np.testing.assert_allclose(model.last_error, error, rtol=1e-9)
    assert (reference.labels, reference.features) == (model.classes_, model.features_)
    np.testing.assert_allclose(model.weights, reference.w, atol=1e-12)
    np.testing.assert_allclose(model.biases, reference.b, atol=1e-12)


def test_tanh_model_equals_rescaled_sigmoid_model(rng):
    """tanh(n) = 2 sigmoid(2n) - 1, so errors are four times as large and weights half as large."""
    X = rng.random((2000, 6))
    labels = rng.integers(0, 3, 2000)
    tanh = SGDPerceptron(0.01, 0.8, "tanh", 0.03, classes=range(3), seed=3)
    sigmoid = SGDPerceptron(0.16, 0.2, "sigmoid", 0.06, classes=range(3), seed=3)

    assert tanh.test_then_train(X, labels) == sigmoid.test_then_train(X, labels)
    np.testing.assert_allclose(2 * tanh.weights, sigmoid.weights, rtol=1e-10)
    np.testing.assert_allclose(2 * tanh.biases, sigmoid.biases, rtol=1e-10)
    assert tanh.n_updates == sigmoid.n_updates
    assert 0 < tanh.n_updates < 2000


def test_first_prediction_uses_only_the_biases():
    model = SGDPerceptron(classes=["a", "b", "c"], seed=5)
    expected = ["a", "b", "c"][model.biases.argmax()]

    assert model.predict_one({"new": 100.0}) == expected
    assert model.features_ == []


def test_prediction_is_none_before_the_first_label():
    model = SGDPerceptron()

    assert model.predict_one({"x": 1}) is None
    assert model.predict_proba_one({"x": 1}) == {}
    assert model.test_then_train([[1.0]], ["a"]) == [None]
    assert model.test_then_train([[1.0]], ["a"]) == ["a"]


def test_sample_is_predicted_before_its_new_label_is_added():
    model = SGDPerceptron(seed=0)

    assert model.test_then_train(np.ones((2, 1)), ["a", "b"]) == [None, "a"]


def test_new_features_of_each_sample_are_added_in_its_order():
    model = SGDPerceptron()
    model.learn_one({"pixel10": 1, "pixel2": 0, 3: True}, "a")
    model.learn_one({"b": 1, "a": 1}, "a")

    assert model.features_ == ["pixel10", "pixel2", 3, "b", "a"]


def test_first_sample_draws_weights_and_later_names_start_at_zero():
    model = SGDPerceptron(classes=["a", "b"], init_range=0.5, seed=1)
    model.learn_one({"x": 0.0, "y": None}, "c", w=0)
    model.learn_one({"y": 0.0, "x": 0.0, "z": 0.0}, "d", w=0)
    hashes = np.append(np.uint64(0), hash_names(["x"]))
    drawn = draw_initial_weights(1, np.arange(3), hashes, 0.5)

    assert (model.classes_, model.features_) == (["a", "b", "c", "d"], ["x", "y", "z"])
    np.testing.assert_array_equal(np.vstack([drawn[:, :1], [[0.0]]])[:, 0], model.biases)
    np.testing.assert_array_equal(np.vstack([drawn[:, 1:], [[0.0]]])[:, 0], model.weights[:, 0])
    np.testing.assert_array_equal(np.zeros((4, 2)), model.weights[:, 1:])


def test_unknown_features_do_not_change_predictions(trained_model):
    known = trained_model.predict_proba_one({"x0": 1.0})

    assert known == trained_model.predict_proba_one({"x0": 1.0, "unknown": 1e9})


def test_ties_go_to_the_earlier_label():
    model = SGDPerceptron(init_range=0, classes=["b", "a"], seed=0)

    assert model.predict_one({"x": 1}) == "b"


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
def test_scores_are_sorted_and_start_with_the_prediction(activation, rng):
    model = SGDPerceptron(0.1, activation=activation, classes=["e", "f"])
    model.test_then_train(rng.normal(size=(50, 6)), rng.choice(["e", "f", "g"], 50).tolist())
    for row in rng.normal(size=(20, 6)).tolist():
        x = dict(enumerate(row))
        scores = model.predict_proba_one(x)
        values = list(scores.values())

        assert next(iter(scores)) == model.predict_one(x)
        assert sorted(values, reverse=True) == values
        assert math.isclose(1, sum(values))
        assert set(model.classes_) == set(scores)


def test_scores_are_outputs_scaled_to_sum_one():
    model = SGDPerceptron(init_range=0, lr=1.0, classes=["a", "b"])
    model.learn_one({"x": 1.0}, "a")
    net_a, net_b = 2 * 0.125, -2 * 0.125  # delta = 0.5 * 0.25, learned by weight and bias
    y_a, y_b = 1 / (1 + math.exp(-net_a)), 1 / (1 + math.exp(-net_b))

    expected = {"a": y_a / (y_a + y_b), "b": y_b / (y_a + y_b)}
    assert pytest.approx(expected) == model.predict_proba_one({"x": 1.0})


def test_default_parameters_are_those_of_the_experiment():
    model = SGDPerceptron(classes=range(10), seed=0)
    model.learn_one({f"pixel{i}": 0.0 for i in range(784)}, 3)

    assert (model.lr, model.epsilon, model.activation) == (0.01, 3e-6, "sigmoid")
    assert 0.029 < np.abs(model.weights).max() <= 0.03


def test_scores_are_uniform_if_all_outputs_are_zero():
    model = SGDPerceptron(activation="identity", init_range=0, classes=range(4))

    assert dict.fromkeys(range(4), 0.25) == model.predict_proba_one({"x": 1})


def test_sample_weight_multiplies_the_step():
    weighted, unweighted = (SGDPerceptron(lr=lr, classes=[0, 1], seed=0) for lr in (0.1, 0.05))
    weighted.learn_one({"x": 2.0}, 1, w=0.5)
    unweighted.learn_one({"x": 2.0}, 1)

    np.testing.assert_array_equal(unweighted.weights, weighted.weights)


def test_scheduler_receives_the_number_of_updates():
    update_counts = []

    class RecordingScheduler(schedulers.Constant):
        def get(self, t):
            update_counts.append(t)
            return super().get(t)

    model = SGDPerceptron(RecordingScheduler(0.5), epsilon=0.2, classes=[0, 1], seed=0)
    for _ in range(50):
        model.learn_one({"x": 1.0}, 1)

    assert model.n_updates < 50
    assert model.n_updates == max(update_counts)
    assert list(range(model.n_updates)) == update_counts[: model.n_updates]


def test_labels_that_differ_only_by_type_cause_a_warning():
    model = SGDPerceptron()
    model.learn_one({"x": 1}, 1)
    with pytest.warns(UserWarning, match=r"'1' \(str\) is spelled like 1 \(int\)") as caught:
        model.learn_one({"x": 1}, "1")

    assert model.classes_ == [1, "1"]
    assert __file__ == caught[0].filename


def test_equal_labels_merge_and_numpy_labels_become_python_types():
    model = SGDPerceptron()
    for label in (1, True, np.int64(1), np.float32(1)):
        model.learn_one({"x": 1}, label)
    model.learn_one({"x": 1}, np.str_("a"))

    assert model.classes_ == [1, "a"]
    assert [int, str] == [type(label) for label in model.classes_]


def test_any_hashable_value_can_be_a_label():
    labels = ["", (1, "a"), dt.date(2024, 1, 1), b"x", 2.5, frozenset("ab"), False]
    model = SGDPerceptron(classes=labels)

    assert labels == model.classes_
    assert set(labels) == set(model.predict_proba_one({}))


def test_empty_samples_train_the_biases():
    model = SGDPerceptron(lr=1.0, classes=["a", "b"], seed=0)
    for _ in range(20):
        model.learn_one({}, "b")

    assert model.predict_one({}) == "b"
    assert model.weights.shape == (2, 0)


def test_copies_learn_identically_and_independently(trained_model):
    twins = [copy.deepcopy(trained_model), pickle.loads(pickle.dumps(trained_model))]
    before = capture_state(trained_model)
    for twin in twins:
        assert capture_state(twin) == before
        twin.learn_one({"x0": 2.0, "new": 1.0}, "new")

    assert capture_state(twins[0]) == capture_state(twins[1])
    assert capture_state(trained_model) == before


def test_dict_changed_after_prediction_is_learned_with_new_values(rng):
    """Values cached by a prediction are reused only if the dict has not changed since."""

    def train_model(names, lr=0.3):
        trained_model = SGDPerceptron(lr=lr, classes=["low", "high"], seed=0)
        trained_model.learn_one(dict.fromkeys(names, 1.0), "low")
        return trained_model

    extra_names = [f"y{i}" for i in range(3000)]  # enough for samples to be sparse
    vocabularies = [FEATURE_NAMES, FEATURE_NAMES[::-1], [*FEATURE_NAMES, *extra_names]]
    models = [train_model(names) for names in vocabularies]
    twins = [train_model(names) for names in vocabularies]
    samples = to_dicts(rng.normal(size=(3, 6)))
    changes = [
        lambda x: x.update(x0=float(rng.normal())),
        lambda x: x.update(x1=int(rng.integers(5))),
        lambda x: x.update(x2=x.pop("x2", 0.5)),
        lambda x: x.pop("x3", None),
        lambda x: x.update(dict.fromkeys(x, 0.25)),
        lambda x: x.update({f"new{rng.integers(50)}": 1.0}),
        lambda x: None,
        lambda x: None,
    ]
    for _ in range(1000):
        x = samples[rng.integers(3)]
        if rng.random() < 0.05:
            x = samples[rng.integers(3)] = dict(x)
        i = rng.integers(3)
        changes[rng.integers(len(changes))](x)
        if rng.random() < 0.7:
            assert twins[i].predict_one(dict(x)) == models[i].predict_one(x)
        else:
            y = "high" if x.get("x0", 0.0) > 0 else "low"
            twins[i].learn_one(dict(x), y)
            models[i].learn_one(x, y)

    for model, twin in zip(models, twins, strict=True):
        assert capture_state(twin) == capture_state(model)


def test_scheduler_that_predicts_does_not_disturb_learning(trained_model):
    class PredictingScheduler(schedulers.Constant):
        def get(self, t):
            other.predict_one({"z": 1.0})
            return 0.5

    other = SGDPerceptron(seed=0)
    other.learn_one({"z": 2.0}, "there")
    twin = copy.deepcopy(trained_model)
    trained_model.mutate({"lr": PredictingScheduler(0.5)})
    x = dict.fromkeys(FEATURE_NAMES, 0.5)
    trained_model.predict_one(x)
    trained_model.learn_one(x, "high")
    twin.learn_one(dict(x), "high")

    assert capture_state(twin) == capture_state(trained_model)


def test_clone_is_untrained_with_the_same_parameters(trained_model):
    clone = trained_model.clone({"classes": ("a", "b")})

    assert (clone.lr, clone.seed_, clone.classes_, clone.n_seen) == (0.5, 0, ["a", "b"], 0)


def test_seed_none_draws_a_seed_and_keeps_it():
    first, second = SGDPerceptron(classes=["a"]), SGDPerceptron(classes=["a"])
    again = SGDPerceptron(classes=["a"], seed=first.seed_)

    assert first.seed_ != second.seed_
    assert first.seed is None
    assert again.biases == first.biases


def test_weights_are_read_only(trained_model):
    with pytest.raises(ValueError, match="read-only"):
        trained_model.weights[0, 0] = 1.0


def test_failing_scheduler_raises_sample_error_only_when_learning(trained_model):
    class FailingScheduler(schedulers.Constant):
        def get(self, t):
            raise OverflowError("too large")

    before = capture_state(trained_model)
    trained_model.lr = FailingScheduler(0.5)
    with pytest.raises(SampleError, match=r"no learning rate after \d+ updates: too large"):
        trained_model.learn_one({"x0": 1.0}, "high")

    assert capture_state(trained_model) == before
    assert trained_model.predict_one({"x0": 1.0}) in ("high", "low")
    result = trained_model.train(
        Samples(Rows.from_table(("x0",), np.ones((2, 1))), [None, None], np.ones(2))
    )
    assert len(result) == 2


def test_none_means_an_absent_feature(trained_model):
    copied = copy.deepcopy(trained_model)
    x = {"x0": 1.0, "x1": -2.0}
    assert trained_model.predict_proba_one(x) == trained_model.predict_proba_one({**x, "x2": None})
    trained_model.learn_one(x, "high")
    copied.learn_one({"x2": None, **x, "new": None}, "high")

    assert capture_state(trained_model) == capture_state(copied)
