"""Averages of models."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from helpers import capture_state, train_copy

from stream_perceptron import CheckpointError, SGDPerceptron
from stream_perceptron.distributed.averaging import average
from stream_perceptron.model.weights import draw_initial_weights, hash_names


def get_initial_lookup(model):
    """Return a function that finds the initial weight of a label and a feature, else 0."""
    n_labels, n_features = model.network.store.current.drawn_shape
    hashes = hash_names(model.features_[:n_features])
    drawn = draw_initial_weights(7, np.arange(n_labels), hashes, 0.03)

    def get_initial_weight(label, feature):
        j, i = model.classes_.index(label), model.features_.index(feature)
        return drawn[j, i] if j < n_labels and i < n_features else 0.0

    return get_initial_weight


@pytest.mark.parametrize("has_learned", [True, False])
def test_new_labels_and_features_are_merged_by_name(has_learned, base_model):
    """Each weight is its initial value plus the mean change of the models."""
    if not has_learned:
        base_model = SGDPerceptron(lr=0.5, seed=7)
    idle = copy.deepcopy(base_model)
    one = train_copy(base_model, [({"a": 0.5, "c": 1.0}, "left"), ({"e": 1.0}, "left")])
    two = train_copy(base_model, [({"d": 1.0, "c": 2.0}, "right"), ({"b": 1.0}, "left")])
    mean = average(base_model, [idle, one, two])
    old_labels, old_features = base_model.classes_, base_model.features_

    assert capture_state(average(base_model, [one])) == capture_state(one)
    assert (mean.n_seen, mean.last_error) == (base_model.n_seen + 4, two.last_error)
    assert mean.classes_ == [*old_labels, "left", "right"]
    assert [*old_features, *(["c", "e", "d"] if has_learned else ["a", "c", "e", "d", "b"])] == (
        mean.features_
    )
    drawn_by = base_model if has_learned else one
    assert drawn_by.network.store.current.drawn_shape == mean.network.store.current.drawn_shape

    def compute_change(model, label, feature):
        if label not in model.classes_ or feature not in model.features_:
            return 0.0
        j, i = model.classes_.index(label), model.features_.index(feature)
        return model.weights[j, i] - get_initial_lookup(model)(label, feature)

    get_initial_weight = get_initial_lookup(mean)
    for (j, label), (i, feature) in itertools.product(
        enumerate(mean.classes_), enumerate(mean.features_)
    ):
        changes = [compute_change(model, label, feature) for model in (idle, one, two)]
        expected = get_initial_weight(label, feature) + sum(changes) / 3
        assert pytest.approx(mean.weights[j, i], abs=1e-15) == expected


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (SGDPerceptron(seed=8), "its seed is 8, but the base has 7"),
        (SGDPerceptron(seed=7, class_weight="balanced"), "its class-weight is 'balanced', but"),
        (SGDPerceptron(classes=["down", "up"], seed=7), "its first classes are not those"),
        (SGDPerceptron(classes=["up", "down"], seed=7), "its first features are not those"),
    ],
)
def test_models_of_another_base_are_rejected(other, reason, base_model):
    with pytest.raises(CheckpointError, match=reason):
        average(base_model, [base_model, other])
