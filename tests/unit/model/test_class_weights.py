"""Class weights, compared with their definition in plain Python."""

from __future__ import annotations

import copy
import pickle
from collections import Counter

import numpy as np
import pytest
from helpers import capture_state
from hypothesis import example, given
from hypothesis import strategies as st

from stream_perceptron import CheckpointError, SGDPerceptron
from stream_perceptron.distributed.averaging import average
from stream_perceptron.errors import DivergedError

CLASS_WEIGHTS = ["balanced", {"b": 3.0, "2": 0.25, 3: 0}]
LABEL_LISTS = st.lists(st.sampled_from(["a", "a", "a", "a", "b", 2, 3]), min_size=1, max_size=60)


def compute_expected_factors(class_weight, labels):
    """Yield the factor of each label's class according to the definition."""
    counts = Counter()
    for label in labels:
        if class_weight == "balanced":
            counts[label] += 1
            yield min(sum(counts.values()) / (len(counts) * counts[label]), 100.0)
        else:
            yield class_weight.get(label, class_weight.get(str(label), 1.0))


def draw_samples(labels, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(labels), 3)), rng.choice([0.0, 1.0, 2.5], len(labels))


@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS, ids=["balanced", "given"])
@given(labels=LABEL_LISTS, split=st.integers(0, 60), seed=st.integers(0, 9))
@example(labels=["a"] * 300 + ["b"], split=7, seed=0)  # the last factor is 100, not 301 / 2
def test_class_weight_multiplies_the_sample_weight(class_weight, labels, split, seed):
    """Single samples, and blocks learned by copies, give the same bits."""
    X, w = draw_samples(labels, seed)
    plain, weighted, blocks = (
        SGDPerceptron(0.1, 0.2, seed=0, class_weight=each)
        for each in (None, class_weight, class_weight)
    )
    expected_factors = compute_expected_factors(class_weight, labels)
    for x, y, sample_weight, factor in zip(X.tolist(), labels, w, expected_factors, strict=True):
        plain.learn_one(dict(enumerate(x)), y, sample_weight * factor)
        weighted.learn_one(dict(enumerate(x)), y, sample_weight)
    for part in (slice(split), slice(split, None)):
        if labels[part]:
            blocks.test_then_train(X[part], labels[part], w=w[part])
            blocks = pickle.loads(pickle.dumps(copy.deepcopy(blocks)))

    assert capture_state(plain) == capture_state(weighted) == capture_state(blocks)
    assert repr(blocks.network.class_counts) == repr(weighted.network.class_counts)


def test_stopped_and_diverging_samples_are_not_counted():
    stopped = SGDPerceptron(lr=1.0, epsilon=10.0, seed=0, class_weight="balanced")
    assert stopped.test_then_train(np.ones((5, 1)), ["a"] * 5, stop=True) == [None]
    diverged = SGDPerceptron(lr=1e308, seed=0, activation="identity", class_weight="balanced")
    with pytest.raises(DivergedError):
        diverged.test_then_train(np.full((9, 1), 1e3), ["a", "b"] * 4 + ["a"])

    assert stopped.network.class_counts.tolist() == [1]
    assert diverged.network.class_counts.sum() == diverged.n_seen < 9


def test_average_sums_the_class_counts_added_to_the_base():
    base = SGDPerceptron(seed=0, class_weight="balanced")
    base.test_then_train(np.ones((3, 1)), ["a", "a", "b"])
    models = [copy.deepcopy(base) for _ in range(2)]
    models[0].test_then_train(np.ones((2, 1)), ["a", "c"])
    models[1].test_then_train(np.ones((3, 1)), ["d", "b", "c"])
    averaged = average(base, models)

    counts = dict(zip(averaged.classes_, averaged.network.class_counts.tolist(), strict=True))
    assert counts == {"a": 3, "b": 2, "c": 2, "d": 1}
    other = copy.deepcopy(base)
    other.test_then_train(np.ones((4, 1)), ["c", "b", "b", "b"])
    with pytest.raises(CheckpointError, match="fewer samples of a class than the base"):
        average(models[0], [other])
