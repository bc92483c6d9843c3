"""A block whose rows add features gives the same results as blocks of one row."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import capture_state
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_perceptron import SGDPerceptron
from stream_perceptron.model.kernel import compute_scores
from stream_perceptron.model.results import TrainOptions
from stream_perceptron.model.rows import FeatureRows, as_samples
from stream_perceptron.model.scaler import Scaler

CELLS = st.sampled_from([None, None, 0, 1, 3, 255])


@st.composite
def blocks(draw):
    """Draw rows in one of the layouts, some unlabeled, some with a new label."""
    width = draw(st.sampled_from([1, 4, 12]))
    n = draw(st.integers(1, 14))
    cells = [draw(st.lists(CELLS, min_size=width, max_size=width)) for _ in range(n)]
    labels = draw(st.lists(st.sampled_from([None, *"aaabc"]), min_size=n, max_size=n))
    names = tuple(draw(st.permutations([f"f{i}" for i in range(width)])))
    is_present = np.array([[cell is not None for cell in row] for row in cells])
    values = np.array([[cell or 0 for cell in row] for row in cells])
    layout = draw(st.sampled_from(["numbers", "whole", "sparse"]))
    if layout == "numbers":
        return FeatureRows.from_table(names, values / 8, is_present), labels
    if layout == "whole":
        return FeatureRows.from_table(names, values / 8), labels
    rows = [tuple(np.array(names)[mask].tolist()) for mask in is_present]
    return FeatureRows.from_rows(
        rows, [row[mask] / 8 for row, mask in zip(values, is_present, strict=True)]
    ), labels


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(
    block=blocks(),
    is_wide=st.booleans(),
    is_scaled=st.booleans(),
    lr=st.sampled_from([0.1, 1e200]),
    epsilon=st.sampled_from([0.0, 0.2]),
    stop=st.booleans(),
    classes=st.sampled_from([None, ["a", "b"], ["a", "b"]]),
    max_weights=st.just(2**27) | st.integers(100, 500) | st.integers(37_500, 40_000),
)
def test_block_gives_the_results_of_its_single_rows(
    block, is_wide, is_scaled, lr, epsilon, stop, classes, max_weights
):
    features, labels = block
    models = []
    for _ in range(2):
        model = SGDPerceptron(
            lr, epsilon, "identity", seed=0, classes=classes, max_weights=max_weights
        )
        if is_scaled:
            model.network.scaler = Scaler()
        if is_wide and max_weights > 500:
            model.network.add_names([f"g{i}" for i in range(1100)], [] if classes else ["a"])
        models.append(model)
    block_model, row_model = models
    result = train_block(block_model, features, labels, stop)
    row_results, expected_end = [], (False, False, None)
    for i in range(len(labels)):
        nets = row_model.network.compute_net_inputs(features[i : i + 1])
        row_result = train_block(row_model, features[i : i + 1], labels[i : i + 1], stop)
        row_results.append(row_result)
        if len(row_result) and nets.shape[1]:
            # The row is predicted before its features are added.
            expected = compute_scores(row_model.network.activation, nets).max(axis=1)
            np.testing.assert_array_equal(expected, row_result.scores)
        expected_end = (row_result.diverged, row_result.stopped, type(row_result.memory_error))
        if row_result.diverged or row_result.stopped or row_result.memory_error is not None:
            break

    assert (result.diverged, result.stopped, type(result.memory_error)) == expected_end
    for name in ("targets", "predicted", "errors", "updated", "scores"):
        expected = np.concatenate([getattr(row_result, name) for row_result in row_results])
        np.testing.assert_array_equal(expected, getattr(result, name), name)
    for i, row_result in enumerate(row_results):
        # A label that a later row adds has no score yet.
        k = row_result.all_scores.shape[1]
        np.testing.assert_array_equal(row_result.all_scores, result.all_scores[i : i + 1, :k])
        assert np.isnan(result.all_scores[i : i + 1, k:]).all()
    assert capture_state(row_model) == capture_state(block_model)
    if is_scaled:
        block_scaler, row_scaler = (model.network.snapshot().scaler for model in models)
        np.testing.assert_array_equal(block_scaler.statistics, row_scaler.statistics)


def train_block(model, features, labels, stop):
    samples = as_samples(features, labels, np.ones(len(labels)))
    return model.train(samples, TrainOptions(stop, with_scores=True, with_all_scores=True))
