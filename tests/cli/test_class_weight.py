"""--class-weight: a factor of the sample weights for each class."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import write_jsonl

from stream_perceptron import LiveModel


@pytest.fixture
def rows(rng):
    x = rng.normal(size=(900, 2))
    y = np.where(x[:, 0] + rng.normal(size=900) > 2.5, "yes", "no").tolist()
    return [{"a": a, "b": b, "label": label} for (a, b), label in zip(x.tolist(), y, strict=True)]


def test_class_weights_multiply_the_weight_column(rows, tmp_path, run):
    for i, row in enumerate(rows):
        row["w"] = float(i % 3)
    for row in rows:
        row["both"] = row["w"] * {"yes": 5.0, "no": 0.5}[row["label"]]
    source = write_jsonl(tmp_path / "s.jsonl", rows)
    weights = ("--class-weight", "yes=5", "--class-weight", "no=0.5")
    path, expected_path = tmp_path / "a.npz", tmp_path / "b.npz"
    run("learn", source, "--weight", "w", "--ignore", "both", *weights, "-m", path, check=0)
    run("learn", source, "--weight", "both", "--ignore", "w", "--lr", 0.01, "-m", expected_path,
        check=0)  # fmt: skip
    model, expected = LiveModel.load(path).model, LiveModel.load(expected_path).model

    assert model.weights.tobytes() == expected.weights.tobytes()


def test_balanced_weights_count_late_labels_as_they_arrive(rows, tmp_path, run):
    late = [{"id": i, **{name: row[name] for name in "ab"}} for i, row in enumerate(rows)]
    labels = [{"id": i, "label": row["label"]} for i, row in enumerate(rows)]
    source = write_jsonl(tmp_path / "late.jsonl", [*late, *labels])
    in_order = write_jsonl(tmp_path / "rows.jsonl", rows)
    run("learn", source, "--join", "id", "--class-weight", "balanced", "-m", tmp_path / "a.npz",
        check=0)  # fmt: skip
    run("learn", in_order, "--class-weight", "balanced", "-m", tmp_path / "b.npz", check=0)
    model, expected = (LiveModel.load(tmp_path / name).model for name in ("a.npz", "b.npz"))

    assert model.weights.tobytes() == expected.weights.tobytes()
    assert model.network.class_counts.tolist() == expected.network.class_counts.tolist()
