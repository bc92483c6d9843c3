"""What is reported about columns, once each."""

from __future__ import annotations

import pytest

from stream_perceptron.data import ReadOptions, ReadRequest, open_source

NOTES = {
    "a,y\n1,p\nred,q\nblue,p\n": ["'a' is 'red': a category, because it is not a number"],
    "a,y\nred,p\nblue,q\n": [],
    "a,y\n1,p\n2,q\n": [],
    "a,y\na long text of many words,p\n1,q\n": [],
    "a,y\n2024-03-05,p\n2024-03-06,q\n": [],
}


def read_notices(path, **request):
    batches = open_source(str(path)).batches(ReadRequest(**request))
    return [notice for batch in batches if batch is not None for notice in batches.columns.notices]


@pytest.mark.parametrize("text", NOTES)
def test_first_category_beside_numbers_is_reported(text, tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(text)
    described = set()
    assert [notice for _, notice in read_notices(path, described=described)] == NOTES[text]
    assert read_notices(path, described=described) == []


def test_categories_that_options_name_or_that_the_model_knows_are_not_reported(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("a,y\n1,p\nred,q\n")
    assert read_notices(path, read_options=ReadOptions(categorical=("a",))) == []
    assert read_notices(path, string_columns={"a": 1}) == []


def test_list_without_features_is_reported_once(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"a": 1, "l": [{"b": 1}], "y": "p"}\n' * 3)
    ((_, notice),) = read_notices(path)
    assert notice == "'l' is a list that has no features: it is ignored"
