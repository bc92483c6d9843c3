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
    """Return the figures of the second of two classes; some other samples have a third label."""
    ranking, targets = Ranking(2), np.where(hits, 1, 2 * (np.arange(len(hits)) % 2))
    for part in np.array_split(np.arange(len(hits)), 2):
        ranking.update(targets[part], np.column_stack([1 - scores, scores])[part])
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
