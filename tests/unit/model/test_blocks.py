"""Blocks of rows and single samples give bit-identical models."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from helpers import capture_state
from hypothesis import given, settings
from hypothesis import strategies as st
from river.optim import schedulers

from stream_perceptron import DivergedError, SampleError, SGDPerceptron
from stream_perceptron.model.rows import Rows, Samples

FRAMES = {
    "pandas": lambda data: pd.DataFrame(data),
    "pandas[pyarrow]": lambda data: pd.DataFrame(
        {name: pd.array(values, "double[pyarrow]") for name, values in data.items()}
    ),
    "pandas[object]": lambda data: pd.DataFrame(data, dtype=object),
    "polars": lambda data: pl.DataFrame(data, schema_overrides=dict.fromkeys(data, pl.Float64)),
    "pyarrow": lambda data: pa.table({k: pa.array(v, pa.float64()) for k, v in data.items()}),
}
VALUES = st.sampled_from([None, 0.0, 0.0, 0.0, 1.0, -2.5, 0.125])


@st.composite
def streams(draw):
    """Draw rows with absent cells, names in any order, and the bounds of random blocks."""
    width = draw(st.sampled_from([1, 3, 9]))
    rows = draw(st.lists(st.lists(VALUES, min_size=width, max_size=width), min_size=1, max_size=12))
    names = draw(st.permutations([f"f{i}" for i in range(width)]))
    labels = draw(st.lists(st.sampled_from("abc"), min_size=len(rows), max_size=len(rows)))
    weights = draw(
        st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=len(rows), max_size=len(rows))
    )
    bounds = draw(st.sets(st.integers(1, len(rows))))
    return names, rows, labels, weights, sorted({0, len(rows), *bounds})


@pytest.mark.parametrize("kind", FRAMES)
@settings(deadline=None, max_examples=60)
@given(
    stream=streams(),
    lr=st.sampled_from([0.5, schedulers.InverseScaling(1.0)]),
    classes=st.sampled_from([None, ["c", "z"]]),
    epsilon=st.sampled_from([0.0, 0.3]),
    is_wide=st.booleans(),
)
def test_learn_many_matches_a_learn_one_loop(kind, stream, lr, classes, epsilon, is_wide):
    """Cover absent cells, weights, a schedule, skipped samples and growth within a block."""
    names, rows, labels, weights, bounds = stream
    looped = SGDPerceptron(lr, epsilon, classes=classes, seed=0)
    many = SGDPerceptron(lr, epsilon, classes=classes, seed=0)
    if is_wide:
        # Add enough features for the samples of this stream to be sparse.
        for model in (looped, many):
            model.learn_one({f"g{i}": 1.0 for i in range(1100)}, "b")
    expected = []
    for values, label, w in zip(rows, labels, weights, strict=True):
        x = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        expected.append(looped.predict_one(x))
        looped.learn_one(x, label, w)
    for start, end in itertools.pairwise(bounds):
        data = {name: [row[j] for row in rows[start:end]] for j, name in enumerate(names)}
        frame = FRAMES[kind](data)
        predicted = many.predict_many(frame)
        assert expected[start] == (predicted[0].as_py() if kind == "pyarrow" else predicted[0])
        many.learn_many(frame, pd.Series(labels[start:end]), weights[start:end])

    assert capture_state(looped) == capture_state(many)


@settings(deadline=None, max_examples=100)
@given(
    stream=streams(),
    is_wide=st.booleans(),
    kind=st.sampled_from([np.float64, np.float32, np.float16]),
)
def test_arrays_and_samples_give_the_same_bits_and_predictions(stream, is_wide, kind):
    names, rows, labels, weights, bounds = stream
    X = np.array([[0.0 if value is None else value for value in row] for row in rows], kind)
    looped, batched = (SGDPerceptron(0.5, 0.3, seed=0) for _ in range(2))
    if is_wide:
        for model in (looped, batched):
            model.learn_one({f"g{i}": 1.0 for i in range(1100)}, "b")
    expected = []
    for values, label, w in zip(X, labels, weights, strict=True):
        x = dict(zip(names, values.tolist(), strict=True))
        expected.append(looped.predict_one(x))
        looped.learn_one(x, label, w)
    predicted = []
    for start, end in itertools.pairwise(bounds):
        predicted += batched.test_then_train(
            X[start:end], labels[start:end], names, w=weights[start:end]
        )

    assert predicted == expected
    assert capture_state(looped) == capture_state(batched)


@settings(deadline=None, max_examples=100)
@given(stream=streams(), width=st.sampled_from([0, 1100]))
def test_zeros_and_absent_features_give_the_same_bits(stream, width):
    names, rows, labels, _, _ = stream
    zeros, absent = (SGDPerceptron(0.5, seed=0) for _ in range(2))
    for model in (zeros, absent):
        model.learn_one(dict.fromkeys([*names, *range(width)], 1.0), "a")
    for values, label in zip(rows, labels, strict=True):
        x = {name: value or 0.0 for name, value in zip(names, values, strict=True)}
        zeros.learn_one(x, label)
        absent.learn_one({name: value for name, value in x.items() if value}, label)
        assert zeros.predict_proba_one(x) == absent.predict_proba_one(
            {name: value for name, value in x.items() if value}
        )

    assert capture_state(zeros) == capture_state(absent)


def test_mnist_is_learned_identically_in_blocks_of_any_size(mnist_files):
    from stream_perceptron.stream import iter_parquet

    samples = list(itertools.islice(iter_parquet(mnist_files["train"]), 2000))
    names = list(samples[0][0])
    X = np.array([list(x.values()) for x, _ in samples])
    labels = [y for _, y in samples]
    looped = SGDPerceptron(classes=range(10), seed=0)
    expected = []
    for x, y in samples:
        expected.append(looped.predict_one(x))
        looped.learn_one(x, y)
    for size in (1, 7, 1000, 2000):
        batched = SGDPerceptron(classes=range(10), seed=0)
        predicted = []
        for start in range(0, 2000, size):
            part = slice(start, start + size)
            predicted += batched.test_then_train(X[part], labels[part], names)

        assert predicted == expected
        assert capture_state(looped) == capture_state(batched)


def test_stop_ends_at_the_first_error_below_epsilon(rng):
    X, labels = rng.random((500, 4)), rng.integers(0, 2, 500)
    unstopped = SGDPerceptron(0.5, 0, seed=0, classes=[0, 1])
    errors = []
    for x, y in zip(X, labels, strict=True):
        unstopped.learn_one(dict(enumerate(x.tolist())), y)
        errors.append(unstopped.last_error)
    epsilon = float(np.quantile(errors[100:], 0.05))
    first = next(i for i, error in enumerate(errors) if error < epsilon)
    stopped = SGDPerceptron(0.5, epsilon, seed=0, classes=[0, 1])

    assert len(stopped.test_then_train(X, labels, stop=True)) == first + 1
    assert (stopped.n_seen, stopped.n_updates) == (first + 1, first)
    assert errors[first] == stopped.last_error


@pytest.mark.parametrize(
    ("X", "labels", "reason"),
    [
        ([[1.0], [np.nan]], ["a", "b"], "feature 0 is nan in row 1, not finite"),
        ([[1.0], [2.0]], ["a", None], "label in row 1 is missing"),
        ([[1.0], [2.0]], ["a"], "number of labels is 1, but the number of samples is 2"),
        ([["1.0"], ["2.0"]], ["a", "b"], "not numbers"),
        ([1.0, 2.0], ["a", "b"], "do not have two dimensions"),
    ],
)
def test_invalid_array_is_rejected_as_a_whole(X, labels, reason):
    model = SGDPerceptron(seed=0)

    with pytest.raises(SampleError, match=reason):
        model.test_then_train(np.array(X), labels)
    assert (model.classes_, model.features_, model.n_seen) == ([], [], 0)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}), "feature 'b' is of type String"),
        (pd.DataFrame({"a": [1, "2"]}), "feature 'a' is '2', a str"),
        (pd.DataFrame({"a": pd.to_datetime(["2024", "2025"])}), "feature 'a' is of type Datetime"),
        (pd.DataFrame({"a": [1.0, np.inf]}), "feature 'a' is inf in row 1, not finite"),
        (pl.DataFrame({"a": [1.0, float("nan")]}), "feature 'a' is nan in row 1, not finite"),
        (pl.DataFrame({"a": [None, float("nan")]}), "feature 'a' is nan in row 1, not finite"),
        (pa.table({"a": ["1", "2"]}), "feature 'a' is of type String"),
    ],
    ids=str,
)
def test_invalid_frame_is_rejected_as_a_whole(frame, reason):
    model = SGDPerceptron(seed=0)

    with pytest.raises(SampleError, match=reason):
        model.learn_many(frame, pd.Series(["u", "v"]))
    assert (model.classes_, model.features_, model.n_seen) == ([], [], 0)


def test_bool_and_integer_columns_of_frames_are_numbers():
    frame = {"a": [True, False], "b": [3, 4]}
    expected = SGDPerceptron(seed=0)
    expected.test_then_train([[1.0, 3.0], [0.0, 4.0]], ["u", "v"], ["a", "b"])
    for make in (pd.DataFrame, pl.DataFrame, pa.table):
        model = SGDPerceptron(seed=0)
        model.learn_many(make(frame), ["u", "v"])

        assert capture_state(expected) == capture_state(model)


def test_predictions_have_the_frame_type_of_the_input(rng):
    model = SGDPerceptron(seed=0)
    model.test_then_train(rng.random((50, 2)), rng.choice(["u", "v"], 50), ["a", "b"])
    data = {"b": [0.1, 0.9], "a": [0.5, 0.2], "unknown": [1.0, 2.0]}
    rows = [{"a": 0.5, "b": 0.1}, {"a": 0.2, "b": 0.9}]
    labels = [model.predict_one(x) for x in rows]
    for frame in (pd.DataFrame(data, index=[7, 8]), pl.DataFrame(data), pa.table(data)):
        predicted = model.predict_many(frame)
        scores = model.predict_proba_many(frame)

        assert labels == [
            getattr(label, "as_py", lambda label=label: label)() for label in predicted
        ]
        assert type(frame) is type(scores)
        for name in ("u", "v"):
            expected = [model.predict_proba_one(x)[name] for x in rows]
            column = scores[name]
            np.testing.assert_allclose(np.asarray(column), expected)
    assert list(model.predict_many(pd.DataFrame(data, index=[7, 8])).index) == [7, 8]


def test_untrained_model_predicts_none_for_each_row():
    model = SGDPerceptron()
    frame = pd.DataFrame({"a": [1.0, 2.0]})

    assert model.predict_many(frame).tolist() == [None, None]
    assert model.predict_proba_many(frame).shape == (2, 0)


def test_rows_before_a_diverging_row_stay_learned(rng):
    X = rng.normal(size=(9, 3))
    X[5] = 1e200
    labels = list("abcabdabc")  # row 5 also adds the label d
    model = SGDPerceptron(0.5, activation="identity", seed=0)
    with pytest.raises(DivergedError, match="sample 6"):
        model.test_then_train(X, labels)
    expected = SGDPerceptron(0.5, activation="identity", seed=0)
    expected.test_then_train(X[:5], labels[:5])

    assert capture_state(expected) == capture_state(model)


@pytest.mark.parametrize("size", [1, 7, 40, 100])
def test_slopes_are_recorded_for_every_32nd_labeled_sample(size, rng):
    model = SGDPerceptron(classes=["x", "y"], seed=0)
    rows = Rows.from_table(("a",), rng.normal(size=(100, 1)))
    labels = [None if i % 10 == 9 else "xy"[i % 2] for i in range(100)]
    recorded = []
    for start in range(0, 100, size):
        part = slice(start, start + size)
        result = model.train(Samples(rows[part], labels[part], np.ones(len(labels[part]))))
        recorded += (start + np.flatnonzero(~np.isnan(result.probes[:, 0]))).tolist()
    labeled = [i for i in range(100) if labels[i] is not None]

    assert recorded == labeled[::32]


def test_missing_label_has_target_minus_one():
    model = SGDPerceptron(classes=["x"], seed=0)
    rows = Rows.from_table(("a",), np.arange(4.0)[:, np.newaxis])
    result = model.train(Samples(rows, ["x", None, "y", None], np.ones(4)))

    assert result.targets.tolist() == [0, -1, 1, -1]
    assert np.flatnonzero(result.updated).tolist() == [0, 2]
