"""Metrics of classes, and sums of errors."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import get_seeds
from sklearn import metrics

from stream_perceptron.live.evaluation import Evaluation
from stream_perceptron.live.metrics import Confusion, Progress
from stream_perceptron.model.results import TrainResult
from stream_perceptron.model.rows import Rows


def test_sums_of_large_errors_stay_finite():
    result, progress = TrainResult.empty(np.zeros(300, np.intp)), Progress()
    result.errors[:] = 1e308
    rows = Rows.from_table((), np.zeros((300, 0)))
    progress.update(result, np.arange(300), rows)

    assert np.isfinite(progress.curve.sums).all()
    assert progress.error_sum == np.finfo(float).max


def test_undefined_metrics_are_zero():
    right, empty = Confusion(), Confusion().compute_metrics(0)
    right.update(np.array([0]), np.array([0]))

    assert right.compute_metrics(2).cohen_kappa == 0
    assert (empty.macro_f1, empty.balanced_accuracy, empty.cohen_kappa, empty.baseline) == (0,) * 4


def test_model_that_replaces_another_may_predict_further_classes():
    evaluation = Evaluation(["a", "b"])
    for predictions in (["a", "b"], ["c", "d"]):
        result = SimpleNamespace(
            labels=["c", "c"], predictions=predictions, all_scores=None, rejected=[]
        )
        evaluation.update(result)

    assert evaluation.accuracy == 1 / 4
    assert evaluation.figures()["pairs"] == [["c", name, 1] for name in "abcd"]


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
