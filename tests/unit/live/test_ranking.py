"""Ranking metrics, compared with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from stream_perceptron.live.ranking import Ranking

SAMPLE_LISTS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 1e-12, 0.1, 0.25, 0.5, 0.75, 1 - 1e-12, 1.0])),
    min_size=2,
    max_size=60,
).filter(lambda samples: len({hit for hit, _ in samples}) == 2)


def rank(hits, scores):
    """Return the figures of the second of two classes."""
    ranking = Ranking(2)
    ranking.update(np.array(hits, np.intp), np.column_stack([1 - scores, scores]))
    return ranking.figures(1)


@pytest.mark.slow
@settings(deadline=None)
@given(SAMPLE_LISTS)
def test_figures_equal_those_of_scikit_learn(samples):
    hits, scores = map(np.array, zip(*samples, strict=True))
    figures = rank(hits, scores)
    precision, recall, thresholds = metrics.precision_recall_curve(hits, scores)
    f1 = [metrics.f1_score(hits, scores >= threshold) for threshold in thresholds]

    assert figures.average_precision == pytest.approx(metrics.average_precision_score(hits, scores))
    assert figures.roc_auc == pytest.approx(metrics.roc_auc_score(hits, scores))
    # scikit-learn adds a point without a threshold, of precision 1.
    for min_precision, max_recall in (
        (0.5, figures.recall_at_precision_50),
        (0.9, figures.recall_at_precision_90),
    ):
        expected = recall[:-1][precision[:-1] >= min_precision].max(initial=0.0)
        assert max_recall == pytest.approx(expected)
    assert figures.best_f1 == pytest.approx(max(f1))
    assert metrics.f1_score(hits, scores >= figures.best_threshold) == pytest.approx(max(f1))


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.5])
@pytest.mark.parametrize("mean", [-30.0, -16.0, 0.0, 16.0, 30.0])
@pytest.mark.parametrize("has_ties", [False, True])
def test_figures_are_close_for_all_rates_and_logits(rate, mean, has_ties):
    rng = np.random.default_rng(0)
    hits = rng.random(100_000) < rate
    logits = mean + rng.normal(size=len(hits)) + hits
    if has_ties:
        logits = logits.round(1)
    # Beyond a logit of 36, a score of 1 is a tie for scikit-learn, too.
    scores = 1 / (1 + np.exp(-logits))
    figures = rank(hits, scores)
    errors = (
        figures.roc_auc - metrics.roc_auc_score(hits, scores),
        figures.average_precision - metrics.average_precision_score(hits, scores),
    )

    assert np.abs(errors).max() < 1e-3


def test_ranking_by_blocks_equals_ranking_of_all_samples():
    """Samples with an unknown label count as negatives of every class."""
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(3), 700)
    targets = np.array([rng.choice(4, p=[*(0.9 * row), 0.1]) for row in scores])
    whole, parts = Ranking(3), Ranking(3)
    whole.update(targets, scores)
    for start in range(0, 700, 130):
        parts.update(targets[start : start + 130], scores[start : start + 130])

    for label in range(3):
        assert whole.figures(label) == parts.figures(label)
        auc = metrics.roc_auc_score(targets == label, scores[:, label])
        assert whole.figures(label).roc_auc == pytest.approx(auc, abs=1e-3)


def test_best_threshold_excludes_many_samples_just_below_it():
    """The samples are in the same bin as those above the threshold, or in an adjacent one."""
    rng = np.random.default_rng(0)
    hits = np.arange(1100) < 100
    n_apart = 0
    for _ in range(300):
        upper = rng.uniform(0.05, 0.95)
        lower = upper - 6e-4 * rng.random() * min(upper, 1 - upper)
        figures = rank(hits, np.where(hits, upper, lower))
        reached = np.where(hits, upper, lower) >= figures.best_threshold

        assert figures.best_f1 == pytest.approx(metrics.f1_score(hits, reached))
        n_apart += figures.best_f1 == 1
    assert 30 < n_apart < 300


def test_more_than_100_classes_have_no_figures():
    for k in (100, 101):
        ranking = Ranking(k)
        ranking.update(np.arange(10) % 2, np.full((10, k), 0.01))
        assert (ranking.figures(0) is not None) == (k == 100)


@pytest.mark.parametrize("targets", [[0, 0, 0], [1, 1, 1], [2, 2, 2]])
def test_class_of_no_or_all_samples_has_no_figures(targets):
    ranking = Ranking(2)
    ranking.update(np.array(targets), np.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]))

    assert ranking.figures(0) is None
