"""The learning curve does not depend on the blocks of samples."""

from __future__ import annotations

import numpy as np
import pytest

from stream_perceptron import SGDPerceptron
from stream_perceptron.live.learning_curve import LearningCurve
from stream_perceptron.live.metrics import Progress
from stream_perceptron.model.rows import Rows, Samples


@pytest.mark.parametrize("step", [1, 7, 64, 5000])
def test_curve_does_not_depend_on_blocks_and_stays_small(step, rng):
    rows = Rows.of_table(("a", "b", "c"), rng.normal(size=(5000, 3)))
    y = rng.integers(0, 3, 5000).tolist()
    model, progress = SGDPerceptron(classes=range(3), seed=0), Progress()
    for i in range(0, 5000, step):
        part = slice(i, i + step)
        progress.update(model.train(Samples(rows[part], y[part], np.ones(len(y[part])))))
    whole = Progress()
    whole.update(SGDPerceptron(classes=range(3), seed=0).train(Samples(rows, y, np.ones(5000))))
    curve = progress.curve

    assert whole.curve.sums.tobytes() == curve.sums.tobytes()
    assert (40, 125) == (curve.bin, len(curve.sums))
    assert LearningCurve.MOST >= len(curve.sums)
    assert 5000 == curve.column("samples").sum()
    assert progress.confusion.right == curve.column("right").sum()
    assert progress.updates == curve.column("updates").sum()
    assert pytest.approx(progress.error_sum) == curve.column("errors").sum()
    assert -(-5000 // 32) == curve.column("probes").sum()


def test_curve_is_restored_with_suspicion():
    sums = np.ones((3, len(LearningCurve.COLUMNS)))
    assert sums is LearningCurve.restored(sums, 10).sums
    wrong_ones = [
        (sums - 1, 10),
        (sums * 2.0**53, 10),
        (sums + 0.5, 10),
        (sums, 0),
        (np.ones((201, 7)), 10),
    ]
    for wrong, stretch in wrong_ones:
        with pytest.raises(ValueError, match="curve"):
            LearningCurve.restored(wrong, stretch)
