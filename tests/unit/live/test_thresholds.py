"""Predictions by thresholds, compared with a reference in plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_perceptron.live.thresholds import Thresholds

CLASSES = ["a", 7, True]
SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]), min_size=3, max_size=3)
THRESHOLDS = st.dictionaries(
    st.sampled_from(["a", "7", "true", "z"]), st.sampled_from([0.0, 0.1, 0.4, 1.0])
)


def find_rank(score, threshold):
    """Return the key by which classes that reach their threshold are compared."""
    if threshold:
        return 0, score / threshold
    return (1, score) if score else (0, 1.0)


def choose_by_reference(given, scores, predicted):
    """Return the index of the class that thresholds choose, or the predicted class."""
    texts = ["a", "7", "true"]
    ratios = {
        i: find_rank(score, given[text])
        for i, (text, score) in enumerate(zip(texts, scores, strict=True))
        if text in given and score >= given[text]
    }
    if ratios:
        return max(ratios, key=ratios.__getitem__)
    classes_without_threshold = [i for i, text in enumerate(texts) if text not in given]
    if predicted in classes_without_threshold or not classes_without_threshold:
        return predicted
    return max(classes_without_threshold, key=scores.__getitem__)


@given(THRESHOLDS, st.lists(SCORES, max_size=10))
def test_choice_by_thresholds_equals_the_python_reference(given, rows):
    scores = np.array(rows).reshape(-1, 3)
    predicted = scores.argmax(axis=1)
    choices = Thresholds(given).choose(CLASSES, scores, predicted).tolist()

    assert choices == [
        choose_by_reference(given, row, p) for row, p in zip(rows, predicted.tolist(), strict=True)
    ]


def test_unknown_classes_are_not_chosen():
    scores = np.array([[0.3, 0.7, np.nan], [np.nan, np.nan, np.nan], [0.3, np.nan, np.nan]])
    choices = Thresholds({"7": 0.9, "true": 0.1}).choose(CLASSES, scores, np.array([1, -1, -1]))

    assert choices.tolist() == [0, -1, -1]
