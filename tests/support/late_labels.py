"""Random rows with late labels, files of these rows, and an oracle in plain Python."""

from __future__ import annotations

import copy
import datetime as dt
import random

import numpy as np
import pyarrow as pa
from helpers import (
    encode_csv,
    encode_ipc,
    write_jsonl,
    write_parquet,
)
from river import evaluate, metrics, stream

FEATURE_NAMES = ("a", "b", "c")
START = dt.datetime(2024, 1, 1)


class LateLabelOracle:
    """An oracle of --join, which processes rows one by one with a River model and a dict."""

    def __init__(self, model, max_pending=10**9):
        self.model, self.max_pending = model, max_pending
        self.samples, self.n_evicted = {}, 0  # pending samples, oldest first
        self.predicted, self.rejected, self.tested = {}, [], []

    def process_row(self, number, row):
        """Process the row with this number."""
        key, y = row.get("id"), row.get("label")
        key = None if key in (None, "") else str(key)
        x = {name: row[name] for name in FEATURE_NAMES if row.get(name) is not None}
        is_bad = key is None or (y is None and not x)
        if is_bad or bool(x) == (key in self.samples):
            self.rejected.append(number)
            return
        if x:
            self.predicted[number] = self.model.predict_one(x)
            self.samples[key] = x, self.predicted[number]
        if y is not None:
            x, predicted = self.samples.pop(key)
            self.tested.append((predicted, y))
            self.model.learn_one(x, y)
        if len(self.samples) > self.max_pending:
            del self.samples[next(iter(self.samples))]
            self.n_evicted += 1

    @property
    def accuracy(self):
        """The share of correct predictions among the samples with a label."""
        is_correct = [predicted == y for predicted, y in self.tested if predicted is not None]
        return sum(is_correct) / len(is_correct) if is_correct else 0.0


def draw_features(rng, has_gaps=True):
    """Return random features; with gaps, some are None, but never all."""
    x = {name: round(rng.gauss(0, 1), 3) for name in FEATURE_NAMES}
    for name in rng.sample(FEATURE_NAMES, rng.randrange(len(FEATURE_NAMES)) if has_gaps else 0):
        x[name] = None
    return x


def compute_label(x):
    return "right" if sum(value or 0.0 for value in x.values()) > 0 else "left"


def draw_rows(seed, n, n_ids=12):
    """Return random valid and invalid rows, whose IDs repeat."""
    rng, rows = random.Random(seed), []
    for _ in range(n):
        x, key = draw_features(rng), rng.randrange(n_ids)
        kind = rng.choices(["question", "label", "both", "neither"], [9, 8, 2, 1])[0]
        row = {"id": None if rng.random() < 0.04 else rng.choice([key, str(key)])}
        if kind in ("question", "both"):
            row |= x
        if kind in ("label", "both"):
            row["label"] = compute_label(x)
        # A null value may be written or left out.
        rows.append({name: v for name, v in row.items() if v is not None or rng.random() < 0.5})
    return rows


def draw_valid_rows(seed, n, max_delay=30):
    """Return n valid rows; labels come at once, up to `max_delay` rows later, or never."""
    rng, rows, due_labels, n_samples = random.Random(seed), [], {}, 0
    while len(rows) < n:
        if label_row := due_labels.pop(len(rows), None):
            rows.append(label_row)
            continue
        x, n_samples = draw_features(rng, has_gaps=False), n_samples + 1
        row = {"id": n_samples, **x}
        rows.append(row if rng.random() < 0.9 else row | {"label": compute_label(x)})
        due_index = len(rows) + rng.randrange(max_delay)
        if "label" not in rows[-1] and due_index not in due_labels and rng.random() < 0.95:
            due_labels[due_index] = {"id": n_samples, "label": compute_label(x)}
    return rows


