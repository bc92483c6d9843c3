"""Averaging of models that were trained from one base."""

from __future__ import annotations

import copy
import itertools
import json
import random
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from helpers import contents_of, state_of, write_lines, write_parquet

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron, save
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


def trained(base, samples):
    model = copy.deepcopy(base)
    for x, y in samples:
        model.learn_one(x, y)
    return model


def points(rng, n, **more):
    for _ in range(n):
        a, b = rng.uniform(-1, 1), rng.uniform(-1, 1)
        yield {"a": round(a, 3), "b": round(b, 3), "label": "up" if a + b > 0 else "down"} | more


@pytest.fixture
def base():
    return trained(
        SGDPerceptron(lr=0.5, seed=7), [({"a": 1.0, "b": 0.5}, "up"), ({"a": -1.0}, "down")]
    )


def test_the_mean_of_one_is_itself(rng):
    start = SGDPerceptron(lr=0.5, seed=7)
    start.learn_one({"a": 1.0}, "up")
    model = trained(
        start, [({"a": x, f"x{i % 9}": 1.0}, i % 5) for i, x in enumerate(rng.random(50))]
    )

    assert state_of(model) == state_of(average(start, [model]))


def test_known_weights_are_averaged_and_samples_added(base):
    one = trained(base, [({"a": 0.5, "b": 0.25}, "up")])
    two = trained(base, [({"a": -0.5, "b": 0.25}, "down"), ({"a": -0.75}, "down")])
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
    one = trained(base, [({"a": 0.5, "c": 1.0}, "left"), ({"e": 1.0}, "left")])
    two = trained(base, [({"d": 1.0, "c": 2.0}, "right"), ({"b": 1.0}, "left")])
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


@pytest.fixture
def partitions(run, tmp_path):
    """A base, and three models that continued from it with a partition each."""
    rng = random.Random(0)
    base = tmp_path / "base.npz"
    options = ["--position", "part,offset", "--quiet"]
    rows = [row | {"offset": i} for i, row in enumerate(points(rng, 100, part="p"))]
    run("learn", write_lines(tmp_path / "0.jsonl", rows), "-m", base, *options, check=0)
    learners = []
    for part, n in (("p", 1500), ("q", 700), ("r", 30)):
        rows = [
            row | {"part": part, "offset": i + 100 * (part == "p")}
            for i, row in enumerate(points(rng, n))
        ]
        if part == "r":
            rows[5] |= {"label": "flat", "c": 1.0}
        path = tmp_path / f"{part}.npz"
        shutil.copy(base, path)
        source = write_lines(tmp_path / f"{part}.jsonl", rows)
        run("learn", source, "-m", path, "--lr", "0.03", *options, check=0)
        learners.append(path)
    return base, learners


def test_average_counts_everything_once_in_any_order(partitions, run, tmp_path):
    base, learners = partitions
    outputs = []
    for i, order in enumerate(itertools.permutations(learners)):
        outputs.append(tmp_path / f"mean-{i}.npz")
        result = run("average", *order, "--base", base, "-o", outputs[-1], check=0)
    live, lives = LiveModel.load(outputs[0]), [LiveModel.load(path) for path in learners]
    before = LiveModel.load(base)

    assert len({str(contents_of(path)) for path in outputs}) == 1
    assert f"saved {outputs[-1]}: 2,330 samples" in result.stderr
    assert (
        2330 == live.progress.samples == live.model.n_seen == live.progress.curve.sums[:, 0].sum()
    )
    assert (
        live.progress.confusion.tested
        == sum(each.progress.confusion.tested for each in lives)
        - 2 * before.progress.confusion.tested
    )
    assert len(live.progress.window) == 1000
    assert live.cursor.offsets == {("p",): 1599, ("q",): 699, ("r",): 29}
    assert (live.model.features_, live.model.lr) == (["a", "b", "c"], 0.01)
    assert set(live.model.classes_) == {"up", "down", "flat"}
    assert live.progress.accuracy > 0.8


def test_an_average_goes_on_and_leaves_out_what_was_learned(partitions, run, tmp_path):
    base, learners = partitions
    mean = tmp_path / "mean.npz"
    run("average", *learners, "--base", base, "-o", mean, check=0)
    topic = (tmp_path / "q.jsonl").read_text()
    skipped = run("learn", tmp_path / "q.jsonl", "-m", mean, check=0)
    result = run("learn", "-m", mean, "--json", input=topic, check=0)

    assert f"{tmp_path / 'q.jsonl'}: already learned (" in skipped.stderr
    assert json.loads(result.stdout)["replayed"] == 700
    assert LiveModel.load(mean).progress.samples == 2330
    assert "accuracy" in run("inspect", mean, check=0).stdout


