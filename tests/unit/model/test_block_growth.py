"""Rows that bring features to a block give the results of separate blocks."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import state_of
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_perceptron import SGDPerceptron
from stream_perceptron.model import network
from stream_perceptron.model.kernel import compute_probabilities, numpy_kernel
from stream_perceptron.model.results import TrainOptions
from stream_perceptron.model.rows import Rows, Samples
from stream_perceptron.model.scaler import Scaler

CELLS = st.sampled_from([None, None, 0, 1, 3, 255])


@st.composite
def blocks(draw):
    """Rows in one of the forms, some unlabeled, some with a new label."""
    width = draw(st.sampled_from([1, 4, 12]))
    n = draw(st.integers(1, 14))
    cells = [draw(st.lists(CELLS, min_size=width, max_size=width)) for _ in range(n)]
    labels = draw(st.lists(st.sampled_from([None, *"aaabc"]), min_size=n, max_size=n))
    names = tuple(draw(st.permutations([f"f{i}" for i in range(width)])))
    there = np.array([[cell is not None for cell in row] for row in cells])
    values = np.array([[cell or 0 for cell in row] for row in cells])
    form = draw(st.sampled_from(["numbers", "whole", "bytes", "sparse"]))
    if form == "numbers":
        return Rows.from_table(names, values / 8, there), labels
    if form == "whole":
        return Rows.from_table(names, values / 8), labels
    if form == "bytes":
        cells = values.astype(np.uint8)
        return Rows.from_table(names, cells, there, scale=0.125), labels
    rows = [tuple(np.array(names)[here].tolist()) for here in there]
    return Rows.from_rows(
        rows, [row[here] / 8 for row, here in zip(values, there, strict=True)]
    ), labels


@pytest.mark.parametrize("kernel", ["compiled", "numpy"])
@settings(deadline=None, max_examples=300)
@given(
    block=blocks(),
    is_wide=st.booleans(),
    is_scaled=st.booleans(),
    lr=st.sampled_from([0.1, 1e200]),
    epsilon=st.sampled_from([0.0, 0.2]),
    stop=st.booleans(),
    classes=st.sampled_from([None, ["a", "b"], ["a", "b"]]),
    room=st.just(2**27) | st.integers(100, 500) | st.integers(37_500, 40_000),
)
def test_a_block_is_its_rows(kernel, block, is_wide, is_scaled, lr, epsilon, stop, classes, room):
    features, labels = block
    with pytest.MonkeyPatch.context() as patch:
        if kernel == "numpy":
            patch.setattr(network.kernel, "learn", numpy_kernel.learn)
        models = []
        for _ in range(2):
            model = SGDPerceptron(
                lr, epsilon, "identity", seed=0, classes=classes, max_weights=room
            )
            if is_scaled:
                model.network.scaler = Scaler()
            if is_wide and room > 500:
                model.network.add_names([f"g{i}" for i in range(1100)], [] if classes else ["a"])
            models.append(model)
        whole, single = models
        result = train(whole, features, labels, stop)
        done, ended = [], (False, False, None)
        for i in range(len(labels)):
            nets = single.network.compute_nets(features[i : i + 1])
            one = train(single, features[i : i + 1], labels[i : i + 1], stop)
            done.append(one)
            if len(one) and nets.shape[1]:
                # The prediction precedes the row's growth.
                expected = compute_probabilities(single.network.activation, nets).max(axis=1)
                np.testing.assert_array_equal(expected, one.probabilities)
            ended = (one.diverged, one.stopped, type(one.memory_error))
            if one.diverged or one.stopped or one.memory_error is not None:
                break

    assert (result.diverged, result.stopped, type(result.memory_error)) == ended
    for name in ("targets", "predicted", "errors", "updated", "probabilities"):
        expected = np.concatenate([getattr(one, name) for one in done])
        np.testing.assert_array_equal(expected, getattr(result, name), name)
    assert state_of(single) == state_of(whole)
    if is_scaled:
        one, other = (model.network.snapshot().scaler for model in models)
        np.testing.assert_array_equal(one.table, other.table)


def train(model, features, labels, stop):
    samples = Samples(features, labels, np.ones(len(labels)), frozenset({"f0"}))
    return model.train(samples, TrainOptions(stop, with_probabilities=True))
