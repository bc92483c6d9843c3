"""Late labels give the results of a loop over rows, with River's pipelines and weights."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
from helpers import get_seeds
from late_labels import LateLabelOracle, draw_rows, draw_valid_rows, write_rows

from stream_perceptron import LiveModel, SGDPerceptron, Standardizer
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.live.loop import learn


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
@pytest.mark.parametrize("seed", get_seeds(8))
def test_late_labels_match_river_progressive_validation(seed, form, tmp_path):
    """In half of the cases, features are missing, and rows that do not fit are skipped."""
    rng = random.Random(seed)
    draw = draw_rows if seed % 2 else partial(draw_valid_rows, max_delay=rng.choice([1, 30, 300]))
    rows = [
        row | {"w": rng.choice([0.5, 1.0, 3.0])} if "a" in row else row for row in draw(seed, 900)
    ]
    path = write_rows(tmp_path / "rows", form, rows)
    for standardize in (False, True):
        model = SGDPerceptron(lr=0.1, seed=0)
        oracle = LateLabelOracle(Standardizer() | model if standardize else model)
        for number, row in enumerate(rows, 1):
            oracle.process_row(number, row)
        options = ReadOptions(join="id", standardize=standardize, weight="w", label="label")
        sources, predictions = [open_source(str(path))], {}
        live = LiveModel.start(sources, options, lr=0.1, seed=0)
        for result in learn(live, sources, skip_rejected=True, every=1 + 37 * (seed % 3)):
            predictions |= dict(zip(result.rows.tolist(), result.predictions, strict=True))

        assert {row: predictions[row] for row in oracle.predicted} == oracle.predicted
        assert live.progress.samples == len(oracle.tested)
        assert live.progress.accuracy == oracle.accuracy
        assert (live.model.classes_, live.model.features_) == (model.classes_, model.features_)
        tolerance = 1e-12 if standardize else 0
        np.testing.assert_allclose(live.model.weights, model.weights, rtol=0, atol=tolerance)
        np.testing.assert_allclose(live.model.biases, model.biases, rtol=0, atol=tolerance)
