"""Samples and rejections of JSON records."""

from __future__ import annotations

import json
import math

import pytest

from stream_perceptron import LiveModel
from stream_perceptron.data.opening import open_source


@pytest.mark.parametrize(
    ("rows", "expected_rows", "reasons"),
    [
        (  # An unlabeled row does not make a feature numeric.
            [{"a": 1, "y": 0}, {"a": 2, "y": 1}, {"a": 1, "e": 5}, {"a": 2, "e": "red", "y": 1}],
            [0, 1, 3], {},
        ),
        ([{"a": 1, "y": 0}, {"a": 1, "e": 5, "y": 0}, {"e": "red", "y": 1}],
         [0, 1], {2: "feature 'e'"}),
        ([{"e": None, "a": 1, "y": 0}, {"e": "", "a": 1, "y": 0}, {"e": "red", "a": 2, "y": 1}],
         [0, 1, 2], {}),
        ([{"x": [1, 2], "y": 0}, {"x": [1, 2], "tags": ["a"], "y": 0}], [0, 1], {}),
        ([{"x": [1], "tags": ["a"], "y": 0}, {"x": [1], "y": 0}], [0, 1], {}),
        ([{"a": 1, "y": 0}, {"a": 2, "features": {}, "y": 0}], [0, 1], {}),
        ([{"a": 1, "y": 0}, {"b": {"c": 2, "d": {"e": 3}}, "y": 1}, {"b.c": 1, "y": 0},
          {"b": {"c": 1}, "b.c": 2, "y": 0}], [0, 1, 2], {3: "it has two values for"}),
        ([{"a": 1, "y": 0}, {"a": 2, "y": 1}, {"a": 1, "y": 0}, {"a": 1, "e": 5, "y": None},
          {"a": 1, "e": "red", "y": 1}], [0, 1, 2, 4], {}),
        ([{"a": 1, "y": 0}, {"a": 2, "y": 1}, {"a": 1, "y": 0}, {"a": math.inf, "e": 5, "y": 0},
          {"a": 1, "e": "red", "y": 1}], [0, 1, 2, 4], {3: "feature 'a' is inf"}),
        ([{"a": math.inf, "e": 5, "y": 0}, {"a": 1, "e": "red", "y": 0}], [1],
         {0: "feature 'a' is inf"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_split", [False, True])
def test_only_learned_rows_determine_feature_types(
    rows, expected_rows, reasons, is_split, tmp_path
):
    """A single run and runs that resume after each row agree."""
    source, path = tmp_path / "s.jsonl", tmp_path / "m.npz"
    text = "".join(json.dumps(row) + "\n" for row in rows)
    source.write_text(text.replace("Infinity", "1e400"))  # valid JSON
    sources = [open_source(str(source))]
    live = LiveModel.start(sources, seed=0)
    learned_rows, rejected = [], {}
    for limit in range(1, len(rows) + 1) if is_split else [None]:
        for result in live.run(sources, live.plan_run(sources), limit=limit, skip_rejected=True):
            rows_and_labels = zip(result.rows.tolist(), result.labels, strict=True)
            learned_rows += [row - 1 for row, label in rows_and_labels if label is not None]
            for rejection in result.rejected:
                rejected[rejection.row - 1] = rejection.reason
        live.save(path)
        live = LiveModel.load(path)

    assert learned_rows == expected_rows
    assert reasons.keys() == rejected.keys()
    assert all(rejected[i].startswith(start) for i, start in reasons.items())
