"""The learning curve has the sums of its bins, however samples are split into blocks."""

from __future__ import annotations

import numpy as np
from helpers import get_seeds

from stream_perceptron.live.learning_curve import LearningCurve
from stream_perceptron.live.metrics import Progress
from stream_perceptron.model.results import TrainResult
from stream_perceptron.model.rows import FeatureRows


def draw_result(rng, n, k):
    """Return a random result for n samples of k classes, some of them unlabeled."""
    result = TrainResult.empty(rng.integers(-1 if rng.random() < 0.5 else 0, k, n))
    is_labeled, is_probed = result.targets >= 0, rng.random(n) < 0.1
    result.predicted[:] = rng.integers(0, k, n)
    result.errors[is_labeled] = rng.random(n)[is_labeled]
    result.updated[:] = is_labeled & (rng.random(n) < 0.8)
    if is_probed.any():
        result.probes = np.where(is_probed[:, np.newaxis], rng.random((n, 2)), np.nan)
    return result


def test_curve_has_the_sums_of_its_bins():
    for seed in get_seeds(20):
        rng = np.random.default_rng(seed)
        k, progress, results = int(rng.integers(1, 6)), Progress(), []
        for n in rng.choice([0, 1, 9, 100, 2500], rng.integers(1, 12)).tolist():
            results.append(draw_result(rng, n, k))
            progress.update(results[-1], np.arange(n), FeatureRows.from_table((), np.zeros((n, 0))))
        whole = TrainResult.concatenate(results)
        whole, size = whole[whole.targets >= 0], 10
        while len(whole) > size * LearningCurve.MAX_BINS:
            size *= 2
        columns = [
            np.ones(len(whole)), whole.targets == whole.predicted, whole.errors, whole.updated,
            ~np.isnan(whole.probes[:, 0]), *np.nan_to_num(whole.probes.T),
        ]  # fmt: skip
        bins = np.arange(len(whole)) // size

        assert progress.curve.bin == size
        expected = np.stack([np.bincount(bins, column) for column in columns], axis=1)
        np.testing.assert_allclose(progress.curve.sums, expected, rtol=1e-12)
