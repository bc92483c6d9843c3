"""Frames, arrays and sparse matrices are learned like dicts of their rows."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from helpers import FEATURE_NAMES, capture_state, to_dicts
from river import feature_extraction, preprocessing

from stream_perceptron import SGDPerceptron

WORDS = [f"w{i}" for i in range(300)]


def new_model():
    return SGDPerceptron(lr=0.5, seed=0)


@pytest.fixture
def matrix(rng):
    """A matrix of mostly zeros, shape (40, 6)."""
    return np.round(rng.normal(size=(40, 6)), 3) * (rng.random((40, 6)) < 0.3)


@pytest.fixture
def labels(rng):
    return rng.choice(["left", "right"], 40).tolist()


def learn_one_by_one(samples, labels):
    """Return a model that learned dicts one by one."""
    one = new_model()
    for x, y in zip(samples, labels, strict=True):
        one.learn_one(x, y)
    return one


PAIRS = pd.MultiIndex.from_product([["a", "b"], [1, 2, 3]])


@pytest.mark.parametrize("names", [PAIRS, ["a", 1, ("b", 2), 2.5, "c", b"d"]], ids=type)
def test_feature_names_need_not_be_strings(names, matrix, labels):
    frame = pd.DataFrame(matrix, columns=names)
    samples = [dict(zip(frame.columns, row, strict=True)) for row in matrix.tolist()]
    one, many = learn_one_by_one(samples, labels), new_model()
    many.learn_many(frame, pd.Series(labels))

    assert capture_state(one) == capture_state(many)
    wider = pd.concat([pd.DataFrame({"unknown": ["text"] * 40}), frame], axis=1)
    for X in (frame, wider):
        assert [one.predict_one(x) for x in samples] == many.predict_many(X).tolist()
        scores = many.predict_proba_many(X).to_dict("records")
        assert [one.predict_proba_one(x) for x in samples] == scores


DTYPES = [np.float16, np.float32, np.int8, np.int64, np.uint8, np.uint64, np.bool_]
BUILDERS = {
    "array": lambda matrix: matrix,
    "sparse": scipy.sparse.csr_matrix,
    "pandas": lambda matrix: pd.DataFrame(matrix, columns=FEATURE_NAMES),
    "polars": lambda matrix: pl.DataFrame(dict(zip(FEATURE_NAMES, matrix.T, strict=True))),
    "pyarrow": lambda matrix: pa.table(list(map(pa.array, matrix.T)), FEATURE_NAMES),
}


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("form", BUILDERS)
def test_numbers_of_every_type_are_converted_to_float64(kind, form, labels, rng):
    if kind == np.float16 and form == "sparse":
        return  # SciPy has no float16
    matrix = rng.integers(0, 100, (40, 6)).astype(kind)
    if np.issubdtype(kind, np.floating):
        matrix /= np.dtype(kind).type(7)
    names, many = FEATURE_NAMES if form in ("array", "sparse") else None, new_model()
    many.test_then_train(BUILDERS[form](matrix), labels, names)

    one = learn_one_by_one(to_dicts(matrix.astype(float)), labels)
    assert capture_state(one) == capture_state(many)


@pytest.mark.parametrize("fill", [0.0, 7.0, np.nan])
def test_fill_value_of_a_sparse_column_means_an_absent_feature(fill, matrix, labels):
    cells = np.where(matrix == 0, fill, matrix)
    frame = pd.DataFrame(cells, columns=FEATURE_NAMES).astype(pd.SparseDtype(float, fill))
    samples = [{name: x for name, x in row.items() if x} for row in to_dicts(matrix)]
    one, many = learn_one_by_one(samples, labels), new_model()
    many.learn_many(frame, labels)

    assert capture_state(one) == capture_state(many)
    assert [one.predict_one(x) for x in samples] == many.predict_many(frame).tolist()


def test_frames_may_mix_sparse_and_dense_columns(matrix, labels):
    """Dense columns of bools, of integers with nulls, and of objects."""
    frame = pd.DataFrame({
        "sparse": pd.arrays.SparseArray(matrix[:, 0], fill_value=0.0),
        "flag": matrix[:, 1] > 0,
        "whole": pd.array([None if x == 0 else 3 for x in matrix[:, 2]], "Int64"),
        "object": pd.Series([None if x == 0 else x for x in matrix[:, 3]], dtype=object),
    })  # fmt: skip
    samples = [
        {"sparse": a or None, "flag": b > 0, "whole": 3 if c else None, "object": d or None}
        for a, b, c, d in matrix[:, :4].tolist()
    ]
    many = new_model()
    many.learn_many(frame, labels)

    assert capture_state(learn_one_by_one(samples, labels)) == capture_state(many)


@pytest.mark.parametrize(
    "encoder", [feature_extraction.BagOfWords(), preprocessing.OneHotEncoder(drop_zeros=True)]
)
def test_sparse_frames_of_river_encoders_are_learned(encoder):
    """Blocks with new words give the model of a loop over learn_one, but frames sort features."""
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS[: 2 + i // 8], k=20)) for i in range(2400)]
    y, samples, frame = [rng.choice("ab") for _ in texts], texts, pd.Series(texts)
    if isinstance(encoder, preprocessing.OneHotEncoder):
        samples = [{"first": text[:3], "last": text[-2:]} for text in texts]
        frame = pd.DataFrame(samples)
    one, many = (encoder.clone() | new_model() for _ in range(2))
    for x, label in zip(samples, y, strict=True):
        one.learn_one(x, label)
    for part in (slice(1200), slice(1200, None)):
        many.learn_many(frame.iloc[part].reset_index(drop=True), pd.Series(y[part]))

    models = one["SGDPerceptron"], many["SGDPerceptron"]
    order = [models[1].features_.index(name) for name in models[0].features_]
    np.testing.assert_allclose(models[0].weights, models[1].weights[:, order], atol=1e-12)
    predicted = many.predict_many(frame.iloc[:1200])
    assert [one.predict_one(x) for x in samples[:1200]] == predicted.tolist()


@pytest.mark.nightly
def test_sparse_blocks_with_100000_words_need_little_memory(report_figure):
    """Weights grow with the vocabulary, and blocks stay sparse."""
    import tracemalloc

    words, rng, y = [f"w{i}" for i in range(100_000)], random.Random(0), pd.Series(["a", "b"] * 100)
    many = feature_extraction.BagOfWords() | new_model()
    many.learn_many(pd.Series([" ".join(words)] + ["w1"] * 199), y)
    texts = pd.Series([" ".join(rng.choices(words, k=20)) for _ in range(200)])
    tracemalloc.start()
    many.learn_many(texts, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    report_figure(
        f"blocks of 200 texts, 100,000 words known: {peak / 2**20:.0f} MB at most beside the model"
    )
    assert len(many["SGDPerceptron"].features_) == 100_000
    assert peak < 40 * 2**20  # dense blocks would take 160 MB


def test_labels_may_be_lists_arrays_series_or_frames(matrix, labels):
    frame = pd.DataFrame(matrix)
    states = []
    for y in (
        labels, np.array(labels), np.array(labels)[:, np.newaxis], pd.DataFrame({"y": labels}),
        pl.DataFrame({"y": labels}), pl.Series(labels), pa.array(labels), list(np.array(labels)),
    ):  # fmt: skip
        perceptron = new_model()
        perceptron.learn_many(frame, y)
        states.append(capture_state(perceptron))

    default = new_model()
    default.test_then_train(matrix, labels)  # features are called 0, 1, ...
    states.append(capture_state(default))

    assert states == states[:1] * len(states)


def test_predictions_have_the_frame_type_of_the_input(rng):
    model = SGDPerceptron(seed=0)
    model.test_then_train(rng.random((50, 2)), rng.choice(["u", "v"], 50), ["a", "b"])
    data = {"b": [0.1, 0.9], "a": [0.5, 0.2], "unknown": [1.0, 2.0]}
    rows = [{"a": 0.5, "b": 0.1}, {"a": 0.2, "b": 0.9}]
    labels = [model.predict_one(x) for x in rows]
    for frame in (pd.DataFrame(data, index=[7, 8]), pl.DataFrame(data), pa.table(data)):
        predicted = model.predict_many(frame)
        scores = model.predict_proba_many(frame)

        assert labels == np.asarray(predicted).tolist()
        assert type(frame) is type(scores)
        for name in ("u", "v"):
            expected = [model.predict_proba_one(x)[name] for x in rows]
            np.testing.assert_allclose(np.asarray(scores[name]), expected)
    frame = pd.DataFrame(data, index=[7, 8])
    assert list(model.predict_many(frame).index) == [7, 8]
    assert SGDPerceptron().predict_many(frame).tolist() == [None, None]
    assert SGDPerceptron().predict_proba_many(frame).shape == (2, 0)
