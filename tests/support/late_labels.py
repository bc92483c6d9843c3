"""Late labels: random rows, files of them, and an oracle in plain Python."""

from __future__ import annotations

import copy
import datetime as dt
import random

import numpy as np
import pyarrow as pa
from helpers import csv_lines, ipc, write_lines, write_parquet
from river import evaluate, metrics, stream

FEATURES = ("a", "b", "c")
START = dt.datetime(2024, 1, 1)


class Plain:
    """The oracle: processes rows one by one with a River model and a dict."""

    def __init__(self, model, most=10**9):
        self.model, self.most = model, most
        self.samples, self.n_evicted = {}, 0  # waiting samples, oldest first
        self.predicted, self.rejected, self.tested = {}, [], []

    def take(self, number, row):
        """Process a row, given its number."""
        key, y = row.get("id"), row.get("label")
        key = None if key in (None, "") else str(key)
        x = {name: row[name] for name in FEATURES if row.get(name) is not None}
        is_bad = key is None or (y is None and not x) or "oops" in x.values()
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
        if len(self.samples) > self.most:
            del self.samples[next(iter(self.samples))]
            self.n_evicted += 1

    @property
    def accuracy(self):
        """The share of correct predictions among samples whose label came."""
        hits = [predicted == y for predicted, y in self.tested if predicted is not None]
        return sum(hits) / len(hits) if hits else 0.0


def features(rng, has_gaps=True):
    """Return random features, at least one of them present."""
    x = {name: round(rng.gauss(0, 1), 3) for name in FEATURES}
    for name in rng.sample(FEATURES, rng.randrange(len(FEATURES)) if has_gaps else 0):
        x[name] = None
    return x


def label_of(x):
    return "right" if sum(value or 0.0 for value in x.values()) > 0 else "left"


def random_rows(seed, n, n_ids=12):
    """Return valid and invalid rows."""
    rng, rows = random.Random(seed), []
    for i in range(n):
        x, key = features(rng), rng.randrange(n_ids)
        kind = rng.choices(["question", "label", "both", "neither"], [9, 8, 2, 1])[0]
        row = {"id": None if rng.random() < 0.04 else rng.choice([key, str(key)])}
        if kind in ("question", "both"):
            row |= x
            if i > 30 and rng.random() < 0.04:
                row[rng.choice(FEATURES)] = "oops"
        if kind in ("label", "both"):
            row["label"] = label_of(x)
        # A key may be null or absent.
        rows.append({name: v for name, v in row.items() if v is not None or rng.random() < 0.5})
    return rows


def good_rows(seed, n, late=30, is_apart=0.9):
    """Return n valid rows; their labels come with them, up to `late` rows later, or never."""
    rng, rows, due, n_asked = random.Random(seed), [], {}, 0
    while len(rows) < n:
        if now := due.pop(len(rows), None):
            rows.append(now)
            continue
        x, n_asked = features(rng, has_gaps=False), n_asked + 1
        row = {"id": n_asked, **x}
        rows.append(row if rng.random() < is_apart else row | {"label": label_of(x)})
        at = len(rows) + rng.randrange(late)
        if "label" not in rows[-1] and at not in due and rng.random() < 0.95:
            due[at] = {"id": n_asked, "label": label_of(x)}
    return rows


def rows_for(form, seed, n=400):
    """Return valid and invalid rows for a format, and the names of their features."""
    rng, rows = random.Random(seed), random_rows(seed, n, 12 if n > 100 else 4)
    if not form.startswith(("csv", "json")):
        rows = [row for row in rows if "oops" not in row.values()]
    asked = [any(row.get(name) is not None for name in FEATURES) for row in rows]
    for row, is_asked in zip(rows, asked, strict=True):
        x = {name: row.pop(name) for name in FEATURES if name in row}
        if form.endswith("lists"):
            x = {"pixels": [rng.randrange(256) for _ in range(4)]} if is_asked else {}
        elif seed % 2:  # integers: bytes, or not
            some = [0, 7, 255, 300][: 3 + seed // 3 % 2]
            x = {name: rng.choice(some) if type(v) is float else v for name, v in x.items()}
        if is_asked and not form.endswith("lists"):
            x["colour"] = rng.choice(["red", "blue", None])
            if form.startswith("json") and rng.random() < 0.1:
                x[f"late{rng.randrange(9)}"] = 1.0
        if form == "json nested":
            x = {"features": x} if x else {}
        row |= x
    return rows, ("pixels",) if form.endswith("lists") else (*FEATURES, "colour")


def write_rows(path, form, rows, names=FEATURES):
    """Write rows in a format; return the path."""
    if form.startswith("json"):
        return write_lines(path, rows)
    columns = {name: [row.get(name) for row in rows] for name in ("id", *names, "label")}
    if form.startswith("csv"):
        cells = [
            ["" if cell is None else cell for cell in row]
            for row in zip(*columns.values(), strict=True)
        ]
        path.write_bytes(csv_lines(cells, list(columns)))
        return path
    columns["id"] = [None if key is None else int(key) for key in columns["id"]]
    for name, kind in (("pixels", pa.list_(pa.uint8())), ("colour", pa.string())):
        if name in columns:
            columns[name] = pa.array(columns[name], kind)
    if form.startswith("parquet"):
        return write_parquet(path, columns, row_group_size=37)
    path.write_bytes(ipc(pa.table(columns), 37))
    return path


def timing(seed, n):
    """Return a function that makes the moments and random delays of n samples."""
    rng = np.random.default_rng(seed)
    gaps = rng.choice([0, 1, 1, 5, 60], n).tolist()
    delays = {
        0: lambda: np.full(n, rng.integers(0, 100)),
        1: lambda: rng.integers(0, 300, n),
        2: lambda: rng.exponential(200, n).round(),
        3: lambda: rng.choice([0, 1, 10**6], n),
    }[seed % 4]()
    moments = [START + dt.timedelta(seconds=int(passed)) for passed in np.cumsum(gaps)]

    def fresh():
        clock = iter(moments)
        waits = iter(dt.timedelta(seconds=int(delay)) for delay in delays.tolist())
        return {"moment": lambda x: next(clock), "delay": lambda x, y: next(waits)}

    return fresh


def sparse(seed, n):
    """Return samples that each have some of the features."""
    rng, samples = random.Random(seed), []
    for _ in range(n):
        names = rng.sample([f"f{i}" for i in range(8)], rng.randrange(1, 8))
        x = {name: round(rng.gauss(0, 1), 3) for name in names}
        samples.append((x, rng.choice(["up", "down", "level"]) if x.get("f0", 1) > 0 else "up"))
    return samples


def by_river(samples, fresh, model):
    """Return River's metric, the rows in its order, and its predictions by question's row."""
    metric, asked, rows, answered = metrics.Accuracy(), {}, [], []
    for i, x, y, *more in stream.simulate_qa(copy.deepcopy(samples), **fresh()):
        rows.append({"id": i, **x, **(more[0] if more else {})} if y is None else {"id": i})
        if y is None:
            asked[i] = len(rows)
        else:
            rows[-1]["label"] = y
            answered.append(i)
    steps = evaluate.iter_progressive_val_score(
        copy.deepcopy(samples), model, metric, step=1, yield_predictions=True, **fresh()
    )
    predicted = [step["Prediction"] for step in steps]
    return metric, rows, {asked[i]: y for i, y in zip(answered, predicted, strict=True)}
