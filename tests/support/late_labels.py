"""Random rows with late labels, files of these rows, and an oracle in plain Python."""

from __future__ import annotations

import random

import pyarrow as pa
from helpers import encode_ipc, write_csv, write_jsonl, write_parquet

FEATURE_NAMES = ("a", "b", "c")


class LateLabelOracle:
    """An oracle of --join, which processes rows one by one with a River model and a dict."""

    def __init__(self, model):
        self.model = model
        self.samples, self.predicted, self.tested = {}, {}, []  # pending samples first

    def process_row(self, number, row):
        """Process the row with this number."""
        key, y = row.get("id"), row.get("label")
        key = None if key in (None, "") else str(key)
        x = {name: row[name] for name in FEATURE_NAMES if row.get(name) is not None}
        if key is None or (y is None and not x) or bool(x) == (key in self.samples):
            return  # rejected
        if x:
            self.predicted[number] = self.model.predict_one(x)
            self.samples[key] = x, self.predicted[number], {"w": row["w"]} if "w" in row else {}
        if y is not None:
            x, predicted, weight = self.samples.pop(key)
            self.tested.append((predicted, y))
            self.model.learn_one(x, y, **weight)

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


def write_rows(path, form, rows):
    """Write rows to a file of a format; return the path."""
    if form == "json":
        return write_jsonl(path, rows)
    names = ("id", *FEATURE_NAMES, *["w"] * any("w" in row for row in rows), "label")
    columns = {name: [row.get(name) for row in rows] for name in names}
    if form == "csv":
        return write_csv(path, columns, zip(*columns.values(), strict=True))
    columns["id"] = [None if key is None else int(key) for key in columns["id"]]
    if form == "parquet":
        return write_parquet(path, columns, row_group_size=37)
    path.write_bytes(encode_ipc(pa.table(columns), 37))
    return path
