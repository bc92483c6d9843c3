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


def test_best_threshold_excludes_many_samples_just_below_it():
    """The samples are in the same bin as those above the threshold, or in an adjacent one."""
    rng = np.random.default_rng(0)
    hits = np.arange(1100) < 100
    n_apart = 0
    for _ in range(60):
        upper = rng.uniform(0.05, 0.95)
        lower = upper - 6e-4 * rng.random() * min(upper, 1 - upper)
        figures = rank(hits, np.where(hits, upper, lower))
        reached = np.where(hits, upper, lower) >= figures.best_threshold

        assert figures.best_f1 == pytest.approx(metrics.f1_score(hits, reached))
        n_apart += figures.best_f1 == 1
    assert 6 < n_apart < 60


def test_best_threshold_has_at_most_four_decimals_between_0_1_and_0_9():
    rng = np.random.default_rng(0)
    hits = rng.random(2000) < 0.5
    for _ in range(50):
        scores = rng.uniform(0.3, 0.7) + rng.uniform(-0.2, 0.2, 2000) + 1e-3 * hits
        assert len(str(rank(hits, scores).best_threshold)) <= len("0.1234")


@pytest.mark.parametrize(
    ("k", "targets", "has_figures"),
    [(100, [0, 1], True), (101, [0, 1], False), (2, [0, 0], False), (2, [1, 1], False)],
)
def test_some_classes_have_no_figures(k, targets, has_figures):
    """There are too many classes, or a class has no samples or all of them."""
    ranking = Ranking(k)
    ranking.update(np.array(targets), np.full((2, k), 1 / k))

    assert (ranking.figures(0) is not None) == has_figures
