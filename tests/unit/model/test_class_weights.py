"""Class weights, compared with their definition in plain Python."""

from __future__ import annotations

import copy
import io
import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_perceptron import CheckpointError, SGDPerceptron, load, save
from stream_perceptron.distributed.averaging import average
from stream_perceptron.errors import DivergedError
from stream_perceptron.model.class_weights import ClassWeights

CLASS_WEIGHTS = ["balanced", {"b": 3.0, "2": 0.25, 3: 0}]
LABELS = ["a", "b", 2, 3, True]
LABEL_LISTS = st.lists(st.sampled_from(["a", "a", "a", *LABELS[:4]]), min_size=1, max_size=60)


def compute_expected_factors(class_weight, labels):
    """Yield the factor of each label's class according to the definition."""
    counts = Counter()
    for label in labels:
        if class_weight == "balanced":
            counts[label] += 1
            yield min(sum(counts.values()) / (len(counts) * counts[label]), 100.0)
        else:
            yield class_weight.get(label, class_weight.get(str(label), 1.0))


def get_learned_state(model):
    return model.weights.tobytes(), model.biases.tobytes(), model.classes_, model.n_updates


def draw_samples(labels, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(labels), 3)), rng.choice([0.0, 1.0, 2.5], len(labels))


@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS, ids=["balanced", "given"])
@given(labels=LABEL_LISTS)
def test_class_weight_multiplies_the_sample_weight(class_weight, labels):
    X, w = draw_samples(labels)
    plain = SGDPerceptron(lr=0.1, seed=0)
    weighted = SGDPerceptron(lr=0.1, seed=0, class_weight=class_weight)
    expected_factors = compute_expected_factors(class_weight, labels)
    for x, y, sample_weight, factor in zip(X.tolist(), labels, w, expected_factors, strict=True):
        plain.learn_one(dict(enumerate(x)), y, sample_weight * factor)
        weighted.learn_one(dict(enumerate(x)), y, sample_weight)

    assert get_learned_state(weighted) == get_learned_state(plain)


@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS, ids=["balanced", "given"])
@given(labels=LABEL_LISTS, splits=st.lists(st.integers(0, 60), max_size=5), seed=st.integers(0, 9))
def test_blocks_checkpoints_and_copies_give_the_same_bits(class_weight, labels, splits, seed):
    X, w = draw_samples(labels, seed)
    looped = SGDPerceptron(lr=0.1, seed=0, epsilon=0.2, class_weight=class_weight)
    for x, y, sample_weight in zip(X.tolist(), labels, w, strict=True):
        looped.learn_one(dict(enumerate(x)), y, sample_weight)
    resumed = SGDPerceptron(lr=0.1, seed=0, epsilon=0.2, class_weight=class_weight)
    ends = sorted({0, len(labels), *(min(split, len(labels)) for split in splits)})
    for number, (start, end) in enumerate(pairwise(ends)):
        resumed.test_then_train(X[start:end], labels[start:end], w=w[start:end])
        file = io.BytesIO()
        save(resumed, file)
        file.seek(0)
        resumed = [load(file).model, copy.deepcopy(resumed), pickle.loads(pickle.dumps(resumed))][
            (number + seed) % 3
        ]

    assert get_learned_state(resumed) == get_learned_state(looped)
    assert repr(resumed.network.class_counts) == repr(looped.network.class_counts)


@given(labels=LABEL_LISTS)
def test_batch_factors_match_single_sample_factors(labels):
    numbers = {label: i for i, label in enumerate(LABELS)}
    targets = np.array([numbers[label] for label in labels])
    single, batched = ClassWeights("balanced"), ClassWeights("balanced")
    single_factors = []
    for target, label in zip(targets.tolist(), labels, strict=True):
        single_factors.append(single.compute_factor(target, label))
        single.count_sample(target)
    batch_factors = batched.compute_factors(targets, LABELS).tolist()
    batched.count_samples(targets)

    assert batch_factors == single_factors == list(compute_expected_factors("balanced", labels))
    assert batched.copy_counts(5).tolist() == single.copy_counts(5).tolist()


def test_stopped_and_diverging_samples_are_not_counted():
    stopped = SGDPerceptron(lr=1.0, epsilon=10.0, seed=0, class_weight="balanced")
    stopped.test_then_train(np.ones((5, 1)), ["a"] * 5, stop=True)
    diverged = SGDPerceptron(lr=1e308, seed=0, activation="identity", class_weight="balanced")
    with pytest.raises(DivergedError):
        diverged.test_then_train(np.full((9, 1), 1e3), ["a", "b"] * 4 + ["a"])

    assert stopped.network.class_counts.tolist() == [1]
    assert diverged.network.class_counts.sum() == diverged.n_seen < 9


def test_average_sums_class_counts_added_to_the_base():
    base = SGDPerceptron(seed=0, class_weight="balanced")
    base.test_then_train(np.ones((3, 1)), ["a", "a", "b"])
    models = [copy.deepcopy(base) for _ in range(2)]
    models[0].test_then_train(np.ones((2, 1)), ["a", "c"])
    models[1].test_then_train(np.ones((3, 1)), ["d", "b", "c"])
    averaged = average(base, models)

    counts = dict(zip(averaged.classes_, averaged.network.class_counts.tolist(), strict=True))
    assert counts == {"a": 3, "b": 2, "c": 2, "d": 1}
    with pytest.raises(CheckpointError, match="its class-weight is None, but the base has 'bal"):
        average(base, [SGDPerceptron(seed=0)])


@pytest.mark.parametrize(
    ("class_weight", "reason"),
    [
        ("even", "class_weight is 'even': pass \"balanced\" or a dict"),
        (["a"], 'pass "balanced" or a dict'),
        (
            {"a": -1.0},
            "class_weight of 'a' is -1.0: choose a finite number greater than or equal to 0",
        ),
        ({"a": float("inf")}, "class_weight of 'a' is inf"),
        ({"a": "2"}, "class_weight of 'a' is 2"),
        ({"a": 10**400}, "class_weight of 'a' is 1000"),
    ],
)
def test_invalid_class_weight_is_rejected(class_weight, reason):
    with pytest.raises(ValueError, match=reason):
        SGDPerceptron(class_weight=class_weight)


def test_average_rejects_models_not_trained_from_the_base():
    base = SGDPerceptron(classes=["a", "b"], seed=0, class_weight="balanced")
    other = copy.deepcopy(base)
    base.test_then_train(np.ones((10, 1)), ["a"] * 10)
    other.test_then_train(np.ones((12, 1)), ["b"] * 12)

    with pytest.raises(CheckpointError, match="fewer samples of a class than the base"):
        average(base, [other])
