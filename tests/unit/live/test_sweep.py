"""The trials of a sweep learn the same as separate runs."""

from __future__ import annotations

import math

import pytest
from river import datasets, metrics

from stream_perceptron import SampleError, SGDPerceptron, sweep


def test_trials_on_a_river_stream_equal_separate_models():
    trials = sweep(datasets.Phishing(), lr=[0.01, 0.1, 1.0], activation=["sigmoid", "tanh"], seed=0)

    assert len(trials) == 6
    accuracies = [trial.progress.accuracy for trial in trials]
    assert sorted(accuracies, reverse=True) == accuracies
    for trial in trials:
        model, metric = SGDPerceptron(**trial.settings, seed=0), metrics.Accuracy()
        for x, y in datasets.Phishing():
            predicted = model.predict_one(x)
            if predicted is not None:
                metric.update(y, predicted)
            model.learn_one(x, y)
        assert metric.get() == trial.progress.accuracy
        assert model.weights.tobytes() == trial.model.weights.tobytes()
    assert sweep([({"a": 1.0}, "x")], lr=[]) == []


@pytest.mark.parametrize("value", ["red", math.inf])
def test_unusable_sample_ends_a_sweep_with_an_error(value):
    samples = [({"a": 1.0}, "x"), ({"a": value}, "y"), ({"a": 2.0}, "x")]

    with pytest.raises(SampleError, match="a"):
        sweep(samples)
