"""Ranking metrics, compared with scikit-learn and with their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from stream_perceptron.live import ranking
from stream_perceptron.live.ranking import Ranking, compute_figures, compute_precision_recall

SAMPLE_LISTS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0])),
    min_size=2,
    max_size=60,
).filter(lambda samples: len({hit for hit, _ in samples}) == 2)


@pytest.mark.slow
@settings(deadline=None)
@given(SAMPLE_LISTS)
def test_figures_equal_those_of_scikit_learn(samples):
    hits, scores = map(np.array, zip(*samples, strict=True))
    figures = compute_figures(compute_precision_recall(scores, hits))
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


def draw_samples(n, k, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(k), n)
    targets = np.array([rng.choice(k + 1, p=[*(0.9 * row), 0.1]) for row in scores])
    return targets, scores


def test_ranking_by_blocks_equals_ranking_of_all_samples():
    """Samples with an unknown label count as negatives of every class."""
    targets, scores = draw_samples(700, 3)
    whole, parts = Ranking(3), Ranking(3)
    whole.update(targets, scores)
    for start in range(0, 700, 130):
        parts.update(targets[start : start + 130], scores[start : start + 130])

    assert whole.method == "exact"
    for label in range(3):
        assert whole.figures(label) == parts.figures(label)
        auc = metrics.roc_auc_score(targets == label, scores[:, label])
        assert whole.figures(label).roc_auc == pytest.approx(auc)


def test_many_scores_are_counted_in_bins(monkeypatch):
    targets, scores = draw_samples(2000, 3)
    exact, binned = Ranking(3), Ranking(3)
    exact.update(targets, scores)
    monkeypatch.setattr(ranking, "MAX_SCORES", 3000)
    for start in range(0, 2000, 500):  # the third block exceeds the limit
        binned.update(targets[start : start + 500], scores[start : start + 500])

    assert binned.method == "65,536 bins"
    for label in range(3):
        assert binned.figures(label) == pytest.approx(exact.figures(label), abs=2e-3)


def test_more_than_100_classes_have_no_figures():
    has_figures = []
    for k in (100, 101):
        class_ranking = Ranking(k)
        class_ranking.update(np.arange(10) % 2, np.full((10, k), 0.01))
        has_figures.append((class_ranking.method, class_ranking.figures(0) is not None))

    assert has_figures == [("exact", True), (None, False)]


@pytest.mark.parametrize("targets", [[0, 0, 0], [1, 1, 1], [2, 2, 2]])
def test_class_of_no_or_all_samples_has_no_figures(targets):
    class_ranking = Ranking(2)
    class_ranking.update(np.array(targets), np.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]))

    assert class_ranking.figures(0) is None
