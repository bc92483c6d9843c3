"""Averages of networks and progress, and the first samples of shards."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from helpers import state_of, train_copy, write_parquet

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron
from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.distributed.averaging import average, average_live
from stream_perceptron.distributed.shards import (
    assign_rows,
    count_rounds,
    learn_first_sample,
    learn_row_ranges,
    plan_round,
)
from stream_perceptron.live.cursor import Shards
from stream_perceptron.live.learning_curve import LearningCurve
from stream_perceptron.model.weights import draw_initial_weights


def test_the_mean_of_one_is_itself(rng):
    start = SGDPerceptron(lr=0.5, seed=7)
    start.learn_one({"a": 1.0}, "up")
    model = train_copy(
        start, [({"a": x, f"x{i % 9}": 1.0}, i % 5) for i, x in enumerate(rng.random(50))]
    )

    assert state_of(model) == state_of(average(start, [model]))


def test_known_weights_are_averaged_and_samples_added(base):
    one = train_copy(base, [({"a": 0.5, "b": 0.25}, "up")])
    two = train_copy(base, [({"a": -0.5, "b": 0.25}, "down"), ({"a": -0.75}, "down")])
    mean = average(base, [one, two])

    assert np.array_equal((one.weights + two.weights) / 2, mean.weights)
    assert np.array_equal((one.biases + two.biases) / 2, mean.biases)
    assert (mean.n_seen, mean.n_updates) == (5, 5)
    assert two.last_error == mean.last_error
    assert base.n_seen == 2


def initial_of(model):
    """Return the initial weight of a label and a feature of a model by name, else 0."""
    n_labels, n_features = model.network.store.n_drawn
    drawn = draw_initial_weights(7, np.arange(n_labels), np.arange(1, 1 + n_features), 0.03)

    def initial(label, feature):
        j, i = model.classes_.index(label), model.features_.index(feature)
        return drawn[j, i] if j < n_labels and i < n_features else 0.0

    return initial


@pytest.mark.parametrize("has_learned", [True, False])
def test_new_labels_and_features_are_united_by_name(has_learned, base):
    """A weight is its initial value plus the mean of the models' changes."""
    if not has_learned:
        base = SGDPerceptron(lr=0.5, seed=7)
    idle = copy.deepcopy(base)
    one = train_copy(base, [({"a": 0.5, "c": 1.0}, "left"), ({"e": 1.0}, "left")])
    two = train_copy(base, [({"d": 1.0, "c": 2.0}, "right"), ({"b": 1.0}, "left")])
    mean = average(base, [idle, one, two])
    old_labels, old_features = base.classes_, base.features_

    assert mean.classes_ == [*old_labels, "left", "right"]
    assert [*old_features, *(["c", "e", "d"] if has_learned else ["a", "c", "e", "d", "b"])] == (
        mean.features_
    )
    drawn_by = base if has_learned else one
    assert drawn_by.network.store.n_drawn == mean.network.store.n_drawn

    def learned(model, label, feature):
        if label not in model.classes_ or feature not in model.features_:
            return 0.0
        j, i = model.classes_.index(label), model.features_.index(feature)
        return model.weights[j, i] - initial_of(model)(label, feature)

    initial = initial_of(mean)
    for (j, label), (i, feature) in itertools.product(
        enumerate(mean.classes_), enumerate(mean.features_)
    ):
        steps = [learned(model, label, feature) for model in (idle, one, two)]
        expected = initial(label, feature) + sum(steps) / 3
        assert pytest.approx(mean.weights[j, i], abs=1e-15) == expected


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (SGDPerceptron(activation="tanh", seed=7), "its activation is 'tanh'"),
        (SGDPerceptron(seed=8), "its seed is 8, but the base has 7"),
        (SGDPerceptron(init_range=0.1, seed=7), "its init-range is 0.1"),
        (SGDPerceptron(classes=["down", "up"], seed=7), "its first classes are not those"),
        (SGDPerceptron(classes=["up", "down"], seed=7), "its first features are not those"),
    ],
)
def test_models_of_another_origin_are_refused(other, reason, base):
    with pytest.raises(CheckpointError, match=reason):
        average(base, [base, other])


