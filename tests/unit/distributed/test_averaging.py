"""Averages of models and progress, and learning in shards."""

from __future__ import annotations

import copy
import itertools
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from helpers import capture_state, get_seeds, train_copy, write_parquet

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron
from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.position import FilePosition
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.distributed.averaging import average, average_live
from stream_perceptron.distributed.rounds import (
    count_rounds,
    learn_first_sample,
    learn_row_ranges,
    plan_round,
)
from stream_perceptron.live.history import Shards
from stream_perceptron.model.weights import draw_initial_weights, hash_names


def test_average_of_one_model_is_that_model(rng):
    start = SGDPerceptron(lr=0.5, seed=7)
    start.learn_one({"a": 1.0}, "up")
    model = train_copy(
        start, [({"a": x, f"x{i % 9}": 1.0}, i % 5) for i, x in enumerate(rng.random(50))]
    )

    assert capture_state(model) == capture_state(average(start, [model]))


def test_weights_are_averaged_and_sample_counts_added(base_model):
    one = train_copy(base_model, [({"a": 0.5, "b": 0.25}, "up")])
    two = train_copy(base_model, [({"a": -0.5, "b": 0.25}, "down"), ({"a": -0.75}, "down")])
    mean = average(base_model, [one, two])

    assert np.array_equal((one.weights + two.weights) / 2, mean.weights)
    assert np.array_equal((one.biases + two.biases) / 2, mean.biases)
    assert (mean.n_seen, mean.n_updates) == (5, 5)
    assert two.last_error == mean.last_error
    assert base_model.n_seen == 2


def get_initial_lookup(model):
    """Return a function that finds the initial weight of a label and a feature, else 0."""
    n_labels, n_features = model.network.store.n_drawn
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

    assert mean.classes_ == [*old_labels, "left", "right"]
    assert [*old_features, *(["c", "e", "d"] if has_learned else ["a", "c", "e", "d", "b"])] == (
        mean.features_
    )
    drawn_by = base_model if has_learned else one
    assert drawn_by.network.store.n_drawn == mean.network.store.n_drawn

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
        (SGDPerceptron(activation="tanh", seed=7), "its activation is 'tanh'"),
        (SGDPerceptron(seed=8), "its seed is 8, but the base has 7"),
        (SGDPerceptron(init_range=0.1, seed=7), "its init-range is 0.1"),
        (SGDPerceptron(seed=7, class_weight="balanced"), "its class-weight is 'balanced', but"),
        (SGDPerceptron(classes=["down", "up"], seed=7), "its first classes are not those"),
        (SGDPerceptron(classes=["up", "down"], seed=7), "its first features are not those"),
    ],
)
def test_models_of_another_base_are_rejected(other, reason, base_model):
    with pytest.raises(CheckpointError, match=reason):
        average(base_model, [base_model, other])


@pytest.mark.parametrize("seed", get_seeds(12))
def test_shards_start_with_weights_drawn_for_the_first_sample(seed, tmp_path):
    """Rows up to the first labeled row are learned once; one shard equals the plain stream."""
    rng = np.random.default_rng(seed)
    n, n_unlabeled = int(rng.integers(2, 60)), int(rng.integers(0, 9))
    labels = [None] * n_unlabeled + rng.choice(["x", "y", "z"], n).tolist()
    X = rng.normal(size=(len(labels), 2))
    columns = {"a": pa.array(X[:, 0], mask=X[:, 0] > 1), "b": X[:, 1], "label": labels}
    source = ParquetSource(
        str(write_parquet(tmp_path / "f.parquet", columns, row_group_size=int(rng.integers(1, 30))))
    )
    untrained = LiveModel.start([source], seed=0)
    plain = copy.deepcopy(untrained)
    for _ in plain.run([source]):
        pass
    for n_shards in (1, int(rng.integers(2, 6))):
        run = untrained.plan_run([source], shards=Shards(n_shards, 5))
        source.interrupt = SimpleNamespace(is_set=True)
        assert learn_first_sample(untrained, [source], run) is None
        source.interrupt = SimpleNamespace(is_set=False)
        assert untrained.progress.rows == 0
        first = learn_first_sample(untrained, [source], run)
        shards = Shards(n_shards, int(rng.integers(1, 9)), first_rows=first.live.progress.rows)
        live = first.live
        files = [FilePosition(source.path, rows=source.n_rows)]
        for number in range(count_rounds(files, shards)):
            assigned = plan_round(files, shards, number)
            outcomes = [learn_row_ranges(live, ranges) for ranges in assigned]
            if outcomes:
                live = average_live(live, [outcome.live for outcome in outcomes])

        assert (shards.first_rows, first.live.model.n_seen) == (n_unlabeled + 1, 1)
        assert live.model.network.store.n_drawn == plain.model.network.store.n_drawn
        assert (live.progress.samples, live.progress.unlabeled) == (n, n_unlabeled)
        if n_shards == 1:
            assert capture_state(live.model) == capture_state(plain.model)


def test_shards_collect_the_statistics_of_all_rows(tmp_path, rng):
    """The result of one shard is bit-identical to that of the plain stream."""
    X = np.column_stack([rng.normal([3, 200], [1, 50], (400, 2)), rng.integers(0, 2, 400)])
    columns = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": rng.integers(0, 2, 400)}
    source = ParquetSource(str(write_parquet(tmp_path / "f.parquet", columns)))
    untrained = LiveModel.start([source], ReadOptions(standardize=True), ["0", "1"], seed=0)
    plain = copy.deepcopy(untrained)
    for _ in plain.run([source]):
        pass
    for n in (1, 2, 3):
        shards, live = Shards(n=n, rows=50), untrained
        files = [FilePosition(source.path, rows=source.n_rows)]
        for number in range(count_rounds(files, shards)):
            assigned = plan_round(files, shards, number)
            outcomes = [learn_row_ranges(live, ranges) for ranges in assigned]
            live = average_live(live, [outcome.live for outcome in outcomes])
        counts, means, variances, is_indicator = live.model.network.snapshot().scaler.statistics
        assert counts.tolist() == [400, 400, 400]
        assert is_indicator.tolist() == [0, 0, 1]
        np.testing.assert_allclose(means, X.mean(axis=0))
        np.testing.assert_allclose(variances, X.var(axis=0))
        if n == 1:
            assert capture_state(live.model) == capture_state(plain.model)
