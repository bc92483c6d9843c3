from __future__ import annotations

import copy
import datetime as dt
import math
import pickle

import numpy as np
import oracle
import pytest
from helpers import NAMES, dicts, state_of
from river.optim import schedulers

from stream_perceptron import SampleError, SGDPerceptron
from stream_perceptron.model.rows import Rows, Samples
from stream_perceptron.model.weights import draw_initial_weights


@pytest.mark.parametrize(
    ("activation", "epsilon"),
    [(name, 0.0) for name in oracle.ACTIVATIONS]
    + [("sigmoid", 0.3), ("tanh", 1.2), ("arctan", 2.5), ("identity", 0.3)],
)
def test_every_sample_agrees_with_the_rule_on_paper(activation, epsilon, rng):
    X = rng.normal(size=(300, 6)) * (rng.random((300, 6)) < 0.7)
    labels = rng.integers(0, 3, 300).tolist()
    model = SGDPerceptron(0.05, epsilon, activation, 0.5, classes=range(3), seed=7)
    first = draw_initial_weights(7, np.arange(3), np.arange(7), 0.5)
    w, b = first[:, 1:].tolist(), first[:, 0].tolist()
    skipped = 0
    for x, label in zip(X, labels, strict=True):
        features = dict(zip(NAMES, x.tolist(), strict=True))
        predicted = model.predict_one(features)
        model.learn_one(features, label)
        net, error = oracle.step(w, b, x.tolist(), label, 0.05, epsilon, activation)
        skipped += error < epsilon

        np.testing.assert_allclose(model.last_error, error, rtol=1e-12)
        np.testing.assert_allclose(model.weights, w, atol=1e-12)
        np.testing.assert_allclose(model.biases, b, atol=1e-12)
        assert net[predicted] >= max(net) - 1e-12
    assert (model.n_seen, model.n_updates) == (300, 300 - skipped)
    assert (skipped > 20) == (epsilon > 0)


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@pytest.mark.parametrize("classes", [None, ["a", "b"]])
def test_a_growing_model_agrees_with_the_rule_on_paper(activation, classes, rng):
    """Names of the first sample get drawn weights, later names 0; a new label is not predicted."""
    drawn = draw_initial_weights(3, np.arange(5), np.arange(30), 0.5)
    paper = oracle.Model(classes or [], lambda j, i: float(drawn[j, i]))
    model = SGDPerceptron(0.05, 0.1, activation, 0.5, classes=classes, seed=3)
    for n in range(400):
        names = rng.choice(list("abcdefghij")[: 3 + n // 20], 3, replace=False).tolist()
        x = dict(zip(names, rng.normal(size=3).tolist(), strict=True))
        label = "abcd"[int(rng.integers(min(4, 1 + n // 50)))]

        assert paper.predict(x) == model.predict_one(x)
        assert [paper.predict(x)] == copy.deepcopy(model).test_then_train(
            np.array([[*x.values()]]), [label], names
        )
        model.learn_one(x, label)
        error = paper.learn(x, label, 0.05, 0.1, activation)
        np.testing.assert_allclose(model.last_error, error, rtol=1e-9)
    assert (paper.labels, paper.features) == (model.classes_, model.features_)
    np.testing.assert_allclose(model.weights, paper.w, atol=1e-12)
    np.testing.assert_allclose(model.biases, paper.b, atol=1e-12)


def test_tanh_is_sigmoid_with_other_parameters(rng):
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


def test_first_prediction_comes_from_the_biases_of_declared_classes():
    model = SGDPerceptron(classes=["a", "b", "c"], seed=5)
    expected = ["a", "b", "c"][model.biases.argmax()]

    assert model.predict_one({"new": 100.0}) == expected
    assert model.features_ == []


def test_nothing_is_predicted_before_the_first_label():
    model = SGDPerceptron()

    assert model.predict_one({"x": 1}) is None
    assert model.predict_proba_one({"x": 1}) == {}
    assert model.test_then_train([[1.0]], ["a"]) == [None]
    assert model.test_then_train([[1.0]], ["a"]) == ["a"]


def test_prediction_is_made_before_the_sample_adds_its_label():
    model = SGDPerceptron(seed=0)

    assert model.test_then_train(np.ones((2, 1)), ["a", "b"]) == [None, "a"]


def test_features_grow_in_natural_order_sample_by_sample():
    model = SGDPerceptron()
    model.learn_one({"pixel10": 1, "pixel2": 0, 3: True}, "a")
    model.learn_one({"b": 1, "a": 1}, "a")

    assert model.features_ == [3, "pixel2", "pixel10", "a", "b"]


def test_weights_of_the_first_sample_are_drawn_and_later_ones_start_at_zero():
    model = SGDPerceptron(classes=["a", "b"], init_range=0.5, seed=1)
    model.learn_one({"x": 0.0, "y": None}, "c", w=0)
    model.learn_one({"y": 0.0, "x": 0.0, "z": 0.0}, "d", w=0)
    drawn = draw_initial_weights(1, np.arange(3), np.arange(2), 0.5)

    assert (model.classes_, model.features_) == (["a", "b", "c", "d"], ["x", "y", "z"])
    np.testing.assert_array_equal(np.vstack([drawn[:, :1], [[0.0]]])[:, 0], model.biases)
    np.testing.assert_array_equal(np.vstack([drawn[:, 1:], [[0.0]]])[:, 0], model.weights[:, 0])
    np.testing.assert_array_equal(np.zeros((4, 2)), model.weights[:, 1:])


def test_unknown_features_contribute_nothing_to_a_prediction(trained):
    known = trained.predict_proba_one({"x0": 1.0})

    assert known == trained.predict_proba_one({"x0": 1.0, "unknown": 1e9})


def test_ties_go_to_the_earlier_label():
    model = SGDPerceptron(init_range=0, classes=["b", "a"], seed=0)

    assert model.predict_one({"x": 1}) == "b"


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
def test_probabilities_are_sorted_and_lead_with_the_prediction(activation, rng):
    model = SGDPerceptron(0.1, activation=activation, classes=["e", "f"])
    model.test_then_train(rng.normal(size=(50, 6)), rng.choice(["e", "f", "g"], 50).tolist())
    for row in rng.normal(size=(20, 6)).tolist():
        x = dict(enumerate(row))
        probabilities = model.predict_proba_one(x)
        values = list(probabilities.values())

        assert next(iter(probabilities)) == model.predict_one(x)
        assert sorted(values, reverse=True) == values
        assert math.isclose(1, sum(values))
        assert set(model.classes_) == set(probabilities)


def test_probabilities_are_the_outputs_scaled_to_one():
    model = SGDPerceptron(init_range=0, lr=1.0, classes=["a", "b"])
    model.learn_one({"x": 1.0}, "a")
    net_a, net_b = 2 * 0.125, -2 * 0.125  # delta = 0.5 * 0.25, learned by weight and bias
    y_a, y_b = 1 / (1 + math.exp(-net_a)), 1 / (1 + math.exp(-net_b))

    expected = {"a": y_a / (y_a + y_b), "b": y_b / (y_a + y_b)}
    assert pytest.approx(expected) == model.predict_proba_one({"x": 1.0})


def test_probabilities_are_uniform_where_all_outputs_are_zero():
    model = SGDPerceptron(activation="identity", init_range=0, classes=range(4))

    assert dict.fromkeys(range(4), 0.25) == model.predict_proba_one({"x": 1})


def test_sample_weight_multiplies_the_step():
    twice, once = (SGDPerceptron(lr=lr, classes=[0, 1], seed=0) for lr in (0.1, 0.05))
    twice.learn_one({"x": 2.0}, 1, w=0.5)
    once.learn_one({"x": 2.0}, 1)

    np.testing.assert_array_equal(once.weights, twice.weights)


def test_scheduler_is_asked_with_the_number_of_updates():
    asked = []

    class Spy(schedulers.Constant):
        def get(self, t):
            asked.append(t)
            return super().get(t)

    model = SGDPerceptron(Spy(0.5), epsilon=0.2, classes=[0, 1], seed=0)
    for _ in range(50):
        model.learn_one({"x": 1.0}, 1)

    assert model.n_updates < 50
    assert model.n_updates == max(asked)
    assert list(range(model.n_updates)) == asked[: model.n_updates]


def test_labels_that_differ_only_by_type_are_two_labels_with_a_warning():
    model = SGDPerceptron()
    model.learn_one({"x": 1}, 1)
    with pytest.warns(UserWarning, match=r"'1' \(str\) is spelled like 1 \(int\)") as caught:
        model.learn_one({"x": 1}, "1")

    assert model.classes_ == [1, "1"]
    assert __file__ == caught[0].filename


def test_one_and_true_are_one_label_and_numpy_labels_are_plain():
    model = SGDPerceptron()
    for label in (1, True, np.int64(1), np.float32(1)):
        model.learn_one({"x": 1}, label)
    model.learn_one({"x": 1}, np.str_("a"))

    assert model.classes_ == [1, "a"]
    assert [int, str] == [type(label) for label in model.classes_]


def test_labels_may_be_any_hashable():
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


def test_copies_learn_on_alike_and_apart(trained):
    twins = [copy.deepcopy(trained), pickle.loads(pickle.dumps(trained))]
    before = state_of(trained)
    for twin in twins:
        assert state_of(twin) == before
        twin.learn_one({"x0": 2.0, "new": 1.0}, "new")

    assert state_of(twins[0]) == state_of(twins[1])
    assert state_of(trained) == before


def test_dicts_that_change_between_prediction_and_learning_are_learned_as_they_are(rng):
    """The values cached by a prediction are used again only if the dict has not changed."""

    def model(names, lr=0.3):
        made = SGDPerceptron(lr=lr, classes=["low", "high"], seed=0)
        made.learn_one(dict.fromkeys(names, 1.0), "low")
        return made

    many = [f"y{i}" for i in range(3000)]  # enough that a sample is sparse
    vocabularies = [NAMES, NAMES[::-1], [*NAMES, *many]]
    models = [model(names) for names in vocabularies]
    twins = [model(names) for names in vocabularies]
    samples = dicts(rng.normal(size=(3, 6)))
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

    for one, twin in zip(models, twins, strict=True):
        assert state_of(twin) == state_of(one)


def test_a_schedule_that_uses_models_itself_learns_the_right_sample(trained):
    class Curious(schedulers.Constant):
        def get(self, t):
            other.predict_one({"z": 1.0})
            return 0.5

    other = SGDPerceptron(seed=0)
    other.learn_one({"z": 2.0}, "there")
    twin = copy.deepcopy(trained)
    trained.mutate({"lr": Curious(0.5)})
    x = dict.fromkeys(NAMES, 0.5)
    trained.predict_one(x)
    trained.learn_one(x, "high")
    twin.learn_one(dict(x), "high")

    assert state_of(twin) == state_of(trained)


def test_clone_is_untrained_with_the_same_parameters(trained):
    clone = trained.clone({"classes": ("a", "b")})

    assert (clone.lr, clone.seed_, clone.classes_, clone.n_seen) == (0.5, 0, ["a", "b"], 0)


def test_seed_none_draws_a_seed_and_keeps_it():
    first, second = SGDPerceptron(classes=["a"]), SGDPerceptron(classes=["a"])
    again = SGDPerceptron(classes=["a"], seed=first.seed_)

    assert first.seed_ != second.seed_
    assert first.seed is None
    assert again.biases == first.biases


def test_weights_are_shown_but_not_lent(trained):
    with pytest.raises(ValueError, match="read-only"):
        trained.weights[0, 0] = 1.0


def test_a_schedule_that_fails_is_an_error_of_the_sample_and_is_not_asked_to_predict(trained):
    class Overflowing(schedulers.Constant):
        def get(self, t):
            raise OverflowError("too large")

    before = state_of(trained)
    trained.lr = Overflowing(0.5)
    with pytest.raises(SampleError, match=r"no learning rate after \d+ updates: too large"):
        trained.learn_one({"x0": 1.0}, "high")

    assert state_of(trained) == before
    assert trained.predict_one({"x0": 1.0}) in ("high", "low")
    result = trained.train(
        Samples(Rows.from_table(("x0",), np.ones((2, 1))), [None, None], np.ones(2))
    )
    assert len(result) == 2


def test_none_is_an_absent_feature(trained):
    other = copy.deepcopy(trained)
    x = {"x0": 1.0, "x1": -2.0}
    assert trained.predict_proba_one(x) == trained.predict_proba_one({**x, "x2": None})
    trained.learn_one(x, "high")
    other.learn_one({"x2": None, **x, "new": None}, "high")

    assert state_of(trained) == state_of(other)