@pytest.mark.parametrize(("rounds", "bins", "rounds_in_a_bin"), [(200, 200, 1), (500, 125, 4)])
def test_a_curve_takes_a_bin_a_round_and_joins_them_in_pairs(rounds, bins, rounds_in_a_bin):
    curve = LearningCurve()
    for _ in range(rounds):
        curve.append(np.array([400, 100, 0, 0, 0, 0, 0]))

    assert curve.column("samples").tolist() == [400 * rounds_in_a_bin] * bins
    assert curve.column("right").tolist() == [100 * rounds_in_a_bin] * bins


@pytest.mark.parametrize("seed", range(12))
def test_shards_begin_with_the_weights_that_the_first_sample_draws(seed, tmp_path):
    """Rows up to the first labeled one are learned once; one shard is the plain stream."""
    rng = np.random.default_rng(seed)
    n, n_unlabeled = int(rng.integers(2, 60)), int(rng.integers(0, 9))
    labels = [None] * n_unlabeled + rng.choice(["x", "y", "z"], n).tolist()
    X = rng.normal(size=(len(labels), 2))
    columns = {"a": pa.array(X[:, 0], mask=X[:, 0] > 1), "b": X[:, 1], "label": labels}
    source = ParquetSource(
        str(write_parquet(tmp_path / "f.parquet", columns, row_group_size=int(rng.integers(1, 30))))
    )
    begin = LiveModel.start([source], seed=0)
    plain = copy.deepcopy(begin)
    for _ in plain.run([source]):
        pass
    for n_shards in (1, int(rng.integers(2, 6))):
        fingerprints = source.fingerprints()
        source.interrupt = SimpleNamespace(is_set=True)
        assert learn_first_sample(begin, [source], fingerprints) is None
        source.interrupt = SimpleNamespace(is_set=False)
        assert begin.progress.rows == 0
        first = learn_first_sample(begin, [source], fingerprints)
        shards = Shards(n_shards, int(rng.integers(1, 9)), first_rows=first.live.cursor.read)
        live = first.live
        for done in range(count_rounds([source.groups], shards)):
            coming = replace(shards, rounds=done)
            dealt, factor = plan_round([source.groups], coming, True, is_first_pass=True)
            outcomes = [learn_row_ranges(live, [source.path], pieces, factor) for pieces in dealt]
            if outcomes:
                live = average_live(live, [outcome.live for outcome in outcomes])

        assert (shards.first_rows, first.live.model.n_seen) == (n_unlabeled + 1, 1)
        assert live.model.network.store.n_drawn == plain.model.network.store.n_drawn
        assert (live.progress.samples, live.progress.unlabeled) == (n, n_unlabeled)
        if n_shards == 1:
            assert state_of(live.model) == state_of(plain.model)


def test_shards_have_the_statistics_of_all_rows(tmp_path, rng):
    """One shard has those of the plain stream, to the bit."""
    X = rng.normal([3, 200], [1, 50], size=(400, 2))
    columns = {"a": X[:, 0], "b": X[:, 1], "y": rng.integers(0, 2, 400)}
    source = ParquetSource(str(write_parquet(tmp_path / "f.parquet", columns)))
    begin = LiveModel.start([source], ReadOptions(standardize=True), ["0", "1"], seed=0)
    plain = copy.deepcopy(begin)
    for _ in plain.run([source]):
        pass
    for n in (1, 2, 3):
        shards, live = Shards(n=n, rows=50), begin
        for done in range(count_rounds([source.groups], shards)):
            dealt = assign_rows([source.groups], replace(shards, rounds=done))
            outcomes = [learn_row_ranges(live, [source.path], pieces) for pieces in dealt if pieces]
            live = average_live(live, [outcome.live for outcome in outcomes])
        counts, means, variances = live.model.network.snapshot().scaler.table
        assert counts.tolist() == [400, 400]
        np.testing.assert_allclose(means, X.mean(axis=0))
        np.testing.assert_allclose(variances, X.var(axis=0))
        if n == 1:
            assert state_of(live.model) == state_of(plain.model)
