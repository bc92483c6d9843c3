"""Classes chosen by thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from stream_perceptron.live.thresholds import Thresholds

NAN = np.nan


@pytest.mark.parametrize(
    ("thresholds", "scores", "predicted", "choice"),
    [
        ({"a": 0.4}, [0.5, 0.9, 0.1], 1, 0),  # it reaches its threshold
        ({"a": 0.4, "7": 0.1}, [0.6, 0.2, 0.9], 2, 1),  # the largest ratio, not difference
        ({"7": 0.95}, [0.1, 0.9, 0.2], 1, 2),  # the best without a threshold
        (dict.fromkeys(["a", "7", "true"], 1.0), [0.1, 0.2, 0.9], 2, 2),  # none reaches its own
        ({"true": 0.0}, [0.9, 0.1, 0.0], 0, 2),  # 0 reaches 0
        ({"z": 0.1}, [0.1, 0.9, 0.2], 1, 1),  # there is no such class
        ({"7": 0.9, "true": 0.1}, [0.3, 0.7, NAN], 1, 0),  # a class is unknown
        ({"7": 0.9, "true": 0.1}, [0.3, NAN, NAN], -1, -1),
    ],
)
def test_class_is_chosen_by_the_thresholds(thresholds, scores, predicted, choice):
    chosen = Thresholds(thresholds).choose_classes(
        ["a", 7, True], np.array([scores]), np.array([predicted])
    )

    assert chosen.tolist() == [choice]
