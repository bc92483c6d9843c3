"""Progress updated in blocks equals progress updated by row, and plain counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from stream_perceptron.live.metrics import Progress
from stream_perceptron.model.results import TrainResult


@pytest.mark.parametrize("step", [1, 7, 300])
def test_progress_equals_a_plain_count_of_rows(step, rng):
    n = 300
    whole = TrainResult.empty(n)
    whole.targets[:] = rng.integers(-1, 3, n)
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
    whole = TrainResult.empty(300)
    whole.targets[:] = whole.predicted[:] = 0
    whole.errors[:] = rng.choice([1e308, 1.0], 300)
    progress = [Progress(), Progress()]
    progress[0].update(whole)
    for i in range(300):
        progress[1].update(whole[i : i + 1])

    assert np.isfinite(progress[0].curve.sums).all()
    assert progress[0].error_sum == progress[1].error_sum == np.finfo(float).max
    assert progress[0].curve.sums.tobytes() == progress[1].curve.sums.tobytes()
