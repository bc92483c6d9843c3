"""Diagnosis of models that are trained in Python."""

from __future__ import annotations

import pytest
from river import datasets, linear_model, preprocessing

from stream_perceptron import SGDPerceptron
from stream_perceptron.diagnostics import diagnose


def train_model(model, n=600):
    rows = list(datasets.ImageSegments().take(n))
    for x, y in rows:
        model.learn_one(x, y)
    return model, rows


def get_names(findings):
    return [finding.name for finding in findings]


def test_unscaled_features_are_found_in_50_samples():
    model, rows = train_model(SGDPerceptron(lr=0.1, seed=0))
    before = model.weights.tobytes()

    assert "unscaled features" in get_names(diagnose(model, rows[-50:]))
    assert model.weights.tobytes() == before


def test_well_trained_pipeline_has_no_findings():
    pipeline = preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)
    model, rows = train_model(pipeline, 2000)
    before = dict(model["StandardScaler"].means)

    assert get_names(diagnose(model, rows[-400:])) == []
    assert model["StandardScaler"].means == before


def test_single_label_and_equal_outputs_are_found():
    model, rows = train_model(preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0))
    assert "only one label" in get_names(diagnose(model, [(x, "sky") for x, _ in rows[-300:]]))
    slow_model, rows = train_model(preprocessing.StandardScaler() | SGDPerceptron(lr=1e-9, seed=1))
    assert "outputs alike or saturated" in get_names(diagnose(slow_model, rows))


def test_divergence_is_found():
    model = SGDPerceptron(lr=1e300, activation="identity", seed=0)
    findings = diagnose(model, [({"a": 1e10}, label) for label in "xyx"])
    assert findings[0].name == "diverging"


def test_other_model_types_are_rejected():
    with pytest.raises(TypeError, match="LogisticRegression is neither an SGDPerceptron"):
        diagnose(linear_model.LogisticRegression(), [])
