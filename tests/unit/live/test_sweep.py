"""The trials of a sweep learn the same as separate runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from river import datasets, evaluate, metrics

from stream_perceptron import RecordEncoder, SampleError, SGDPerceptron, Standardizer, sweep


def build_pipeline(**settings):
    return RecordEncoder() | Standardizer() | SGDPerceptron(**settings)


@pytest.mark.parametrize("build", [SGDPerceptron, build_pipeline])
def test_trials_equal_separate_models(build):
    settings = {"lr": [0.01, 0.1, 1.0], "activation": ["sigmoid", "tanh"]}
    trials = sweep(datasets.Phishing(), build(seed=0), **settings)

    assert len(trials) == 6
    accuracies = [trial.progress.accuracy for trial in trials]
    assert sorted(accuracies, reverse=True) == accuracies
    for trial in trials:
        model = build(**trial.settings, seed=0)
        metric = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
        *_, perceptron = getattr(model, "steps", {"": model}).values()
        assert metric.get() == trial.progress.accuracy
        np.testing.assert_allclose(perceptron.weights, trial.model.weights, atol=1e-12)


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