def test_models_that_do_not_fit_are_refused_by_name(partitions, run, tmp_path):
    base, (one, two, _) = partitions
    mean = tmp_path / "mean.npz"

    def refused(*paths, base=base):
        return run("average", *paths, "--base", base, "-o", mean, check=1).stderr

    twin = tmp_path / "twin.npz"
    shutil.copy(one, twin)
    other = tmp_path / "other.npz"
    run("learn", tmp_path / "q.jsonl", "-m", other, "--ignore", "part,offset", check=0)

    assert refused(one, twin) == f"Error: {twin}: is the same as {one}, and would count twice\n"
    assert f"Error: {other}: does not continue {base}: its" in refused(one, other)
    error = refused(base, two, base=one)
    assert "has seen 100 samples, but the base had already seen 1,600" in error
    assert "does not continue" in refused(two, base=one)
    assert "No such file" in refused(tmp_path / "nowhere.npz")
    assert not mean.exists()


def test_the_last_samples_of_a_mean_are_those_of_the_base_and_what_each_added(run, tmp_path):
    base, rng = tmp_path / "base.npz", random.Random(1)
    run("learn", write_lines(tmp_path / "0.jsonl", points(rng, 100)), "-m", base, check=0)
    paths = []
    for i, n in enumerate((30, 20)):
        paths.append(tmp_path / f"{i}.npz")
        shutil.copy(base, paths[-1])
        run("learn", write_lines(tmp_path / f"{i}.jsonl", points(rng, n)), "-m", paths[-1], check=0)
    mean = tmp_path / "mean.npz"
    run("average", *paths, "--base", base, "-o", mean, check=0)
    window = LiveModel.load(mean).progress.window
    windows = [LiveModel.load(path).progress.window for path in (base, *paths)]

    assert len(windows[0]) == 99  # the first sample is untested, as no label was known
    assert len(window) == 149
    assert windows[0].tolist() == window[:99].tolist()
    assert sum(each[99:].sum() for each in windows[1:]) == window[99:].sum()


def test_learners_that_met_other_columns_do_not_fit_together(run, tmp_path):
    base, models = tmp_path / "base.npz", []
    save(SGDPerceptron(classes=["x", "y"], seed=0), base)
    for name in ("b", "c"):
        source = tmp_path / f"{name}.csv"
        source.write_text(f"label,a,{name}\nx,1,2\ny,2,1\n")
        models.append(tmp_path / f"{name}.npz")
        shutil.copy(base, models[-1])
        run("learn", source, "-m", models[-1], check=0)
    mean = tmp_path / "mean.npz"
    result = run("average", *models, "--base", base, "-o", mean, check=1)

    assert (
        result.stderr
        == "Error: one of the models does not fit: its features are not those of the others\n"
    )
    assert not mean.exists()


@pytest.mark.parametrize(("rounds", "bins", "rounds_in_a_bin"), [(200, 200, 1), (500, 125, 4)])
def test_a_curve_takes_a_bin_a_round_and_joins_them_in_pairs(rounds, bins, rounds_in_a_bin):
    curve = LearningCurve()
    for _ in range(rounds):
        curve.append(np.array([400, 100, 0, 0, 0, 0, 0]))

    assert curve.column("samples").tolist() == [400 * rounds_in_a_bin] * bins
    assert curve.column("right").tolist() == [100 * rounds_in_a_bin] * bins


def test_the_window_of_a_mean_is_that_of_the_models_in_their_order(partitions):
    base, learners = partitions
    begin, lives = LiveModel.load(base), [LiveModel.load(path) for path in learners]
    window = average_live(begin, lives).progress.window
    expected = np.concatenate([begin.progress.window, *(each.progress.window for each in lives)])

    # The first model added 1,000 samples, the second 700 and the third 30.
    assert len(window) == 1000
    assert lives[2].progress.window[-30:].tolist() == window[-30:].tolist()
    assert lives[1].progress.window[-700:].tolist() == window[-730:-30].tolist()
    assert lives[0].progress.window[-270:].tolist() == window[:270].tolist()
    assert len(expected) > len(window)


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
