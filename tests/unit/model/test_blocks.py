"""Blocks of rows and single samples give bit-identical models."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from helpers import state_of
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
    """Rows with absent cells and names in any order, cut into random blocks."""
    width = draw(st.sampled_from([1, 3, 9]))
    rows = draw(st.lists(st.lists(VALUES, min_size=width, max_size=width), min_size=1, max_size=12))
    names = draw(st.permutations([f"f{i}" for i in range(width)]))
    labels = draw(st.lists(st.sampled_from("abc"), min_size=len(rows), max_size=len(rows)))
    weights = draw(
        st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=len(rows), max_size=len(rows))
    )
    cuts = draw(st.sets(st.integers(1, len(rows))))
    return names, rows, labels, weights, sorted({0, len(rows), *cuts})


@pytest.mark.parametrize("kind", FRAMES)
@settings(deadline=None, max_examples=60)
@given(
    stream=streams(),
    lr=st.sampled_from([0.5, schedulers.InverseScaling(1.0)]),
    classes=st.sampled_from([None, ["c", "z"]]),
    epsilon=st.sampled_from([0.0, 0.3]),
    wide=st.booleans(),
)
def test_learn_many_is_the_loop_of_learn_one(kind, stream, lr, classes, epsilon, wide):
    """With absent cells, weights, a schedule, skipped samples and growth in mid-block."""
    names, rows, labels, weights, cuts = stream
    one = SGDPerceptron(lr, epsilon, classes=classes, seed=0)
    many = SGDPerceptron(lr, epsilon, classes=classes, seed=0)
    if wide:
        # Enough known features that this stream's samples are sparse.
        for model in (one, many):
            model.learn_one({f"g{i}": 1.0 for i in range(1100)}, "b")
    expected = []
    for values, label, w in zip(rows, labels, weights, strict=True):
        x = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        expected.append(one.predict_one(x))
        one.learn_one(x, label, w)
    for start, end in itertools.pairwise(cuts):
        data = {name: [row[j] for row in rows[start:end]] for j, name in enumerate(names)}
        frame = FRAMES[kind](data)
        predicted = many.predict_many(frame)
        assert expected[start] == (predicted[0].as_py() if kind == "pyarrow" else predicted[0])
        many.learn_many(frame, pd.Series(labels[start:end]), weights[start:end])

    assert state_of(one) == state_of(many)


@settings(deadline=None, max_examples=100)
@given(
    stream=streams(),
    wide=st.booleans(),
    kind=st.sampled_from([np.float64, np.float32, np.float16]),
)
def test_arrays_give_the_bits_and_predictions_of_samples(stream, wide, kind):
    names, rows, labels, weights, cuts = stream
    X = np.array([[0.0 if value is None else value for value in row] for row in rows], kind)
    one, block = (SGDPerceptron(0.5, 0.3, seed=0) for _ in range(2))
    if wide:
        for model in (one, block):
            model.learn_one({f"g{i}": 1.0 for i in range(1100)}, "b")
    expected = []
    for values, label, w in zip(X, labels, weights, strict=True):
        x = dict(zip(names, values.tolist(), strict=True))
        expected.append(one.predict_one(x))
        one.learn_one(x, label, w)
    predicted = []
    for start, end in itertools.pairwise(cuts):
        predicted += block.test_then_train(
            X[start:end], labels[start:end], names, w=weights[start:end]
        )

    assert predicted == expected
    assert state_of(one) == state_of(block)


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

    assert state_of(zeros) == state_of(absent)


def test_mnist_in_blocks_of_any_size_and_one_by_one(digits):
    from stream_perceptron.stream import iter_parquet

    samples = list(itertools.islice(iter_parquet(digits["train"]), 2000))
    names = list(samples[0][0])
    X = np.array([list(x.values()) for x, _ in samples])
    labels = [y for _, y in samples]
    one = SGDPerceptron(classes=range(10), seed=0)
    expected = []
    for x, y in samples:
        expected.append(one.predict_one(x))
        one.learn_one(x, y)
    for size in (1, 7, 1000, 2000):
        block = SGDPerceptron(classes=range(10), seed=0)
        predicted = []
        for start in range(0, 2000, size):
            part = slice(start, start + size)
            predicted += block.test_then_train(X[part], labels[part], names)

        assert predicted == expected
        assert state_of(one) == state_of(block)


def test_stop_ends_with_the_first_sample_that_fits(rng):
    X, labels = rng.random((500, 4)), rng.integers(0, 2, 500)
    endless = SGDPerceptron(0.5, 0, seed=0, classes=[0, 1])
    errors = []
    for x, y in zip(X, labels, strict=True):
        endless.learn_one(dict(enumerate(x.tolist())), y)
        errors.append(endless.last_error)
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
        ([[1.0], [2.0]], ["a"], "number of labels is 1, but that of samples is 2"),
        ([["1.0"], ["2.0"]], ["a", "b"], "not numbers"),
        ([1.0, 2.0], ["a", "b"], "not rows and columns"),
    ],
)
def test_array_that_cannot_be_used_is_refused_whole(X, labels, reason):
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
def test_frame_that_cannot_be_used_is_refused_whole(frame, reason):
    model = SGDPerceptron(seed=0)

    with pytest.raises(SampleError, match=reason):
        model.learn_many(frame, pd.Series(["u", "v"]))
    assert (model.classes_, model.features_, model.n_seen) == ([], [], 0)


def test_bools_and_integers_are_numbers_in_frames():
    frame = {"a": [True, False], "b": [3, 4]}
    expected = SGDPerceptron(seed=0)
    expected.test_then_train([[1.0, 3.0], [0.0, 4.0]], ["u", "v"], ["a", "b"])
    for make in (pd.DataFrame, pl.DataFrame, pa.table):
        model = SGDPerceptron(seed=0)
        model.learn_many(make(frame), ["u", "v"])

        assert state_of(expected) == state_of(model)


def test_predictions_come_in_the_kind_of_frame_that_was_given(rng):
    model = SGDPerceptron(seed=0)
    model.test_then_train(rng.random((50, 2)), rng.choice(["u", "v"], 50), ["a", "b"])
    data = {"b": [0.1, 0.9], "a": [0.5, 0.2], "unknown": [1.0, 2.0]}
    rows = [{"a": 0.5, "b": 0.1}, {"a": 0.2, "b": 0.9}]
    labels = [model.predict_one(x) for x in rows]
    for frame in (pd.DataFrame(data, index=[7, 8]), pl.DataFrame(data), pa.table(data)):
        predicted = model.predict_many(frame)
        probabilities = model.predict_proba_many(frame)

        assert labels == [
            getattr(label, "as_py", lambda label=label: label)() for label in predicted
        ]
        assert type(frame) is type(probabilities)
        for name in ("u", "v"):
            expected = [model.predict_proba_one(x)[name] for x in rows]
            column = probabilities[name]
            np.testing.assert_allclose(np.asarray(column), expected)
    assert list(model.predict_many(pd.DataFrame(data, index=[7, 8])).index) == [7, 8]


def test_untrained_model_predicts_nothing_for_a_frame():
    model = SGDPerceptron()
    frame = pd.DataFrame({"a": [1.0, 2.0]})

    assert model.predict_many(frame).tolist() == [None, None]
    assert model.predict_proba_many(frame).shape == (2, 0)


def test_divergence_in_mid_block_leaves_the_rows_before(rng):
    X = rng.normal(size=(9, 3))
    X[5] = 1e200
    labels = list("abcabdabc")  # row 5 also brings the label d
    model = SGDPerceptron(0.5, activation="identity", seed=0)
    with pytest.raises(DivergedError, match="sample 6"):
        model.test_then_train(X, labels)
    expected = SGDPerceptron(0.5, activation="identity", seed=0)
    expected.test_then_train(X[:5], labels[:5])

    assert state_of(expected) == state_of(model)


def test_a_missing_label_has_no_number_beside_known_and_new_ones():
    model = SGDPerceptron(classes=["x"], seed=0)
    rows = Rows.from_table(("a",), np.arange(4.0)[:, np.newaxis])
    result = model.train(Samples(rows, ["x", None, "y", None], np.ones(4)))

    assert result.targets.tolist() == [0, -1, 1, -1]
    assert np.flatnonzero(result.updated).tolist() == [0, 2]
