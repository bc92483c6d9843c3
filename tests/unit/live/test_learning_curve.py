"""The learning curve has the sums of a plain loop, however samples are split into blocks."""

from __future__ import annotations

import numpy as np
from helpers import get_seeds

from stream_perceptron.live.learning_curve import LearningCurve
from stream_perceptron.live.metrics import Progress
from stream_perceptron.model.results import TrainResult
from stream_perceptron.model.rows import Rows


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


class PlainCurve:
    """A learning curve that adds one sample at a time."""

    def __init__(self):
        self.bin, self.bins = 10, []

    def add(self, target, predicted, error, updated, slope, spread):
        if not self.bins or self.bins[-1][0] == self.bin:
            if len(self.bins) == LearningCurve.MAX_BINS:
                pairs = zip(self.bins[::2], self.bins[1::2], strict=True)
                self.bins = [a + b for a, b in pairs]
                self.bin *= 2
            self.bins.append(np.zeros(7))
        sums = self.bins[-1]
        is_probed = not np.isnan(slope)
        sums += [1, target == predicted, error, updated, is_probed, 0, 0]
        if is_probed:
            sums[5:] += slope, spread


def test_curve_has_the_sums_of_a_plain_loop():
    for seed in get_seeds(20):
        rng = np.random.default_rng(seed)
        k = int(rng.integers(1, 6))
        progress, plain = Progress(), PlainCurve()
        for _ in range(rng.integers(1, 12)):
            n = int(rng.choice([0, 1, 9, 100, 2500]))
            result, rows = draw_result(rng, n, k), Rows.from_table((), np.zeros((n, 0)))
            progress.update(result, np.arange(n), rows)
            for sample in zip(
                result.targets.tolist(), result.predicted, result.errors, result.updated,
                *result.probes.T, strict=True,
            ):  # fmt: skip
                if sample[0] >= 0:
                    plain.add(*sample)
        assert progress.curve.bin == plain.bin
        assert progress.curve.sums.tolist() == [sums.tolist() for sums in plain.bins]
