"""Metrics of classes."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import get_seeds
from sklearn import metrics

from stream_perceptron.live.metrics import Confusion


@pytest.mark.parametrize("n", [6, 10, 200])
def test_class_metrics_equal_those_of_scikit_learn(n):
    """Some labels are only seen, some only predicted, and some neither."""
    for seed in get_seeds(20):
        rng, k = np.random.default_rng(seed), 6
        targets = rng.choice(rng.permutation(k)[:4], n)
        predicted = np.where(rng.random(n) < 0.5, targets, rng.choice(rng.permutation(k)[:4], n))
        confusion = Confusion()
        confusion.update(targets[: n // 2], predicted[: n // 2])
        confusion.update(targets[n // 2 :], predicted[n // 2 :])
        actual = confusion.compute_metrics(k)
        options = {"labels": range(k), "average": None, "zero_division": 0}
        np.testing.assert_allclose(
            actual.precision, metrics.precision_score(targets, predicted, **options)
        )
        np.testing.assert_allclose(
            actual.recall, metrics.recall_score(targets, predicted, **options)
        )
        assert actual.macro_f1 == pytest.approx(
            metrics.f1_score(targets, predicted, average="macro", zero_division=0)
        )
        seen = sorted(set(targets.tolist()))
        assert actual.balanced_accuracy == pytest.approx(
            metrics.recall_score(targets, predicted, labels=seen, average="macro")
        )
        assert actual.cohen_kappa == pytest.approx(metrics.cohen_kappa_score(targets, predicted))
        assert actual.support.tolist() == np.bincount(targets, minlength=k).tolist()
        assert actual.predicted.tolist() == np.bincount(predicted, minlength=k).tolist()
        assert actual.majority_label == actual.support.argmax()
        assert actual.baseline == actual.support.max() / n
