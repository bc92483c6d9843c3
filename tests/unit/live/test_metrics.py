"""Progress updated in blocks equals progress updated by row, and plain counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from helpers import get_seeds
from sklearn import metrics

from stream_perceptron.live.metrics import Confusion, Progress, merge_reaches
from stream_perceptron.model.results import TrainResult
from stream_perceptron.model.rows import Rows


@pytest.mark.parametrize("step", [1, 7, 300])
def test_progress_equals_a_plain_count_of_rows(step, rng):
    n = 300
    whole = TrainResult.empty(rng.integers(-1, 3, n))
    whole.predicted[:] = rng.integers(0, 3, n)
    whole.predicted[:5] = -1  # no label is known yet
    whole.errors[:] = np.where(whole.targets < 0, np.nan, rng.random(n))
    whole.updated[:] = (whole.targets >= 0) & (rng.random(n) < 0.5)
    progress = Progress()
    for start in range(0, n, step):
        progress.update(whole[start : start + step])

    rows = [i for i in range(n) if whole.targets[i] >= 0]
    targets = whole.targets[rows].tolist()
    tested = [i for i in rows if whole.predicted[i] >= 0]
    pairs = list(zip(whole.targets[tested].tolist(), whole.predicted[tested].tolist(), strict=True))
    error = 0.0
    for i in rows:
        error += float(whole.errors[i])
    matrix = [[pairs.count((target, predicted)) for predicted in range(3)] for target in range(3)]
    right = [target == predicted for target, predicted in pairs]

    assert (len(rows), n - len(rows)) == (progress.samples, progress.unlabeled)
    assert sum(a == b for a, b in pairwise(targets)) == progress.repeats
    assert targets[-1] == progress.last_target
    assert error == progress.error_sum
    assert int(whole.updated.sum()) == progress.updates
    assert matrix == progress.confusion.matrix(range(3)).tolist()
    assert (len(right), sum(right)) == (progress.confusion.tested, progress.confusion.right)
    assert right == progress.window.tolist()


def test_sums_of_large_errors_stay_finite(rng):
    whole = TrainResult.empty(np.zeros(300, np.intp))
    whole.predicted[:] = 0
    whole.errors[:] = rng.choice([1e308, 1.0], 300)
    progress = [Progress(), Progress()]
    progress[0].update(whole)
    for i in range(300):
        progress[1].update(whole[i : i + 1])

    assert np.isfinite(progress[0].curve.sums).all()
    assert progress[0].error_sum == progress[1].error_sum == np.finfo(float).max
    assert progress[0].curve.sums.tobytes() == progress[1].curve.sums.tobytes()


def test_metrics_of_a_single_sample_are_perfect_or_zero():
    right, wrong = Confusion(), Confusion()
    right.update(np.array([0]), np.array([0]))
    wrong.update(np.array([0]), np.array([1]))
    right, wrong = right.compute_metrics(2), wrong.compute_metrics(2)

    assert (right.recall[0], right.precision[0], right.baseline) == (1, 1, 1)
    assert (right.balanced_accuracy, right.macro_f1, right.cohen_kappa) == (1, 1, 0)
    assert (wrong.recall[0], wrong.precision[1], wrong.baseline) == (0, 0, 1)
    assert (wrong.balanced_accuracy, wrong.macro_f1) == (0, 0)


@pytest.mark.parametrize("n", [6, 10, 200])
@pytest.mark.parametrize("seed", get_seeds(20))
def test_class_metrics_equal_those_of_scikit_learn(n, seed):
    """Some labels are only seen, some only predicted, and some neither."""
    rng, k = np.random.default_rng(seed), 6
    targets = rng.choice(rng.permutation(k)[:4], n)
    predicted = np.where(rng.random(n) < 0.5, targets, rng.choice(rng.permutation(k)[:4], n))
    confusion = Confusion()
    confusion.update(targets[: n // 2], predicted[: n // 2])
    confusion.update(targets[n // 2 :], predicted[n // 2 :])
    actual = confusion.compute_metrics(k)
    options = {"labels": range(k), "average": None, "zero_division": 0}

    np.testing.assert_allclose(
        actual.precision, metrics.precision_score(targets, predicted, **options)
    )
    np.testing.assert_allclose(actual.recall, metrics.recall_score(targets, predicted, **options))
    assert actual.macro_f1 == pytest.approx(
        metrics.f1_score(targets, predicted, average="macro", zero_division=0)
    )
    seen = sorted(set(targets.tolist()))
    assert actual.balanced_accuracy == pytest.approx(
        metrics.recall_score(targets, predicted, labels=seen, average="macro")
    )
    assert actual.cohen_kappa == pytest.approx(metrics.cohen_kappa_score(targets, predicted))
    assert actual.seen.tolist() == np.bincount(targets, minlength=k).tolist()
    assert actual.predicted.tolist() == np.bincount(predicted, minlength=k).tolist()
    assert actual.largest == actual.seen.argmax()
    assert actual.baseline == actual.seen.max() / n


def test_baseline_counts_untested_samples_of_the_first_label():
    confusion = Confusion()
    confusion.update(np.array([0, 1, 1]), np.array([0, 0, 1]))
    before, after = confusion.compute_metrics(2), confusion.compute_metrics(2, untested=2)

    assert (before.largest, before.baseline, before.counts.tolist()) == (1, 2 / 3, [1, 2])
    assert (after.largest, after.baseline, after.counts.tolist()) == (0, 3 / 5, [3, 2])


def test_metrics_without_samples_are_zero():
    actual = Confusion().compute_metrics(0)

    assert (actual.macro_f1, actual.balanced_accuracy, actual.cohen_kappa) == (0.0, 0.0, 0.0)
    assert (actual.largest, actual.baseline, actual.counts.tolist()) == (0, 0.0, [])


def test_merged_reaches_are_the_larger_ones_of_shared_features():
    assert merge_reaches({"b": 1.0, "a": 3.0, "c": 5.0}, {"a": 2.0, "b": 4.0}) == {
        "a": 3.0, "b": 4.0
    }  # fmt: skip


def test_features_that_rise_from_every_probed_sample_to_the_next_are_kept():
    progress = Progress()
    for rows in ([[1.0, 5.0, 7.0], [2.0, 6.0, 7.0]], [[3.0, 5.5, 8.0]]):
        progress.update_reaches(Rows.from_table(("row", "b", "c"), np.array(rows)))

    assert progress.rising == {"row": 3.0}
    assert progress.reach == {"row": 3.0, "b": 6.0, "c": 8.0}
    assert progress.largest == 8.0
