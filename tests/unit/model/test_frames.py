"""Frames, arrays and sparse matrices are learned like dicts of their rows."""

from __future__ import annotations

import io
import random

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from helpers import capture_state
from river import feature_extraction, preprocessing

from stream_perceptron import SampleError, SGDPerceptron, load, save

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


def omit_value(value, names, rows):
    """Return rows as dicts, without the cells that equal `value`."""
    return [
        {name: x for name, x in zip(names, row, strict=True) if x != value} for row in rows.tolist()
    ]


FEATURE_NAMES = {
    "numbers": list(range(6)),
    "pairs": pd.MultiIndex.from_product([["a", "b"], [1, 2, 3]]),
    "mixed": ["a", 1, ("b", 2), 2.5, "c", b"d"],
}


@pytest.mark.parametrize("kind", FEATURE_NAMES)
def test_feature_names_need_not_be_strings(kind, matrix, labels):
    frame = pd.DataFrame(matrix, columns=FEATURE_NAMES[kind])
    names = list(frame.columns)
    many = new_model()
    many.learn_many(frame, pd.Series(labels))
    one = learn_one_by_one([dict(zip(names, row, strict=True)) for row in matrix.tolist()], labels)

    assert capture_state(one) == capture_state(many)
    wider = pd.concat([pd.DataFrame({"unknown": ["text"] * 40}), frame], axis=1)
    for X in (frame, wider):
        samples = [dict(zip(names, row, strict=True)) for row in matrix.tolist()]
        assert [one.predict_one(x) for x in samples] == many.predict_many(X).tolist()
        scores = many.predict_proba_many(X).to_dict("records")
        assert [one.predict_proba_one(x) for x in samples] == scores


DTYPES = [np.float16, np.float32, np.int8, np.int64, np.uint8, np.uint64, np.bool_]


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (kind, form)
        for kind in DTYPES
        for form in ("array", "pandas", "polars", "pyarrow", "sparse")
        if (kind, form) != (np.float16, "sparse")  # SciPy has no float16
    ],
)
def test_numbers_of_every_type_are_converted_to_float64(kind, form, labels, rng):
    matrix = rng.integers(0, 100, (40, 6)).astype(kind)
    if np.issubdtype(kind, np.floating):
        matrix /= np.dtype(kind).type(7)
    names = [f"x{i}" for i in range(6)]
    samples = [dict(zip(names, row, strict=True)) for row in matrix.astype(float).tolist()]
    many = new_model()
    if form == "array":
        many.test_then_train(matrix, labels, names)
    elif form == "sparse":
        many.test_then_train(scipy.sparse.csr_matrix(matrix), labels, names)
    else:
        frame = {
            "pandas": lambda: pd.DataFrame(matrix, columns=names),
            "polars": lambda: pl.DataFrame(dict(zip(names, matrix.T, strict=True))),
            "pyarrow": lambda: pa.table(dict(zip(names, map(pa.array, matrix.T), strict=True))),
        }[form]()
        many.learn_many(frame, pd.Series(labels))

    assert many.weights.dtype == np.float64
    assert capture_state(learn_one_by_one(samples, labels)) == capture_state(many)


@pytest.mark.parametrize("fill", [0.0, 7.0, np.nan])
def test_fill_value_of_a_sparse_column_means_an_absent_feature(fill, matrix, labels):
    cells = np.where(matrix == 0, fill, matrix)
    dtype = pd.SparseDtype(float, fill)
    frame = pd.DataFrame(cells, columns=list("abcdef")).astype(dtype)
    many = new_model()
    many.learn_many(frame, labels)
    one = learn_one_by_one(omit_value(0.0, "abcdef", matrix), labels)

    assert capture_state(one) == capture_state(many)
    assert [one.predict_one(x) for x in omit_value(0.0, "abcdef", matrix)] == (
        many.predict_many(frame).tolist()
    )


