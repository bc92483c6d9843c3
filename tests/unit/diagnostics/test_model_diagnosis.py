"""Diagnosis of models that are trained in Python."""

from __future__ import annotations

import pytest
from river import datasets, linear_model, preprocessing

from stream_perceptron import SGDPerceptron
from stream_perceptron.diagnostics import diagnose


def test_well_trained_pipeline_has_no_findings():
    model = preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)
    rows = list(datasets.ImageSegments().take(2000))
    for x, y in rows:
        model.learn_one(x, y)
    before = dict(model["StandardScaler"].means), model["SGDPerceptron"].weights.tobytes()

    assert diagnose(model, rows[-400:]) == []
    after = dict(model["StandardScaler"].means), model["SGDPerceptron"].weights.tobytes()
    assert before == after


def test_divergence_is_found():
    model = SGDPerceptron(lr=1e300, activation="identity", seed=0)
    findings = diagnose(model, [({"a": 1e10}, label) for label in "xyx"])
    assert findings[0].name == "diverging"


def test_other_model_types_are_rejected():
    with pytest.raises(TypeError, match="LogisticRegression is neither an SGDPerceptron"):
        diagnose(linear_model.LogisticRegression(), [])
