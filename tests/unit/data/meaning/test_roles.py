"""The roles of columns and keys."""

from __future__ import annotations

import pytest

from stream_perceptron import SourceError
from stream_perceptron.data import ReadOptions, ReadRequest, open_source
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.meaning.roles import (
    CATEGORICAL,
    CELL,
    IGNORE,
    LABEL,
    UNKNOWN,
    VECTOR,
    WEIGHT,
    Roles,
    require_one_role,
)
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.text.jsonl import JsonFormat

OPTIONS = ReadOptions(label="t", weight="w", ignore=("i",), position=("o",), categorical=("c",))


def build(layout, schema=None, **request):
    return Roles(
        layout, ReadRequest(layout.read_options, schema or Schema(), **request), "f", False
    )


def test_options_name_roles_and_other_keys_are_cells():
    roles = build(Layout(JsonFormat(), OPTIONS, "t"))
    actions = {path: roles.find_cell_action(path, False) for path in ("t", "w", "i", "o", "c", "x")}

    assert actions == {
        "t": LABEL, "w": WEIGHT, "i": IGNORE, "o": IGNORE, "c": CATEGORICAL, "x": CELL,
    }  # fmt: skip
    assert not roles.unknown_names


def test_rows_to_predict_use_only_what_the_model_has():
    schema = Schema(label="t", columns=("a", "t"))
    roles = build(
        Layout(JsonFormat(), ReadOptions(), "t"), schema, to_learn=False, string_columns={"s": 1}
    )
    actions = [roles.find_cell_action(path, path == "b") for path in ("a", "b", "s", "z")]

    assert roles.default == UNKNOWN
    assert actions == [CELL, CELL, CELL, IGNORE]
    assert list(roles.unknown_names) == ["z"]


def test_keys_beside_a_list_are_unused():
    roles = build(Layout(JsonFormat(), OPTIONS, "t", key="pixels", element_names=("p0",)))

    assert [roles.find_cell_action(path, False) for path in ("pixels", "c", "x")] == [
        VECTOR, IGNORE, IGNORE,
    ]  # fmt: skip
    assert list(roles.unused_names) == ["c", "x"]


def test_label_is_sought_in_the_first_records_only_if_it_is_not_known():
    layout = Layout(JsonFormat(), ReadOptions())
    unknown, later = build(layout), build(layout, n_records=99)
    assert {"label", "class", "target", "y"} == set(unknown.candidates)
    assert (unknown.label_records, later.label_records) == (100, 1)
    assert build(layout, n_records=500).label_records == 0
    assert build(Layout(JsonFormat(), ReadOptions(label="Kind"), "Kind")).candidates == ("kind",)
    assert build(Layout(JsonFormat(), OPTIONS, "t"), Schema(label="t")).candidates == ()


def test_two_keys_that_could_be_the_label_are_an_error():
    roles = build(Layout(JsonFormat(), ReadOptions()))
    roles.set_label("class")
    with pytest.raises(SourceError, match="f: 'class', 'Target' could each be the label"):
        roles.set_label("Target")
    assert roles.label == "class"
    roles.truncate(0)
    assert roles.label is None


@pytest.mark.parametrize("first", ["label", "weight", "join", "position", "ignore", "categorical"])
@pytest.mark.parametrize("other", ["label", "weight", "join", "position", "ignore", "categorical"])
def test_a_column_has_one_role_unless_it_is_no_feature_anyway(first, other):
    values = {name: ("x",) if name in ("position", "ignore", "categorical") else "x"
              for name in (first, other)}  # fmt: skip
    options = ReadOptions(**values)
    if first == other or {first, other} <= {"join", "position", "ignore"}:
        require_one_role(options, "f")
    else:
        with pytest.raises(SourceError, match="f: column 'x' cannot be in both --"):
            require_one_role(options, "f")


def test_first_record_that_shows_two_labels_is_reported(tmp_path):
    """Later ones are read in the same block."""
    path = tmp_path / "f.jsonl"
    path.write_text('{"a": 1}\n{"class": "u", "Y": "v"}\n{"target": "u", "label": "v"}\n')
    with pytest.raises(SourceError, match="'class', 'Y' could each be the label"):
        list(open_source(str(path)).batches(ReadRequest()))