def test_frames_may_mix_sparse_and_dense_columns(matrix, labels):
    """Dense columns of bools, of integers with nulls, and of objects."""
    frame = pd.DataFrame({
        "sparse": pd.arrays.SparseArray(matrix[:, 0], fill_value=0.0),
        "flag": matrix[:, 1] > 0,
        "whole": pd.array([None if x == 0 else 3 for x in matrix[:, 2]], "Int64"),
        "object": pd.Series([None if x == 0 else x for x in matrix[:, 3]], dtype=object),
    })  # fmt: skip
    many = new_model()
    many.learn_many(frame, labels)
    one = learn_one_by_one(
        [
            {
                **({"sparse": a} if a else {}),
                "flag": bool(b > 0),
                **({"whole": 3} if c else {}),
                **({"object": d} if d else {}),
            }
            for a, b, c, d in matrix[:, :4].tolist()
        ],
        labels,
    )

    assert capture_state(one) == capture_state(many)
    frame["text"] = "x"
    with pytest.raises(SampleError, match="feature 'text' is 'x', a str"):
        many.learn_many(frame, labels)
    cells = np.where(np.arange(40) == 5, np.inf, 0.0)
    frame = pd.DataFrame({"sparse": pd.arrays.SparseArray(cells, fill_value=0.0)})
    with pytest.raises(SampleError, match="feature 'sparse' is inf in row 5, not finite"):
        many.learn_many(frame, labels)


def require_close(one, other):
    """Check that two models have equal weights up to rounding; River's frames sort the features."""
    indexes = {name: i for i, name in enumerate(other.features_)}
    order = [indexes[name] for name in one.features_]
    np.testing.assert_allclose(one.weights, other.weights[:, order], atol=1e-12)


def draw_texts(n, words, seed=0):
    rng = random.Random(seed)
    return [" ".join(rng.choices(words, k=20)) for _ in range(n)]


@pytest.mark.parametrize("encoder", ["BagOfWords", "OneHotEncoder"])
def test_sparse_frames_of_river_encoders_are_learned(encoder):
    """Blocks with new words give the same model as a loop over learn_one."""
    texts = draw_texts(200, WORDS)
    rng = random.Random(1)
    y = [rng.choice("ab") for _ in texts]
    if encoder == "BagOfWords":
        one, many = (feature_extraction.BagOfWords() | new_model() for _ in range(2))
        blocks = [pd.Series(texts[i : i + 50]) for i in range(0, 200, 50)]
        samples = texts
    else:
        one, many = (preprocessing.OneHotEncoder(drop_zeros=True) | new_model() for _ in range(2))
        samples = [{"first": text[:3], "last": text[-2:]} for text in texts]
        frame = pd.DataFrame(samples)
        blocks = [frame.iloc[i : i + 50].reset_index(drop=True) for i in range(0, 200, 50)]
    for x, label in zip(samples, y, strict=True):
        one.learn_one(x, label)
    for i, block in enumerate(blocks):
        many.learn_many(block, pd.Series(y[50 * i : 50 * i + 50]))

    require_close(one["SGDPerceptron"], many["SGDPerceptron"])
    assert [one.predict_one(x) for x in samples[:50]] == many.predict_many(blocks[0]).tolist()


