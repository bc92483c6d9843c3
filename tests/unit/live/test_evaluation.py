"""Evaluation counts predictions by label, whichever model made them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import write_jsonl

from stream_perceptron import LiveModel
from stream_perceptron.data import open_source
from stream_perceptron.live.evaluation import Evaluation


def train_model(path, labels):
    sources = [open_source(str(write_jsonl(path, make_rows(labels))))]
    live = LiveModel.start(sources, lr=1.0, seed=0)
    for _ in live.run(sources):
        pass
    return live


def make_rows(labels):
    """Return rows of which `x` tells the label."""
    return [{"x": i % len(labels), "label": labels[i % len(labels)]} for i in range(300)]


def test_model_that_replaces_another_may_predict_further_classes(tmp_path):
    first = train_model(tmp_path / "first.jsonl", ["a", "b"])
    second = train_model(tmp_path / "second.jsonl", ["c", "d"])
    evaluation, labels, predictions = Evaluation(first.model.classes_), [], []
    rows = [row | {"label": "c"} for row in make_rows(["c", "d"])]  # d is predicted only
    for live in (first, second):
        source = open_source(str(write_jsonl(tmp_path / "rows.jsonl", rows)))
        for batch in live.batches(source):
            result = live.predict(batch)
            evaluation.update(result)
            labels += result.labels
            predictions += result.predictions

    n_right = np.count_nonzero(np.array(labels) == np.array(predictions))
    assert set(predictions) == {"a", "b", "c", "d"}
    assert evaluation.accuracy == pytest.approx(n_right / 600)
    assert sum(n for _, _, n in evaluation.figures()["pairs"]) == 600
