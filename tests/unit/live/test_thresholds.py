"""Predictions by thresholds, against their definition in plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_perceptron.live.thresholds import Thresholds

CLASSES = ["a", 7, True]
SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]), min_size=3, max_size=3)
GIVEN = st.dictionaries(
    st.sampled_from(["a", "7", "true", "z"]), st.sampled_from([0.0, 0.1, 0.4, 1.0])
)


def find_rank(score, threshold):
    """Return the key by which classes that reach their threshold are compared."""
    if threshold:
        return 0, score / threshold
    return (1, score) if score else (0, 1.0)


def define_choice(given, scores, predicted):
    texts = ["a", "7", "true"]
    ratios = {
        i: find_rank(score, given[text])
        for i, (text, score) in enumerate(zip(texts, scores, strict=True))
        if text in given and score >= given[text]
    }
    if ratios:
        return max(ratios, key=ratios.__getitem__)
    others = [i for i, text in enumerate(texts) if text not in given]
    if predicted in others or not others:
        return predicted
    return max(others, key=scores.__getitem__)


@given(GIVEN, st.lists(SCORES, max_size=10))
def test_a_class_is_chosen_by_thresholds(given, rows):
    scores = np.array(rows).reshape(-1, 3)
    predicted = scores.argmax(axis=1)
    found = Thresholds(given).choose(CLASSES, scores, predicted).tolist()

    assert found == [
        define_choice(given, row, p) for row, p in zip(rows, predicted.tolist(), strict=True)
    ]


def test_unknown_classes_are_not_chosen():
    scores = np.array([[0.3, 0.7, np.nan], [np.nan, np.nan, np.nan]])
    found = Thresholds({"7": 0.9, "true": 0.1}).choose(CLASSES, scores, np.array([1, -1]))

    assert found.tolist() == [0, -1]
