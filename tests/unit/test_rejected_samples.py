"""Invalid samples are rejected and leave the model unchanged."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from helpers import capture_state, to_dicts

from stream_perceptron import DivergedError, SampleError, SGDPerceptron
from stream_perceptron.model.rows import FeatureRows, as_samples
from stream_perceptron.model.scaler import Scaler

NOT_FINITE = "a learning rate that is not a finite number"


@pytest.mark.parametrize(
    ("rate", "reason"),
    [
        (lambda t: math.nan, NOT_FINITE),
        (lambda t: -1.0, NOT_FINITE),
        (lambda t: math.inf, NOT_FINITE),
        (lambda t: 1 / (t - t), r"no learning rate after \d+ updates: division"),
    ],
)
def test_invalid_rate_of_a_schedule_is_rejected(rate, reason, trained_model):
    """Rows without labels are predicted without a rate."""
    before = capture_state(trained_model)
    trained_model.lr = SimpleNamespace(get=rate)
    for x, y in (({"x0": 1.0}, "high"), ({"new": 1.0}, "new")):
        with pytest.raises(SampleError, match=reason):
            trained_model.learn_one(x, y)
        assert capture_state(trained_model) == before

    assert trained_model.predict_one({"x0": 1.0}) in ("high", "low")
    rows = FeatureRows.from_table(("x0",), np.ones((2, 1)))
    assert len(trained_model.train(as_samples(rows, [None, None], np.ones(2)))) == 2


def build_damaged_matrix(part, number):
    matrix = scipy.sparse.csr_matrix(np.eye(3))
    getattr(matrix, part)[1] = number
    return matrix


BAD_VALUES = [
    ("1.5", "'x1' is '1.5', a str"),
    (dt.date(2024, 1, 1), "a date"),
    (1j, "a complex"),
    ([1.0], "a list"),
    (math.nan, "'x1' is nan, not finite"),
    (-math.inf, "'x1' is -inf, not finite"),
    (10**400, "'x1' is inf, not finite"),
]
BAD_LABELS = [
    *((label, "label is missing") for label in (None, math.nan, pd.NaT, pd.NA)),
    (np.datetime64("NaT", "s"), "label is missing"),
    *((label, "not hashable") for label in (["a"], {"a": 1}, np.array([1, 2]))),
]
BAD_ARRAYS = [
    ([[1.0], [np.nan]], ["a", "b"], "feature 0 is nan in row 1, not finite"),
    ([[1.0], [2.0]], ["a", None], "label in row 1 is missing"),
    ([[1.0], [2.0]], ["a"], "number of labels is 1, but the number of samples is 2"),
    ([["1.0"], ["2.0"]], ["a", "b"], "not numbers"),
    ([1.0, 2.0], ["a", "b"], "do not have two dimensions"),
]
BAD_FRAMES = [
    (pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}), "feature 'b' is of type String"),
    (pd.DataFrame({"a": [1, "2"]}), "feature 'a' is '2', a str"),
    (pd.DataFrame({"a": pd.to_datetime(["2024", "2025"])}), "feature 'a' is of type Datetime"),
    (pd.DataFrame({"a": [1.0, np.inf]}), "feature 'a' is inf in row 1, not finite"),
    (pl.DataFrame({"a": [1.0, float("nan")]}), "feature 'a' is nan in row 1, not finite"),
    (pl.DataFrame({"a": [None, float("nan")]}), "feature 'a' is nan in row 1, not finite"),
    (pa.table({"a": ["1", "2"]}), "feature 'a' is of type String"),
    (pd.DataFrame({"s": pd.arrays.SparseArray([0.0, 1.0], fill_value=0.0), "t": "x"}),
     "feature 't' is 'x', a str"),
    (pd.DataFrame({"s": pd.arrays.SparseArray([0.0, np.inf], fill_value=0.0)}),
     "feature 's' is inf in row 1"),
]  # fmt: skip
TWO_NAMES = pd.DataFrame([[1, 2]], columns=["a", "a"])
WIDE = scipy.sparse.csr_matrix(([1.0], ([0], [7])), shape=(1, 1000))
NUMBERS = pd.DataFrame({"a": [1, 2]})
CALLS = [
    *((lambda m, y=y: m.learn_one({"x0": 1.0, "new": 1}, y), reason) for y, reason in BAD_LABELS),
    *((lambda m, v=v: m.learn_one({"x0": 1.0, "x1": v}, "new"), r) for v, r in BAD_VALUES),
    *((lambda m, v=v: m.predict_one({"x0": 1.0, "x1": v}), reason) for v, reason in BAD_VALUES),
    *((lambda m, w=w: m.learn_one({"new": 1.0}, "new", w=w), "sample weight")
      for w in (-1, math.nan, math.inf, "1", None, 10**400)),
    *((lambda m, X=X, y=y: m.test_then_train(np.array(X), y), r) for X, y, r in BAD_ARRAYS),
    *((lambda m, X=X: m.learn_many(X, pd.Series(["u", "v"])), reason) for X, reason in BAD_FRAMES),
    *((lambda m, damage=damage: m.test_then_train(build_damaged_matrix(*damage), ["u", "v", "u"]),
       "the sparse matrix is damaged")
      for damage in (("indices", -1), ("indices", 4), ("indptr", -1), ("indptr", 5_000_000))),
    (lambda m: m.test_then_train(np.ones((1, 2)), ["x"], [None, None]),
     "two features are called None"),
    (lambda m: m.test_then_train(WIDE, ["x"], ["a", "a", *range(998)]),
     "two features are called 'a'"),
    (lambda m: m.learn_many(TWO_NAMES, ["x"]),
     "two features are called 'a': give each its own name"),
    (lambda m: m.learn_one([1.0], "a"), "a sample is of type list: pass a dict of features"),
    (lambda m: m.predict_one(np.ones(2)), "a sample is of type ndarray: pass a dict"),
    (lambda m: m.predict_proba_one([1.0]), "a sample is of type list: pass a dict"),
    (lambda m: m.learn_many(np.ones((1, 2)), ["a"]), "features are of type ndarray: pass a"),
    (lambda m: m.predict_many([[1.0]]), "features are of type list: pass a pandas"),
    (lambda m: m.learn_many(pd.DataFrame([[1, 2]]), pd.DataFrame([["x", "y"]])),
     r"labels of shape \(1, 2\) are not a single column"),
    (lambda m: m.test_then_train(scipy.sparse.csr_array(np.ones((1, 2)) * 1j), ["x"]),
     "features of type complex128 are not numbers"),
    (lambda m: m.test_then_train(np.ones((1, 2)), ["x"], features=["a"]),
     "the number of features is 2, but the number of names is 1"),
    (lambda m: m.learn_many(NUMBERS, ["x", "x"], w=np.array([1, -0.5])),
     "sample weight -0.5 is not a finite number"),
    (lambda m: m.learn_many(NUMBERS, ["x", "x"], w=[1.0]),
     "the number of sample weights is 1, but the number of samples is 2"),
    *((lambda m, w=w: m.learn_many(NUMBERS, ["x", "x"], w=w), "sample weight .* is not a finite")
      for w in (None, Decimal(1), np.array(1.0), [Decimal(1)] * 2)),
    *((lambda m, X=X: m.learn_many(X, ["x", "x"]), "the features cannot be converted to floats")
      for X in (pd.DataFrame({"a": [1, 10**400]}, dtype=object),
                pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.Int128)}))),
]  # fmt: skip


@pytest.mark.parametrize(("call", "reason"), CALLS)
def test_invalid_call_leaves_the_model_unchanged(call, reason, trained_model):
    before = capture_state(trained_model)
    with pytest.raises(SampleError, match=reason):
        call(trained_model)
    assert capture_state(trained_model) == before


@pytest.mark.parametrize(
    ("overflowing_value", "activation", "lr", "init_range", "x", "w"),
    [
        ("error", "identity", 0.5, 0.5, 0.5, 1.0),
        ("net input", "sigmoid", 0.5, 9.0, 0.99, 1.0),
        ("rate", "sigmoid", 9.0, 0.0, 1e-300, 0.99),
        ("weight", "sigmoid", 0.5, 0.0, 1e-280, 0.99),
    ],
)
def test_diverging_sample_leaves_the_model_unchanged(
    overflowing_value, activation, lr, init_range, x, w, rng
):
    """The parameters x and w are fractions of the largest float."""
    largest = float(np.finfo(float).max)
    model = SGDPerceptron(lr, 0, activation, init_range, ["a", "b"], seed=0)
    for row in to_dicts(rng.normal(size=(20, 6)) / 10):
        model.learn_one(row, "a")
    before = capture_state(model)
    x = max(x * largest, 30.0)

    with pytest.raises(DivergedError, match="diverged at sample 21: lower lr or scale"):
        model.learn_one({"x0": x, "x1": x, "new": x}, "c", w=w * largest if w < 1 else w)
    assert capture_state(model) == before
    model.learn_one({"x0": 1.0}, "a")
    assert model.n_seen == 21


@pytest.mark.parametrize(
    ("scaler", "lr", "value"), [(None, 0.1, 1e200), (Scaler(), 0.1, 1e200), (Scaler(), 1e200, 2.0)]
)
def test_diverging_sample_of_known_names_leaves_the_model_unchanged(scaler, lr, value):
    model = SGDPerceptron(lr, activation="identity", seed=0)
    model.network.scaler = scaler
    model.learn_one({"a": 1.0}, "up")
    before = capture_state(model)

    with pytest.raises(DivergedError, match="diverged at sample 2: lower lr or scale"):
        model.learn_one({"a": value}, "up")
    assert capture_state(model) == before


def test_samples_without_finite_net_input_cannot_be_predicted():
    model = SGDPerceptron(classes=["a", "b"], init_range=9.0, seed=0)
    model.learn_one({"x": 1.0, "y": 1.0}, "a")
    x = {"x": 1e308, "y": 1e308}

    with pytest.raises(SampleError, match="the net input is not finite: scale the features"):
        model.predict_proba_one(x)
    with pytest.raises(SampleError, match="the net input of row 1 is not finite"):
        model.predict_many(pd.DataFrame([{"x": 1.0, "y": 1.0}, x]))


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"lr": 0}, "lr is 0: choose a finite number above 0"),
        ({"lr": math.nan}, "lr is nan: choose a finite number above 0"),
        ({"lr": 10**400}, "lr is 1000"),
        ({"lr": "fast"}, "lr is 'fast'"),
        ({"epsilon": -1}, "epsilon is -1: choose a finite number greater than or equal to 0"),
        ({"epsilon": "low"}, "epsilon is 'low': choose a finite number"),
        ({"init_range": math.inf}, "init_range is inf"),
        ({"seed": 1.5}, r"seed is 1.5: choose a whole number from 0 to 2\^64 - 1"),
        ({"seed": 2**64}, f"seed is {2**64}: choose a whole number from 0"),
        ({"max_weights": 0}, r"max_weights is 0: choose a whole number from 1 to 2\^62 - 1"),
        ({"max_weights": 1e6}, "max_weights is 1000000.0: choose a whole number from 1"),
        ({"classes": ()}, "distinct labels, none of them missing"),
        ({"classes": ["a", "a"]}, "distinct labels, none of them missing"),
        ({"classes": ["a", None]}, "distinct labels, none of them missing"),
        ({"classes": "ab"}, "list of labels"),
        ({"activation": None}, "choose sigmoid, tanh, arctan or identity"),
        ({"class_weight": "even"}, "class_weight is 'even': pass \"balanced\" or a dict"),
        ({"class_weight": ["a"]}, 'pass "balanced" or a dict'),
        ({"class_weight": {"a": -1.0}}, "class_weight of 'a' is -1.0: choose a finite number"),
        ({"class_weight": {"a": math.inf}}, "class_weight of 'a' is inf"),
        ({"class_weight": {"a": "2"}}, "class_weight of 'a' is 2"),
        ({"class_weight": {"a": 10**400}}, "class_weight of 'a' is 1000"),
    ],
    ids=repr,
)
def test_invalid_parameters_are_rejected(parameters, reason):
    with pytest.raises(ValueError, match=reason):
        SGDPerceptron(**parameters)
    model = SGDPerceptron(seed=0)
    if parameters.keys() <= model._mutable_attributes:
        before = model._get_params()
        with pytest.raises(ValueError, match=reason):
            model.mutate(parameters)
        assert model._get_params() == before
