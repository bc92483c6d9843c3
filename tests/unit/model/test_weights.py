"""Initial weights."""

from __future__ import annotations

import numpy as np

from stream_perceptron.model.weights import _mix, draw_initial_weights, hash_names


def test_initial_weights_are_uniform_and_differ_with_the_seed():
    hashes = hash_names(range(1000))
    first = draw_initial_weights(0, np.arange(100), hashes, 0.03)
    second = draw_initial_weights(1, np.arange(100), hashes, 0.03)
    bin_counts, _ = np.histogram(first, bins=10, range=(-0.03, 0.03))

    assert bin_counts.sum() == first.size
    # Five standard deviations of a binomial count.
    np.testing.assert_allclose(bin_counts, first.size / 10, atol=5 * np.sqrt(first.size * 0.09))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    assert len(np.unique(first)) == first.size
    # The first output of the published generator SplitMix64 for seed 0.
    assert int(_mix(np.array([0], np.uint64))[0]) == 0xE220A8397B1DCDAF
