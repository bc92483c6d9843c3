"""River's own estimator checks, each as a separate test, with none skipped."""

from __future__ import annotations

import pytest
from river import checks

from stream_perceptron import SGDPerceptron

MODELS = [
    SGDPerceptron(seed=1),
    SGDPerceptron(activation="tanh"),
    SGDPerceptron(activation="arctan"),
    # Raw ImageSegments, with features up to 1,500, diverges at larger steps.
    SGDPerceptron(activation="identity", lr=1e-5),
    SGDPerceptron(class_weight="balanced"),
]
MINI_BATCH_CHECKS = {
    "check_predict_many_matches_predict_one",
    "check_learn_many_matches_learn_one",
    "check_predict_proba_many_matches_predict_proba_one",
}


def get_model_id(model):
    return model.class_weight or model.activation


def generate_checks():
    for model in MODELS:
        for number, check in enumerate(checks.yield_checks(model)):
            name = f"{get_model_id(model)}:{number}:{check.__name__}"
            yield pytest.param(model, check, id=name)


@pytest.mark.parametrize(("model", "check"), list(generate_checks()))
def test_river_check(model, check):
    check(model.clone())


@pytest.mark.parametrize("model", MODELS, ids=get_model_id)
def test_river_yields_its_mini_batch_checks(model):
    """River silently omits the mini-batch checks if pandas is missing."""
    names = [check.__name__ for check in checks.yield_checks(model)]

    assert MINI_BATCH_CHECKS - set(names) == set()
    assert model._unit_test_skips() == set()


@pytest.mark.slow
def test_river_check_estimator_passes():
    checks.check_estimator(SGDPerceptron())
