"""The trials of a sweep learn the same as separate runs."""

from __future__ import annotations

import math

import pytest
from river import datasets, metrics

from stream_perceptron import RecordEncoder, SampleError, SGDPerceptron, Standardizer, sweep


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


def test_trials_of_a_pipeline_equal_separate_pipelines():
    def build(**settings):
        return RecordEncoder() | Standardizer() | SGDPerceptron(**settings)

    trials = sweep(datasets.Phishing(), build(seed=0), lr=[0.01, 0.1])

    for trial in trials:
        model, metric = build(**trial.settings, seed=0), metrics.Accuracy()
        for x, y in datasets.Phishing():
            predicted = model.predict_one(x)
            if predicted is not None:
                metric.update(y, predicted)
            model.learn_one(x, y)
        assert metric.get() == trial.progress.accuracy


@pytest.mark.parametrize("value", ["red", math.inf])
def test_unusable_sample_ends_a_sweep_with_an_error(value):
    samples = [({"a": 1.0}, "x"), ({"a": value}, "y"), ({"a": 2.0}, "x")]

    with pytest.raises(SampleError, match="a"):
        sweep(samples)


def test_trial_that_ended_comes_last_even_if_it_was_the_most_accurate():
    """Only the bounded outputs survive the large number, after which the labels are swapped."""
    rows = [({"a": float(i % 2)}, "xy"[i % 2]) for i in range(50)]
    swapped = [(x, "yx"["xy".index(y)]) for x, y in rows]
    samples = [*rows, ({"a": 1e200}, "y"), *swapped]
    trials = sweep(samples, activation=["identity", "sigmoid"], lr=[0.1], seed=0)

    assert [trial.settings["activation"] for trial in trials] == ["sigmoid", "identity"]
    assert trials[1].diverged_at == 51
    assert trials[1].progress.accuracy > trials[0].progress.accuracy
