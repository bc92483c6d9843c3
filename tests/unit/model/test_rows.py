"""All forms of a sample give bit-identical models."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from helpers import get_seeds

from stream_perceptron import SampleError, SGDPerceptron
from stream_perceptron.model.rows import Rows, concatenate_rows


def compute_abs_values(x):
    return {name: abs(value) for name, value in x.items()}


def test_rows_are_sliced_selected_and_concatenated(rng):
    """Compare the dicts of the results with those of the original rows."""
    cells = rng.integers(-1, 4, (20, 5))
    names = tuple("abcde")
    for is_present in (None, cells > 1, cells > 3):
        rows = Rows.from_table(names, cells, is_present)
        row_dicts = list(rows.dicts())
        indices = rng.integers(0, 20, 7)
        other = Rows.from_rows([("e", "x")], [np.array([1.0, 2.0])])

        assert row_dicts[3:9] == list(rows[3:9].dicts())
        assert [row_dicts[i] for i in indices.tolist()] == list(rows[indices].dicts())
        assert row_dicts == list(concatenate_rows([rows[:4], rows[4:4], rows[4:]]).dicts())
        assert list(concatenate_rows([rows, other]).dicts()) == [*row_dicts, {"e": 1.0, "x": 2.0}]
        largest = [max(map(abs, x.values()), default=0.0) for x in row_dicts]
        assert max(largest) == rows.max_abs()
        assert rows.compute_max_abs_by_name() == {
            a: max(x[a] for x in map(compute_abs_values, row_dicts))
            for a in names
            if all(a in x for x in row_dicts)
        }


def test_unused_names_are_removed_from_rows():
    rows = Rows(range(9000), np.array([0, 2, 3]), np.array([7, 900, 7], np.int32), np.ones(3))

    assert rows.without_unused_names().names == (7, 900)
    assert list(rows.dicts()) == list(rows.without_unused_names().dicts())


def test_duplicate_names_are_rejected_even_if_unused():
    matrix = scipy.sparse.csr_matrix(([1.0], ([0], [7])), shape=(1, 1000))
    model = SGDPerceptron(seed=0)
    with pytest.raises(SampleError, match="two features are called None"):
        model.test_then_train(np.ones((1, 2)), ["x"], features=[None, None])
    with pytest.raises(SampleError, match="two features are called 'a'"):
        model.test_then_train(matrix, ["x"], ["a", "a", *range(998)])

    assert model.features_ == []


@pytest.mark.parametrize("seed", get_seeds(20))
def test_first_rows_of_names_are_those_of_a_plain_search(seed):
    rng = np.random.default_rng(seed)
    max_rows, max_names = (30, 40) if seed < 15 else (3000, 8000)
    n, n_names = int(rng.integers(0, max_rows)), int(rng.integers(1, max_names))
    samples = [
        {int(i): 1.0 for i in rng.permutation(n_names)[: rng.integers(0, 6)]} for _ in range(n)
    ]
    name_ids = [i for sample in samples for i in sample]
    starts = np.cumsum([0, *map(len, samples)])
    names = tuple(f"n{i}" for i in range(n_names))
    rows = Rows(names, starts, np.array(name_ids, np.int32), np.ones(len(name_ids)))
    is_used = rng.random(n) < 0.7
    requested = np.flatnonzero(rng.random(n_names) < rng.choice([0.2, 0.9]))

    expected = {}
    for row in np.flatnonzero(is_used).tolist():
        for i in samples[row]:
            if i in requested:
                expected.setdefault(i, row)
    found, first_rows = rows.find_first_rows(requested, is_used)
    assert list(zip(found.tolist(), first_rows.tolist(), strict=True)) == list(expected.items())


@pytest.mark.parametrize("part", ["indices", "indptr"])
@pytest.mark.parametrize("number", [-1, 4, 5_000_000])
def test_damaged_sparse_matrix_is_rejected(part, number):
    matrix = scipy.sparse.csr_matrix(np.eye(3))
    getattr(matrix, part)[1] = number
    model = SGDPerceptron(seed=0)
    for features in (["a", "b", "c"], None):
        with pytest.raises(SampleError, match="the sparse matrix is damaged"):
            model.test_then_train(matrix, ["u", "v", "u"], features)

    assert model.features_ == []
