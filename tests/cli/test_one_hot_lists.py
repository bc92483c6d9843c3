"""Lists of texts with --one-hot: a feature for each member."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_jsonl

from stream_perceptron import LiveModel


@pytest.fixture
def rows(rng):
    return [
        {
            "a": float(x),
            "tags": [None, [], *([str(t)] for t in "pq"), ["p", "q"], ["q", "r", "q"]][i % 6],
            "label": "xy"[int(x > 0)],
        }
        for i, x in enumerate(rng.normal(size=900))
    ]


def write_rows(path, rows):
    if path.suffix == ".jsonl":
        return write_jsonl(path, rows)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=200)
    return path


def load_sorted_weights(path):
    """Return the names of a model's features in alphabetical order, and their weights."""
    model = LiveModel.load(path).model
    order = np.argsort(model.features_)
    return [model.features_[i] for i in order], model.weights[:, order].tolist()


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_list_members_are_learned_like_one_hot_columns(form, rows, tmp_path, run):
    source = write_rows(tmp_path / f"s.{form}", rows)
    flat = [
        {name: row[name] for name in ("a", "label")} | {f"tags_{t}": 1 for t in row["tags"] or ()}
        for row in rows
    ]
    options = ["--no-standardize", "--lr", "0.1"]
    run("learn", source, "--one-hot", "tags", *options, "-m", tmp_path / "m.npz", check=0)
    run("learn", write_jsonl(tmp_path / "flat.jsonl", flat), *options, "-m", tmp_path / "flat.npz",
        check=0)  # fmt: skip

    assert load_sorted_weights(tmp_path / "m.npz") == load_sorted_weights(tmp_path / "flat.npz")
    assert load_sorted_weights(tmp_path / "m.npz")[0] == ["a", "tags_p", "tags_q", "tags_r"]