def write_rows(path, form, rows, names=FEATURE_NAMES):
    """Write rows to a file of a format; return the path."""
    if form.startswith("json"):
        return write_jsonl(path, rows)
    columns = {name: [row.get(name) for row in rows] for name in ("id", *names, "label")}
    if form.startswith("csv"):
        cells = [
            ["" if cell is None else cell for cell in row]
            for row in zip(*columns.values(), strict=True)
        ]
        path.write_bytes(encode_csv(cells, list(columns)))
        return path
    columns["id"] = [None if key is None else int(key) for key in columns["id"]]
    for name, kind in (("pixels", pa.list_(pa.uint8())), ("colour", pa.string())):
        if name in columns:
            columns[name] = pa.array(columns[name], kind)
    if form.startswith("parquet"):
        return write_parquet(path, columns, row_group_size=37)
    path.write_bytes(encode_ipc(pa.table(columns), 37))
    return path


def draw_timing(seed, n):
    """Return a function that builds `moment` and `delay` of simulate_qa for n samples."""
    rng = np.random.default_rng(seed)
    gaps = rng.choice([0, 1, 1, 5, 60], n).tolist()
    delays = {
        0: lambda: np.full(n, rng.integers(0, 100)),
        1: lambda: rng.integers(0, 300, n),
        2: lambda: rng.exponential(200, n).round(),
        3: lambda: rng.choice([0, 1, 10**6], n),
    }[seed % 4]()
    moments = [START + dt.timedelta(seconds=int(passed)) for passed in np.cumsum(gaps)]

    def make_timing():
        clock = iter(moments)
        delay_iterator = iter(dt.timedelta(seconds=int(delay)) for delay in delays.tolist())
        return {"moment": lambda x: next(clock), "delay": lambda x, y: next(delay_iterator)}

    return make_timing


def draw_sparse_samples(seed, n):
    """Return random samples, each with a subset of the features."""
    rng, samples = random.Random(seed), []
    for _ in range(n):
        names = rng.sample([f"f{i}" for i in range(8)], rng.randrange(1, 8))
        x = {name: round(rng.gauss(0, 1), 3) for name in names}
        samples.append((x, rng.choice(["up", "down", "level"]) if x.get("f0", 1) > 0 else "up"))
    return samples


def simulate_with_river(samples, make_timing, model):
    """Return River's metric, its rows in order, and its predictions by the number of their row."""
    metric, row_numbers, rows, labeled_ids = metrics.Accuracy(), {}, [], []
    for i, x, y, *more in stream.simulate_qa(copy.deepcopy(samples), **make_timing()):
        rows.append({"id": i, **x, **(more[0] if more else {})} if y is None else {"id": i})
        if y is None:
            row_numbers[i] = len(rows)
        else:
            rows[-1]["label"] = y
            labeled_ids.append(i)
    steps = evaluate.iter_progressive_val_score(
        copy.deepcopy(samples), model, metric, step=1, yield_predictions=True, **make_timing()
    )
    predicted = [step["Prediction"] for step in steps]
    return metric, rows, {row_numbers[i]: y for i, y in zip(labeled_ids, predicted, strict=True)}


def require_same_results_as_river(live, results, model, metric, expected, tolerance=0.0):
    """Check that results equal those of River: bit by bit, or within a tolerance."""
    predictions, progress, names = {}, live.progress, model.classes_
    for result in results:
        predictions |= dict(zip(result.rows.tolist(), result.predictions, strict=True))
    assert {row: predictions[row] for row in expected} == expected
    assert live.model.classes_ == names
    assert sorted(live.model.features_) == sorted(model.features_)
    feature_ids = [live.model.features_.index(name) for name in model.features_]
    for ours, theirs in (
        (live.model.weights[:, feature_ids], model.weights),
        (live.model.biases, model.biases),
    ):
        if tolerance:
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
        else:
            assert ours.tobytes() == theirs.tobytes()
    assert metric.get() == progress.accuracy
    matrix = [[metric.cm[a][b] for b in names] for a in names]
    assert matrix == progress.confusion.matrix(range(len(names))).tolist()
    n = len(expected)
    assert (
        progress.samples, progress.unlabeled, progress.skipped, progress.rows
    ) == (n, n, 0, 2 * n)  # fmt: skip
    assert (live.pending.samples, live.pending.n_evicted) == ({}, 0)
