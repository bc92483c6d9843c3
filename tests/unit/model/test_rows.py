"""All forms of a sample give bit-identical models."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from helpers import TIMES, state_of

from stream_perceptron import SampleError, SGDPerceptron
from stream_perceptron.model.activations import ACTIVATIONS
from stream_perceptron.model.rows import Rows, Samples, concatenate_rows
from stream_perceptron.model.scaler import Scaler

N_MODELS = 400 * TIMES


def random_case(rng):
    """Return cells (n, d), which of them are present, names, labels, and a function for a model."""
    n, d, k = (int(rng.integers(low, high)) for low, high in ((1, 30), (1, 40), (1, 21)))
    cells = rng.integers(-4, 5, (n, d)) / 8
    if rng.random() < 0.3:
        cells = rng.integers(0, 256, (n, d)).astype(float)
    cells[rng.random((n, d)) < rng.choice([0.0, 0.1, 0.8])] = 0.0
    names = tuple(f"f{i}" for i in rng.permutation(d).tolist())
    known = [names[i] for i in rng.permutation(d).tolist()]
    parameters = {
        "lr": 0.05 if cells.max() < 100 else 1e-8,
        "epsilon": float(rng.choice([0.0, 0.3])),
        "activation": str(rng.choice(list(ACTIVATIONS))),
        "seed": 0,
        "classes": range(k),
    }

    def fresh(is_scaled):
        model = SGDPerceptron(**parameters)
        if is_scaled:
            model.network.scaler = Scaler()
        more = int(rng.integers(3)) if not is_scaled else 0
        model.network.add_names([*known, *(f"more{i}" for i in range(more))], [])
        return model

    return cells, rng.random((n, d)) < 0.7, names, rng.integers(0, k, n).tolist(), fresh


def in_blocks(rng, rows):
    n = len(rows)
    cuts = sorted({0, n, *rng.integers(0, n + 1, 2).tolist()})
    return [slice(start, end) for start, end in itertools.pairwise(cuts)]


def learned(rng, model, rows, labels):
    for part in in_blocks(rng, rows):
        model.train(Samples(rows[part], labels[part], np.ones(len(labels[part]))))
    return outcome(model)


def outcome(model):
    scaler = model.network.snapshot().scaler
    names = sorted(name for name in model.features_ if name.startswith("f"))
    columns = [model.features_.index(name) for name in names]
    table = b"" if scaler is None else scaler.table[:, columns].tobytes()
    return model.weights[:, columns].tobytes(), *state_of(model)[3:], table


def by_dicts(rng, model, rows, labels):
    for x, y in zip(rows.dicts(), labels, strict=True):
        names = list(x)
        model.learn_one({names[i]: x[names[i]] for i in rng.permutation(len(x)).tolist()}, y)
    return outcome(model)


def shuffled(rng, cells, there, names):
    """Return rows that store these cells, each in its own order."""
    orders = [rng.permutation(np.flatnonzero(row)) for row in there]
    return Rows.from_rows(
        [tuple(names[i] for i in order) for order in orders],
        [row[order] for row, order in zip(cells, orders, strict=True)],
    )


def by_frame(model, frame, labels):
    model.learn_many(frame, labels)
    return outcome(model)


def test_the_same_bits_in_every_form(tell):
    rng = np.random.default_rng(0)
    for case in range(N_MODELS):
        cells, there, names, labels, fresh = random_case(rng)
        stored = cells != 0
        table, few = Rows.from_table(names, cells), Rows.from_table(names, cells, stored)
        forms = {
            "table": learned(rng, fresh(False), table, labels),
            "not zero": learned(rng, fresh(False), few, labels),
            "some zeros": learned(
                rng, fresh(False), shuffled(rng, cells, stored | there, names), labels
            ),
            "joined": learned(rng, fresh(False), concatenate_rows([table[:1], few[1:]]), labels),
            "dicts": by_dicts(rng, fresh(False), table, labels),
            "few dicts": by_dicts(rng, fresh(False), few, labels),
            "pandas": by_frame(fresh(False), pd.DataFrame(cells, columns=names), labels),
        }
        if case % 4 == 0:
            matrix, model = scipy.sparse.csr_matrix(cells), fresh(False)
            model.test_then_train(matrix, labels, names)
            forms["matrix"] = outcome(model)
            frame = pd.DataFrame.sparse.from_spmatrix(matrix, columns=names)
            forms["sparse frame"] = by_frame(fresh(False), frame, labels)
            forms["polars"] = by_frame(fresh(False), pl.DataFrame(cells, list(names)), labels)
        if (cells == cells.astype(np.uint8)).all():
            pixels = cells.astype(np.uint8)
            for of, mask in (("bytes", None), ("some bytes", stored)):
                rows = Rows.from_table(names, pixels, mask)
                forms[of] = learned(rng, fresh(False), rows, labels)

        assert len(set(forms.values())) == 1, (case, {f: hash(v) for f, v in forms.items()})
    tell(f"the same bits in every form: {N_MODELS:,} models")


def test_behind_a_scaler_the_same_bits_of_what_stores_the_same():
    rng = np.random.default_rng(1)
    for case in range(N_MODELS):
        cells, there, names, labels, fresh = random_case(rng)
        if rng.random() < 0.3:
            there[:] = True
        table = Rows.from_table(names, cells, there)
        frame = pd.DataFrame(np.where(there, cells, np.nan), columns=names)
        forms = {
            "table": learned(rng, fresh(True), table, labels),
            "sparse": learned(rng, fresh(True), shuffled(rng, cells, there, names), labels),
            "dicts": by_dicts(rng, fresh(True), table, labels),
            "pandas": by_frame(fresh(True), frame, labels),
        }
        if (cells == cells.astype(np.uint8)).all():
            rows = Rows.from_table(names, cells.astype(np.uint8), there)
            forms["bytes"] = learned(rng, fresh(True), rows, labels)

        assert len(set(forms.values())) == 1, (case, {f: hash(v) for f, v in forms.items()})


def abs_of(x):
    return {name: abs(value) for name, value in x.items()}


@pytest.mark.parametrize("scale", [1.0, 1 / 255, -0.3])
def test_parts_of_rows_and_what_they_hold(scale, rng):
    """Sliced, chosen, joined and renamed rows have the dicts of the original rows."""
    cells = rng.integers(0, 4, (20, 5)).astype(np.uint8)
    names = tuple("abcde")
    for there in (None, cells > 1, cells > 3):
        rows = Rows.from_table(names, cells, there, scale=scale)
        every = list(rows.dicts())
        some = rng.integers(0, 20, 7)
        other = Rows.from_rows([("e", "x")], [np.array([1.0, 2.0])])
        places = np.flatnonzero(rng.random(20) < 0.5).tolist()

        assert every[3:9] == list(rows[3:9].dicts())
        assert [every[i] for i in some.tolist()] == list(rows[some].dicts())
        assert every == list(concatenate_rows([rows[:4], rows[4:4], rows[4:]]).dicts())
        assert list(concatenate_rows([rows, other]).dicts()) == [*every, {"e": 1.0, "x": 2.0}]
        largest = [max(map(abs, x.values()), default=0.0) for x in every]
        assert max(largest) == rows.max_abs()
        added = [rng.choice(["a", "red", "blue"], 2).tolist() for _ in range(20)]
        added = [dict.fromkeys(names, 5.0) if i in places else {} for i, names in enumerate(added)]
        extended = list(rows.merge_features(Rows.from_dicts(added)).dicts())
        assert extended == [others | x for others, x in zip(added, every, strict=True)]
        assert rows.compute_max_abs_by_name() == {
            a: max(x[a] for x in map(abs_of, every)) for a in names if all(a in x for x in every)
        }


def test_names_that_do_not_occur_are_left_out_of_few_rows():
    rows = Rows(range(9000), np.array([0, 2, 3]), np.array([7, 900, 7], np.int32), np.ones(3))

    assert rows.without_unused_names().names == (7, 900)
    assert list(rows.dicts()) == list(rows.without_unused_names().dicts())


def test_equal_names_are_refused_whether_they_occur_or_not():
    matrix = scipy.sparse.csr_matrix(([1.0], ([0], [7])), shape=(1, 1000))
    model = SGDPerceptron(seed=0)
    with pytest.raises(SampleError, match="two features are called None"):
        model.test_then_train(np.ones((1, 2)), ["x"], features=[None, None])
    with pytest.raises(SampleError, match="two features are called 'a'"):
        model.test_then_train(matrix, ["x"], ["a", "a", *range(998)])

    assert model.features_ == []
