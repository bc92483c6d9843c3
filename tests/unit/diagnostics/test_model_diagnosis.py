"""Diagnosis of models from your own loops, by samples."""

from __future__ import annotations

import pytest
from river import datasets, linear_model, preprocessing

from stream_perceptron import SGDPerceptron
from stream_perceptron.diagnostics import diagnose


def learned(model, n=600):
    rows = list(datasets.ImageSegments().take(n))
    for x, y in rows:
        model.learn_one(x, y)
    return model, rows


def names(findings):
    return [finding.name for finding in findings]


def test_fifty_samples_tell_that_features_are_not_scaled():
    model, rows = learned(SGDPerceptron(lr=0.1, seed=0))
    before = model.weights.tobytes()

    assert "unscaled features" in names(diagnose(model, rows[-50:]))
    assert model.weights.tobytes() == before


def test_a_pipeline_that_learns_well_has_nothing_to_tell():
    pipeline = preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)
    model, rows = learned(pipeline, 2000)
    before = dict(model["StandardScaler"].means)

    assert names(diagnose(model, rows[-400:])) == []
    assert model["StandardScaler"].means == before


def test_labels_and_outputs():
    model, rows = learned(preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0))
    assert "only one label" in names(diagnose(model, [(x, "sky") for x, _ in rows[-300:]]))
    useless, rows = learned(preprocessing.StandardScaler() | SGDPerceptron(lr=1e-9, seed=0))
    assert "outputs alike" in names(diagnose(useless, rows))


def test_a_step_that_diverges():
    model = SGDPerceptron(lr=1e300, activation="identity", seed=0)
    found = diagnose(model, [({"a": 1e10}, label) for label in "xyx"])
    assert found[0].name == "diverging"


def test_other_models_are_refused():
    with pytest.raises(TypeError, match="LogisticRegression is neither an SGDPerceptron"):
        diagnose(linear_model.LogisticRegression(), [])
