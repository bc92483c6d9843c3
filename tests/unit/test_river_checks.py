"""River's own estimator checks, with none skipped, its wrappers, and its metrics of scores."""

from __future__ import annotations

import pytest
from river import (
    bandit,
    checks,
    datasets,
    drift,
    ensemble,
    evaluate,
    imblearn,
    metrics,
    model_selection,
    multiclass,
    preprocessing,
    utils,
)

from stream_perceptron import RecordEncoder, SGDPerceptron, Standardizer

MODELS = {
    "default": SGDPerceptron(seed=1),
    # Raw ImageSegments, with features up to 1,500, diverges at larger steps.
    "identity": SGDPerceptron(activation="identity", lr=1e-5),
    "balanced": SGDPerceptron(class_weight="balanced"),
    "encoder": RecordEncoder(),
    "encoder with options": RecordEncoder("zip", ["b"], ["NA"], scale=0.5, vectors=False),
    "scaler": Standardizer(),
    "pipeline": RecordEncoder() | SGDPerceptron(seed=1),
}
MINI_BATCH_CHECKS = {
    "check_predict_many_matches_predict_one",
    "check_learn_many_matches_learn_one",
    "check_predict_proba_many_matches_predict_proba_one",
}


@pytest.mark.parametrize("name", MODELS)
def test_river_checks_pass_without_skips(name):
    """River silently omits the mini-batch checks if pandas is missing."""
    model = MODELS[name]
    if isinstance(model, SGDPerceptron):
        assert {check.__name__ for check in checks.yield_checks(model)} >= MINI_BATCH_CHECKS
    assert model._unit_test_skips() == set()
    checks.check_estimator(model)


def test_pipeline_with_a_scaler_passes_all_checks_but_one():
    """In River's pipelines, a scaler learns a whole frame before the model learns its rows."""
    model = RecordEncoder() | Standardizer() | SGDPerceptron(seed=1)
    for check in checks.yield_checks(model):
        if check.__name__ != "check_learn_many_matches_learn_one":
            check(model.clone())


GRID = {"RecordEncoder": {"categorical": [None, "zip"]}, "SGDPerceptron": {"lr": [0.1, 1.0]}}
WRAPPERS = {
    "nothing": lambda model: model,
    "bagging": lambda model: ensemble.BaggingClassifier(model, n_models=2, seed=0),
    "bagging with ADWIN": lambda model: ensemble.ADWINBaggingClassifier(model, n_models=2, seed=0),
    "boosting": lambda model: ensemble.AdaBoostClassifier(model, n_models=2, seed=0),
    "voting": lambda model: ensemble.VotingClassifier([model, model.clone()]),
    "drift": lambda model: drift.DriftRetrainingClassifier(model, drift.binary.DDM()),
    "one versus rest": multiclass.OneVsRestClassifier,
    "undersampling": lambda model: imblearn.RandomUnderSampler(
        model, {"hot": 0.5, "cold": 0.5}, seed=0
    ),
    "successive halving": lambda model: model_selection.SuccessiveHalvingClassifier(
        utils.expand_param_grid(model, GRID), metrics.Accuracy(), budget=400
    ),
    "bandit": lambda model: model_selection.BanditClassifier(
        [model, model.clone()], metrics.Accuracy(), bandit.EpsilonGreedy(0.1, seed=0)
    ),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_learn_raw_records_with_the_whole_pipeline(name):
    """Wrappers clone the pipeline, so the encoder must allow that."""
    pipeline = RecordEncoder() | Standardizer() | SGDPerceptron(seed=0)
    model, metric = WRAPPERS[name](pipeline), metrics.Accuracy()
    for i in range(600):
        x = {
            "t": i % 40 - 20,
            "on": f"2024-03-{1 + i % 28:02}",
            "note": ("ok", "so so", None)[i % 3],
        }
        y = "hot" if x["t"] > 0 else "cold"
        metric.update(y, model.predict_one(x))
        model.learn_one(x, y)

    assert metric.get() > 0.9


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
