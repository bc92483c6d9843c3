"""The answers to the questions of the compiled reader, and what a rejected record leaves."""

from __future__ import annotations

import pytest
from helpers import write_csv, write_jsonl

from stream_perceptron.data import ReadRequest, open_source
from stream_perceptron.data.schema import Schema
from stream_perceptron.model.weights import count_weights


def read(path, **request):
    """Return the columns after the last row, and the labels and features of each row."""
    batches = open_source(str(path)).batches(ReadRequest(**request))
    labels, dicts = [], []
    for batch in batches:
        labels += batch.label_ids.tolist() if batch else []
        dicts += batch.dicts() if batch else []
    return batches.columns, labels, dicts


@pytest.mark.parametrize(
    "rejected",
    ['{"class": "v", "b": 1e999}', '{"class": "v", "b": 1} x', '{"s": "x", "class": "v", "s ": 1}'],
)
def test_rejected_record_adds_neither_names_nor_labels_nor_the_label_key(rejected, tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text(rejected + '\n{"a": 1, "y": "u"}\n' + rejected + "\n")
    columns, labels, dicts = read(path)

    assert (columns.labels.names, columns.features.names) == (["u"], ["a"])
    assert (columns.schema.label, columns.features.string_columns) == ("y", {})
    assert (labels, dicts) == ([-1, 0, -1], [{"a": 1.0}])


def test_known_key_of_the_label_and_new_spellings_of_a_label(tmp_path):
    rows = [{"y": label, "a": i} for i, label in enumerate(["u", "u ", "v", "u", None, "v"])]
    columns, labels, _ = read(write_jsonl(tmp_path / "f.jsonl", rows), labels=("v",))

    assert columns.labels.names == ["v", "u", "u "]
    assert labels == [1, 2, 0, 1, -1, 0]


def test_new_labels_leave_less_room_for_features(tmp_path):
    """Features that do not fit are ignored; the row of a label that does not fit is rejected."""
    rows = [
        {"a": 1, "y": "u"}, {"b": 1, "c": 1, "y": "u"}, {"a": 1, "d": 1, "y": "v"},
        {"e": 1, "a": 1, "y": "u"}, {"a": 1, "y": "w"}, {"a": 2, "y": "v"},
    ]  # fmt: skip
    path = write_jsonl(tmp_path / "f.jsonl", rows)
    columns, labels, dicts = read(path, max_weights=count_weights(2, 4))

    assert columns.reader.ignores_features
    assert columns.features.names == ["a", "b", "c", "d"]
    assert labels == [0, 0, 1, 0, -1, 1]
    assert dicts[3] == {"a": 1.0}


def test_schema_grows_with_the_rows_that_are_learned(tmp_path):
    unlabeled = write_jsonl(tmp_path / "u.jsonl", [{"a": 1}])
    labeled = write_jsonl(tmp_path / "l.jsonl", [{"a": 1, "y": 3}])
    table = write_csv(tmp_path / "t.csv", ["b", "y"], [(1, "3")])

    schemas = [read(path)[0].schema for path in (unlabeled, labeled, table)]
    assert [(s.label, s.label_type, s.columns, s.is_list) for s in schemas] == [
        (None, None, (), None), ("y", "int", (), False), ("y", "int", ("b", "y"), False),
    ]  # fmt: skip
    wider = write_csv(tmp_path / "w.csv", ["c", "b", "y"], [(1, 2, "3")])
    given = Schema(label="y", label_type="str", columns=("b", "y"))
    later = read(wider, schema=given)[0].schema
    assert (later.label_type, later.columns, later.later_columns) == ("str", ("b", "y"), ("c",))
    assert read(table, schema=given, to_learn=False)[0].schema is given
