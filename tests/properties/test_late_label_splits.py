"""Late labels give the results of River's delayed progressive validation."""

from __future__ import annotations

import random

import pytest
from helpers import get_seeds
from late_labels import (
    draw_sparse_samples,
    draw_timing,
    require_same_results_as_river,
    simulate_with_river,
    write_rows,
)
from river import datasets

from stream_perceptron import LiveModel, SGDPerceptron, Standardizer
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.live.loop import learn


def load_samples(seed, n=300):
    """Return n samples, some with weights, and the formats that can hold them."""
    if seed % 3 == 2:
        rng = random.Random(seed)
        samples = draw_sparse_samples(seed, n)
        return [(x, y, {"w": rng.choice([0.5, 1.0, 3.0])}) for x, y in samples], ("json",)
    dataset = (datasets.ImageSegments, datasets.Phishing)[seed % 3]()
    rows = [*dataset.take(n + seed % 900)][-n:]
    samples = [({name: float(v) for name, v in x.items()}, y) for x, y in rows]
    return samples, ("json", "csv", "parquet")


@pytest.mark.slow
@pytest.mark.parametrize("seed", get_seeds(12))
def test_late_labels_match_river_progressive_validation(seed, tmp_path):
    samples, forms = load_samples(seed)
    for standardize in (False, True):
        model = SGDPerceptron(lr=0.1 if standardize else 0.01, seed=0)
        whole = Standardizer() | model if standardize else model
        metric, rows, expected = simulate_with_river(
            samples, draw_timing(seed, len(samples)), whole
        )
        for form in forms:
            path = write_rows(tmp_path / form, form, rows, tuple(samples[0][0]))
            weight = "w" if len(samples[0]) == 3 else None
            options = ReadOptions(join="id", standardize=standardize, weight=weight)
            sources = [open_source(str(path))]
            live = LiveModel.start(sources, options, lr=model.lr, seed=0)
            results = list(learn(live, sources, every=1 + 37 * (seed % 2)))
            tolerance = 1e-12 if standardize else 0.0
            require_same_results_as_river(live, results, model, metric, expected, tolerance)