@pytest.mark.nightly
def test_sparse_blocks_with_100000_words_need_little_memory(report_figure):
    """Weights grow with the vocabulary, and blocks stay sparse."""
    import tracemalloc

    words = [f"w{i}" for i in range(100_000)]
    one, many = (feature_extraction.BagOfWords() | new_model() for _ in range(2))
    peak = 0
    for block in range(5):
        texts = draw_texts(200, words, block) if block else [" ".join(words)] + ["w1"] * 199
        y = ["a", "b"] * 100
        for x, label in zip(texts, y, strict=True):
            one.learn_one(x, label)
        if block == 1:
            tracemalloc.start()
        many.learn_many(pd.Series(texts), pd.Series(y))
        if block:
            peak = max(peak, tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()

    report_figure(
        f"blocks of 200 texts, 100,000 words known: {peak / 2**20:.0f} MB at most beside the model"
    )
    assert len(many["SGDPerceptron"].features_) == 100_000
    require_close(one["SGDPerceptron"], many["SGDPerceptron"])
    assert peak < 40 * 2**20  # dense blocks would take 160 MB


@pytest.mark.parametrize("form", ["pandas", "polars", "csr", "coo", "masked", "sparse pandas"])
def test_test_then_train_accepts_frames_and_sparse_matrices(form, matrix, labels):
    absent_value = None
    names = list(range(6))
    if form in ("pandas", "polars", "sparse pandas"):
        names = list("abcdef")
    X = {
        "pandas": lambda: pd.DataFrame(matrix, columns=names),
        "polars": lambda: pl.DataFrame(matrix, schema=list("abcdef")),
        "csr": lambda: scipy.sparse.csr_array(matrix),
        "coo": lambda: scipy.sparse.coo_matrix(matrix),
        "masked": lambda: np.ma.masked_equal(matrix, 0.0),
        "sparse pandas": lambda: pd.DataFrame(matrix, columns=names).astype(
            pd.SparseDtype(float, 0.0)
        ),
    }[form]()
    if form in ("csr", "coo", "masked", "sparse pandas"):
        absent_value = 0.0
    samples, tested = omit_value(absent_value, names, matrix), new_model()
    predicted = tested.test_then_train(X, labels)
    one, expected = new_model(), []
    for x, y in zip(samples, labels, strict=True):
        expected.append(one.predict_one(x))
        one.learn_one(x, y)

    assert predicted == expected
    assert capture_state(one) == capture_state(tested)
    renamed = new_model()
    renamed.test_then_train(X, labels, features=[f"n{i}" for i in range(6)])
    assert sorted(f"n{i}" for i in range(6)) == sorted(renamed.features_)


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

    assert states == states[:1] * len(states)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda m: m.learn_one([1.0], "a"), "a sample is of type list: pass a dict of features"),
        (lambda m: m.predict_one(np.ones(2)), "a sample is of type ndarray: pass a dict"),
        (lambda m: m.predict_proba_one([1.0]), "a sample is of type list: pass a dict"),
        (lambda m: m.learn_many(np.ones((1, 2)), ["a"]), "features are of type ndarray: pass a"),
        (lambda m: m.predict_many([[1.0]]), "features are of type list: pass a pandas"),
        (
            lambda m: m.learn_many(pd.DataFrame([[1, 2]], columns=["a", "a"]), ["x"]),
            "two features are called 'a': give each its own name",
        ),
        (
            lambda m: m.learn_many(pd.DataFrame([[1, 2]]), pd.DataFrame([["x", "y"]])),
            r"labels of shape \(1, 2\) are not a single column",
        ),
        (
            lambda m: m.test_then_train(scipy.sparse.csr_array(np.ones((1, 2)) * 1j), ["x"]),
            "features of type complex128 are not numbers",
        ),
        (
            lambda m: m.test_then_train(np.ones((1, 2)), ["x"], features=["a"]),
            "the number of features is 2, but the number of names is 1",
        ),
        (
            lambda m: m.learn_many(pd.DataFrame({"a": [1, 2]}), ["x", "x"], w=np.array([1, -0.5])),
            "sample weight -0.5 is not a finite number",
        ),
        (
            lambda m: m.learn_many(pd.DataFrame({"a": [1, 2]}), ["x", "x"], w=[1.0]),
            "the number of sample weights is 1, but the number of samples is 2",
        ),
        (
            lambda m: m.learn_one({"a": 1.0, 10**3950: 1.0}, "x"),
            "a name that is a whole number has more than 3,900 digits: use a string",
        ),
    ],
)
def test_invalid_arguments_raise_sample_error(call, reason):
    perceptron = new_model()
    perceptron.learn_one({"a": 1.0}, "x")
    before = capture_state(perceptron)

    with pytest.raises(SampleError, match=reason):
        call(perceptron)
    assert capture_state(perceptron) == before


def test_numpy_and_python_seeds_are_equivalent(tmp_path):
    numpy_seeded = SGDPerceptron(classes=["x"], seed=np.uint64(2**63 + 5))
    python_seeded = SGDPerceptron(classes=["x"], seed=2**63 + 5)
    assert capture_state(python_seeded) == capture_state(numpy_seeded)
    files = [io.BytesIO(), io.BytesIO()]
    for file, perceptron in zip(files, (numpy_seeded, python_seeded), strict=True):
        save(perceptron, file)
        file.seek(0)
    loaded, _ = load(files[0])
    assert capture_state(numpy_seeded) == capture_state(loaded)
    assert files[0].getvalue() == files[1].getvalue()
