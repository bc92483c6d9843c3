"""The perceptron in River's pipelines and evaluation loops."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from river import compose, datasets, evaluate, metrics, preprocessing, stream

from stream_perceptron import SGDPerceptron


def make_pipeline():
    return preprocessing.StandardScaler() | SGDPerceptron(lr=0.1, seed=0)


def run_plain_loop(dataset, metric):
    model = make_pipeline()
    for x, y in dataset:
        predicted = model.predict_one(x)
        if predicted is not None:
            metric.update(y, predicted)
        model.learn_one(x, y)
    return metric


@pytest.mark.parametrize(
    ("dataset", "min_accuracy"),
    [(datasets.ImageSegments, 0.8), (datasets.Phishing, 0.85)],
    ids=["ImageSegments", "Phishing"],
)
def test_progressive_val_score_matches_a_plain_loop(dataset, min_accuracy):
    metric = metrics.Accuracy() + metrics.MacroF1() + metrics.CohenKappa()
    evaluate.progressive_val_score(dataset(), make_pipeline(), metric)
    accuracy = run_plain_loop(dataset(), metrics.Accuracy())

    assert accuracy.get() == metric[0].get()
    assert metric[0].get() > min_accuracy


def test_nan_from_min_max_scaler_is_ignored_before_learning():
    """The first prediction gets NaN values, which a model without features ignores."""
    model = preprocessing.MinMaxScaler() | SGDPerceptron(lr=0.5, classes=[False, True], seed=0)
    metric = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())

    assert metric.get() > 0.85


def test_scores_work_with_rocauc_and_cross_entropy():
    rocauc = evaluate.progressive_val_score(datasets.Phishing(), make_pipeline(), metrics.ROCAUC())
    logloss = evaluate.progressive_val_score(
        datasets.ImageSegments(), make_pipeline(), metrics.CrossEntropy()
    )

    assert rocauc.get() > 0.9
    assert 0 < logloss.get() < 2


def test_iter_progressive_val_score_yields_intermediate_steps():
    steps = list(
        evaluate.iter_progressive_val_score(
            datasets.ImageSegments(), make_pipeline(), metrics.Accuracy(), step=500
        )
    )

    assert [step["Step"] for step in steps] == [500, 1000, 1500, 2000, 2310]


def test_delayed_labels_are_learned_after_the_delay():
    """River requests predictions immediately and passes the labels two days later."""
    start = dt.datetime(2024, 1, 1)
    days = itertools.count()
    dataset = (
        ({**x, "moment": start + dt.timedelta(days=next(days))}, y) for x, y in datasets.Phishing()
    )
    model = compose.Discard("moment") | make_pipeline()
    metric = evaluate.progressive_val_score(
        dataset, model, metrics.Accuracy(), moment="moment", delay=dt.timedelta(days=2)
    )

    assert metric.get() > 0.85
    assert model["SGDPerceptron"].n_seen == 1250
    assert metric.get() != run_plain_loop(datasets.Phishing(), metrics.Accuracy()).get()


def test_progressive_val_score_passes_sample_weights():
    dataset = [(x, y, {"w": 0.0}) for x, y in datasets.Phishing().take(50)]
    model = SGDPerceptron(classes=[False, True], init_range=0)
    evaluate.progressive_val_score(dataset, model, metrics.Accuracy())

    assert model.n_seen == 50
    assert not model.weights.any()


def test_pipeline_learns_pandas_frames():
    import pandas as pd

    rows = list(datasets.ImageSegments().take(500))
    X, y = pd.DataFrame([x for x, _ in rows]), pd.Series([y for _, y in rows])
    model = make_pipeline()
    for start in range(0, 500, 100):
        model.learn_many(X[start : start + 100], y[start : start + 100])

    assert model["SGDPerceptron"].n_seen == 500
    assert (model.predict_many(X) == y).mean() > 0.6


def test_cloned_pipeline_is_untrained():
    model = make_pipeline()
    first = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    second = evaluate.progressive_val_score(datasets.Phishing(), model.clone(), metrics.Accuracy())

    assert second.get() == first.get()


def test_iter_array_and_test_then_train_name_features_alike(rng):
    X, y = rng.random((30, 4)), rng.integers(0, 2, 30)
    looped, batched = SGDPerceptron(seed=0), SGDPerceptron(seed=0)
    for x, label in stream.iter_array(X, y):
        looped.learn_one(x, label)
    batched.test_then_train(X, y)

    assert looped.features_ == batched.features_ == [0, 1, 2, 3]
    assert looped.weights.tobytes() == batched.weights.tobytes()
