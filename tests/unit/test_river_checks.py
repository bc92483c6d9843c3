"""River's own estimator checks, with none skipped, and its metrics of scores."""

from __future__ import annotations

import pytest
from river import checks, datasets, evaluate, metrics, preprocessing

from stream_perceptron import RecordEncoder, SGDPerceptron

MODELS = [
    SGDPerceptron(seed=1),
    # Raw ImageSegments, with features up to 1,500, diverges at larger steps.
    SGDPerceptron(activation="identity", lr=1e-5),
    SGDPerceptron(class_weight="balanced"),
]
MINI_BATCH_CHECKS = {
    "check_predict_many_matches_predict_one",
    "check_learn_many_matches_learn_one",
    "check_predict_proba_many_matches_predict_proba_one",
}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.class_weight or model.activation)
def test_river_checks_pass_without_skips(model):
    """River silently omits the mini-batch checks if pandas is missing."""
    assert {check.__name__ for check in checks.yield_checks(model)} >= MINI_BATCH_CHECKS
    assert model._unit_test_skips() == set()
    checks.check_estimator(model)


def test_encoder_is_part_of_a_union():
    union = preprocessing.StandardScaler() + RecordEncoder()
    model = union | SGDPerceptron(seed=0)
    model.learn_one({"a": 1.0}, "u")

    assert model.predict_one({"a": 2.0}) == "u"
    assert set(union.clone().transform_one({"b": 2})) == {"b"}


def test_scores_work_with_the_metrics_of_river():
    model = preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)
    auc = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.ROCAUC())

    assert auc.get() > 0.9
