"""Whether rows are lists of numbers, and what their elements are called."""

from __future__ import annotations

import pytest

from stream_perceptron import SourceError
from stream_perceptron.data import ReadOptions, ReadRequest, open_source
from stream_perceptron.data.layout import Layout
from stream_perceptron.data.meaning.lists import Lists
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.text.jsonl import JsonFormat

LAYOUT = Layout(JsonFormat(), ReadOptions())


def build(layout=LAYOUT, schema=None, is_raw=False, **request):
    return Lists(layout, ReadRequest(schema=schema or Schema(), **request), "f", is_raw)


def test_first_row_to_be_learned_decides():
    assert build().is_undecided
    assert not build(to_learn=False).is_undecided
    assert not build(is_raw=True).is_undecided
    assert not build(schema=Schema(is_list=False)).is_undecided
    assert not build(Layout(JsonFormat(), ReadOptions(), columns=("a",))).is_undecided


def test_elements_are_named_by_their_key_unless_the_model_has_named_them():
    lists = build()
    lists.decide_rows_are_lists("v", 2)
    assert (lists.next_layout.key, lists.next_layout.element_names) == ("v", ("v0", "v1"))
    assert lists.layout is LAYOUT

    schema = Schema(element_names=("v1", "v0"))
    given = build(lists.next_layout, schema)
    assert given.name_elements(2) == ()
    unnamed = build(Layout(JsonFormat(), ReadOptions(), key="v"), schema)
    assert unnamed.name_elements(2) == ("v1", "v0")
    assert unnamed.layout.element_names == ("v1", "v0")
    assert build().name_elements(2) == ()


def test_list_that_does_not_fit_the_model_is_an_error():
    for key, n in (("v", 3), ("w", 2)):
        with pytest.raises(SourceError, match=f"f: list '{key}' does not hold the model's feat"):
            build(schema=Schema(element_names=("v0", "v1"))).decide_rows_are_lists(key, n)
    with pytest.raises(SourceError, match=r"f: list 'v' has 1,000 values, more than a model may"):
        build(max_weights=1000).decide_rows_are_lists("v", 1000)


LISTS = {
    '{"v": [1, 2], "y": "p"}': True,
    '{"v": [1, 2], "a": 3, "y": "p"}': False,
    '{"v": [1, 2], "w": [3], "y": "p"}': False,
    '{"v": ["u", "v"], "y": "p"}': False,
    '{"a": 1, "y": "p"}': False,
}


@pytest.mark.parametrize("first", ['{"v": [], "y": "p"}', '{"y": "p"}', '{"v": [null], "Y ": "p"}'])
def test_label_of_rows_before_the_first_list_stays_the_label(first, tmp_path):
    path = tmp_path / "f.jsonl"
    label = "Y" if "Y" in first else "y"
    path.write_text(first + "\n" + f'{{"v": [1], "{label}": "q"}}\n' * 2)
    batches = open_source(str(path)).batches(ReadRequest())
    assert [label for batch in batches for label in batch.label_ids.tolist()] == [0, 1, 1]
    assert batches.columns.schema.label == label


@pytest.mark.parametrize("line", LISTS)
def test_rows_are_lists_if_the_first_has_no_other_feature(line, tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"a": 0}\n' + line + "\n")
    batches = open_source(str(path)).batches(ReadRequest())
    assert sum(map(len, batches)) == 2
    assert batches.columns.schema.is_list is LISTS[line]
