"""Samples with the same values give bit-identical models in every form."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
from helpers import CASE_FACTOR, capture_state, write_csv, write_jsonl
from river.optim import schedulers

from stream_perceptron import FallingRate, LiveModel, SGDPerceptron, load, save
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.live.loop import learn
from stream_perceptron.model.activations import ACTIVATIONS
from stream_perceptron.model.results import TrainOptions, TrainResult
from stream_perceptron.model.rows import FeatureRows, as_samples
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.model.validation import as_row

N_MODELS = 100 * CASE_FACTOR


class Case:
    """Random cells (n, d), some of them absent, and labels, some of them missing."""

    def __init__(self, rng):
        self.rng = rng
        n, d = int(rng.integers(1, 30)), int(rng.integers(1, 20))
        self.cells = rng.integers(-4, 5, (n, d)) / 8
        self.is_bytes = bool(rng.random() < 0.3)
        if self.is_bytes:
            self.cells = rng.integers(0, 256, (n, d)).astype(float)
        self.cells[rng.random((n, d)) < rng.choice([0.0, 0.5])] = 0.0
        self.is_present = rng.random((n, d)) < rng.choice([0.3, 0.9, 1.0])
        # Some features appear only later.
        self.is_present &= np.arange(n)[:, np.newaxis] >= rng.integers(-n, n, d)
        self.names = tuple(f"f{i}" for i in rng.permutation(d).tolist())
        labels = rng.integers(0, int(rng.choice([1, 2, 4, 9, 20])), n).tolist()
        share = rng.choice([0.0, 0.3])
        self.labels = [None if rng.random() < share else f"l{label}" for label in labels]
        self.weights = rng.choice([0.0, 0.5, 1.0], n) if rng.random() < 0.5 else np.ones(n)
        self.parameters = {
            "lr": 1e-8 if self.is_bytes else 0.05,
            "epsilon": float(rng.choice([0.0, 0.3])),
            "activation": str(rng.choice(list(ACTIVATIONS))),
            "seed": int(rng.integers(1000)),
            "classes": None if rng.random() < 0.5 else ["l0", "l1"],
        }
        if not self.is_bytes:
            falling = FallingRate(0.05, 0.05 / rng.choice([1.1, 4.0]))
            self.parameters["lr"] = (0.05, falling, schedulers.InverseScaling(0.05))[
                rng.integers(3)
            ]
        self.is_scaled = bool(rng.random() < 0.4)

    def new_model(self):
        model = SGDPerceptron(**self.parameters)
        if self.is_scaled:
            model.network.scaler = Scaler()
        return model

    def generate_dicts(self):
        for row, is_present in zip(self.cells.tolist(), self.is_present.tolist(), strict=True):
            yield {
                name: value for name, value, p in zip(self.names, row, is_present, strict=True) if p
            }

    def find_labeled(self):
        return np.array([label is not None for label in self.labels])

    def split_rows(self):
        """Return random consecutive slices that cover the rows."""
        n = len(self.cells)
        bounds = sorted({0, n, *self.rng.integers(0, n + 1, 2).tolist()})
        return [slice(*pair) for pair in itertools.pairwise(bounds)]

    def learn_rows(self, rows, resumes=False):
        model, results = self.new_model(), []
        for part in self.split_rows():
            labels = self.labels[part]
            samples = as_samples(rows[part], labels, self.weights[part])
            results.append(model.train(samples, TrainOptions(with_scores=True)))
            if resumes and not self.is_scaled:
                file = io.BytesIO()
                save(model, file)
                model = load(io.BytesIO(file.getvalue())).model
        return model, TrainResult.concatenate(results)

    def learn_dicts(self):
        model = self.new_model()
        for x, label, w in zip(self.generate_dicts(), self.labels, self.weights, strict=True):
            if label is not None:
                model.learn_one(x, label, w)
        return model

    def build_columns(self, rows=slice(None)):
        """Return the cells of some rows by name; absent ones are None."""
        cells = np.where(self.is_present[rows], self.cells[rows], None)
        return dict(zip(self.names, cells.T.tolist(), strict=True))

    def learn_frames(self, build):
        """Learn the labeled rows as frames, in batches."""
        model, labeled = self.new_model(), np.flatnonzero(self.find_labeled())
        for part in self.split_rows():
            rows = labeled[(labeled >= part.start) & (labeled < part.stop)]
            if len(rows):
                labels = [self.labels[i] for i in rows]
                model.learn_many(build(self.build_columns(rows)), labels, self.weights[rows])
        return model

    def learn_file(self, path, resumes):
        """Learn a file, in two runs if `resumes` is true; return the model."""
        limits = [int(self.rng.integers(1, len(self.cells) + 1)), None] if resumes else [None]
        live = None
        for limit in limits:
            source = open_source(str(path))
            if live is None:
                live = LiveModel.start([source], ReadOptions(standardize=False), **self.parameters)
            for _ in learn(live, [source], limit=limit):
                pass
            live.save(path.with_suffix(".npz"))
            live = LiveModel.load(path.with_suffix(".npz"))
        return live.model


BUILDERS = {
    "pandas": lambda columns: pd.DataFrame(columns, dtype=float),
    "pandas, objects": lambda columns: pd.DataFrame(columns, dtype=object),
    "pandas, arrow": lambda columns: pd.DataFrame(columns, dtype="double[pyarrow]"),
    "polars": lambda columns: pl.DataFrame(columns, dict.fromkeys(columns, pl.Float64)),
    "pyarrow": lambda columns: pa.table({n: pa.array(x, pa.float64()) for n, x in columns.items()}),
}


def write_case(case, path):
    """Write the rows in the format that the suffix names."""
    columns = case.build_columns() | {"label": case.labels}
    if path.suffix == ".parquet":
        table = BUILDERS["pyarrow"](case.build_columns())
        pq.write_table(table.append_column("label", pa.array(case.labels, pa.string())), path)
        return path
    rows = zip(*columns.values(), strict=True)
    if path.suffix == ".csv":
        texts = ([f"{x:g}" if isinstance(x, float) else x for x in row] for row in rows)
        return write_csv(path, columns, texts)
    # Absent features are nulls, or omitted.
    return write_jsonl(path, (
        {n: x for n, x in zip(columns, row, strict=True)
         if x is not None or n == "label" or case.rng.random() < 0.5}
        for row in rows
    ))  # fmt: skip


@pytest.mark.slow
def test_every_sample_form_gives_identical_models(tmp_path):
    """Compare tables, sparse rows, dicts, frames, matrices and files, in any batches."""
    rng = np.random.default_rng(0)
    n_files = 0
    for number in range(N_MODELS):
        case = Case(rng)
        table = FeatureRows.from_table(case.names, case.cells, case.is_present)
        rows = [tuple(x) for x in case.generate_dicts()]
        order = {name: i for i, name in enumerate(case.names)}
        sparse = FeatureRows.from_rows(
            rows,
            [row[[order[n] for n in names]] for row, names in zip(case.cells, rows, strict=True)],
        )
        expected, results = case.learn_rows(table)
        resumed_model, resumed_results = case.learn_rows(sparse, resumes=True)
        models = {"sparse rows, resumed": resumed_model, "dicts": case.learn_dicts()}
        models |= {name: case.learn_frames(build) for name, build in BUILDERS.items()}
        is_labeled = case.find_labeled()
        if is_labeled.any():
            indices = np.nonzero(case.is_present)
            matrix = scipy.sparse.csr_matrix((case.cells[indices], indices), case.cells.shape)
            masked = np.ma.masked_array(case.cells, ~case.is_present)
            names = [*expected.classes_, None]
            for name, X in (("sparse matrix", matrix), ("masked array", masked)):
                models[name] = case.new_model()
                predicted = models[name].test_then_train(
                    X[is_labeled], [x for x in case.labels if x is not None], case.names,
                    w=case.weights[is_labeled],
                )  # fmt: skip
                assert predicted == [names[i] for i in results.predicted[is_labeled].tolist()]
        # Rows without any feature are rejected in files.
        is_file = is_labeled.any() and case.is_present.any(axis=1).all() and not case.is_scaled
        is_file &= (case.weights == 1).all()
        is_file &= not isinstance(case.parameters["lr"], schedulers.InverseScaling)
        if number % 2 == 0 and is_file:
            n_files += 1
            for name in ("csv", "jsonl", "parquet"):
                path = write_case(case, tmp_path / f"{number}.{name}")
                models[name] = case.learn_file(path, resumes=number % 4 == 0)

        for name, model in models.items():
            assert capture_state(expected) == capture_state(model), (number, name)
        for name in ("targets", "predicted", "errors", "updated", "scores"):
            np.testing.assert_array_equal(
                getattr(results, name), getattr(resumed_results, name), f"{number}: {name}"
            )
    assert n_files >= N_MODELS // 80


def test_unknown_names_change_no_bit_and_another_order_only_the_rounding():
    rng = np.random.default_rng(1)
    for number in range(N_MODELS):
        case = Case(rng)
        model, shuffled = case.learn_dicts(), case.new_model()
        for x, label, w in zip(case.generate_dicts(), case.labels, case.weights, strict=True):
            if label is not None:
                names = rng.permutation(list(x)).tolist()
                shuffled.learn_one({name: x[name] for name in names}, label, w)
        order = [shuffled.features_.index(name) for name in model.features_]
        np.testing.assert_allclose(model.weights, shuffled.weights[:, order], atol=1e-12)
        for x in case.generate_dicts():
            items = list(x.items())
            for i in range(3):
                items.insert(int(rng.integers(len(items) + 1)), (f"unknown{i}", 7.0))
            known, mixed = model.predict_proba_one(x), model.predict_proba_one(dict(items))
            assert list(known.items()) == list(mixed.items()), number


def test_names_that_a_row_adds_change_no_bit_of_its_prediction():
    rng = np.random.default_rng(2)
    for number in range(N_MODELS):
        case = Case(rng)
        model = case.new_model()
        for i, (x, label) in enumerate(zip(case.generate_dicts(), case.labels, strict=True)):
            items = list(x.items())
            items.insert(int(rng.integers(len(items) + 1)), (f"new{i}", 7.0))
            before = model.predict_proba_one(dict(items))
            samples = as_samples(as_row(dict(items)), [label], np.ones(1))
            score = model.train(samples, TrainOptions(with_scores=True)).scores[0]
            assert score == max(before.values()) if before else np.isnan(score), (number, i)
