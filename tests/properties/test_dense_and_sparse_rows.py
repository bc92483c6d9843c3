"""Dicts, frames and rows with the same values give bit-identical models."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from helpers import CASE_FACTOR, capture_state

from stream_perceptron import SGDPerceptron
from stream_perceptron.model.activations import ACTIVATIONS
from stream_perceptron.model.rows import Rows, Samples, concatenate_rows
from stream_perceptron.model.scaler import Scaler

N_MODELS = 200 * CASE_FACTOR


def draw_case(rng):
    """Return cells (n, d), a mask of present cells, names, labels, and a model factory."""
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

    def new_model(is_scaled):
        model = SGDPerceptron(**parameters)
        if is_scaled:
            model.network.scaler = Scaler()
        n_extra = int(rng.integers(3)) if not is_scaled else 0
        model.network.add_names([*known, *(f"more{i}" for i in range(n_extra))], [])
        return model

    return cells, rng.random((n, d)) < 0.7, names, rng.integers(0, k, n).tolist(), new_model


def split_rows(rng, rows):
    n = len(rows)
    cuts = sorted({0, n, *rng.integers(0, n + 1, 2).tolist()})
    return [slice(start, end) for start, end in itertools.pairwise(cuts)]


def learn_blocks(rng, model, rows, labels):
    for part in split_rows(rng, rows):
        model.train(Samples(rows[part], labels[part], np.ones(len(labels[part]))))
    return get_learned_state(model)


def get_learned_state(model):
    scaler = model.network.snapshot().scaler
    names = sorted(name for name in model.features_ if name.startswith("f"))
    columns = [model.features_.index(name) for name in names]
    table = b"" if scaler is None else scaler.statistics[:, columns].tobytes()
    return model.weights[:, columns].tobytes(), *capture_state(model)[3:], table


def learn_dicts(model, rows, labels):
    for x, y in zip(rows.dicts(), labels, strict=True):
        model.learn_one(x, y)
    return get_learned_state(model)


def build_sparse_rows(cells, is_present, names):
    """Return sparse rows of the present cells."""
    columns = [np.flatnonzero(row) for row in is_present]
    return Rows.from_rows(
        [tuple(names[i] for i in of_row) for of_row in columns],
        [row[of_row] for row, of_row in zip(cells, columns, strict=True)],
    )


def learn_frame(model, frame, labels):
    model.learn_many(frame, labels)
    return get_learned_state(model)


@pytest.mark.slow
def test_every_sample_form_gives_the_same_bits(report_figure):
    rng = np.random.default_rng(0)
    for case in range(N_MODELS):
        cells, is_present, names, labels, new_model = draw_case(rng)
        is_nonzero = cells != 0
        table, nonzero = Rows.from_table(names, cells), Rows.from_table(names, cells, is_nonzero)
        forms = {
            "table": learn_blocks(rng, new_model(False), table, labels),
            "not zero": learn_blocks(rng, new_model(False), nonzero, labels),
            "some zeros": learn_blocks(
                rng,
                new_model(False),
                build_sparse_rows(cells, is_nonzero | is_present, names),
                labels,
            ),
            "joined": learn_blocks(
                rng, new_model(False), concatenate_rows([table[:1], nonzero[1:]]), labels
            ),
            "dicts": learn_dicts(new_model(False), table, labels),
            "few dicts": learn_dicts(new_model(False), nonzero, labels),
            "pandas": learn_frame(new_model(False), pd.DataFrame(cells, columns=names), labels),
        }
        if case % 4 == 0:
            matrix, model = scipy.sparse.csr_matrix(cells), new_model(False)
            model.test_then_train(matrix, labels, names)
            forms["matrix"] = get_learned_state(model)
            frame = pd.DataFrame.sparse.from_spmatrix(matrix, columns=names)
            forms["sparse frame"] = learn_frame(new_model(False), frame, labels)
            forms["polars"] = learn_frame(
                new_model(False), pl.DataFrame(cells, list(names)), labels
            )

        assert len(set(forms.values())) == 1, (case, {f: hash(v) for f, v in forms.items()})
    report_figure(f"the same bits in every form: {N_MODELS:,} models")


def test_every_form_gives_the_same_bits_with_a_scaler():
    rng = np.random.default_rng(1)
    for case in range(N_MODELS):
        cells, is_present, names, labels, new_model = draw_case(rng)
        if rng.random() < 0.3:
            is_present[:] = True
        table = Rows.from_table(names, cells, is_present)
        frame = pd.DataFrame(np.where(is_present, cells, np.nan), columns=names)
        forms = {
            "table": learn_blocks(rng, new_model(True), table, labels),
            "sparse": learn_blocks(
                rng, new_model(True), build_sparse_rows(cells, is_present, names), labels
            ),
            "dicts": learn_dicts(new_model(True), table, labels),
            "pandas": learn_frame(new_model(True), frame, labels),
        }

        assert len(set(forms.values())) == 1, (case, {f: hash(v) for f, v in forms.items()})
