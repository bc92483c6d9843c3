"""What the rows of a source have had so far."""

from __future__ import annotations

import pytest
from helpers import write_csv, write_jsonl

from stream_perceptron.data import ReadOptions, ReadRequest, open_source
from stream_perceptron.data.meaning.occurrences import (
    find_numeric_columns,
    find_seen,
    find_string_columns,
    list_column_paths,
)


def read(path, options=None, **request):
    """Return the columns after the last row, and the last batch with rows."""
    batches = open_source(str(path)).batches(ReadRequest(options or ReadOptions(), **request))
    read = [batch for batch in batches if batch is not None and len(batch)]
    return batches.columns, read[-1]


ROW = {"n": 1, "s": "u", "d": "2024-03-05", "o": {"m": 2}, "x": None, "w": 3, "i": 4, "y": "v"}
OPTIONS = ReadOptions(label="y", weight="w", ignore=("i",), categorical=("c",))


def test_columns_are_told_by_what_rows_have_had(tmp_path):
    columns, batch = read(write_jsonl(tmp_path / "f.jsonl", [ROW]), OPTIONS)

    assert find_numeric_columns(columns) == ["n", "o.m"]
    assert find_string_columns(columns) == ["s", "d"]
    assert [*list_column_paths(columns, batch)] == ["n", "s", "d", "o", "o.m", "x", "w", "i", "y"]


def test_strings_of_another_source_do_not_count(tmp_path):
    columns, _ = read(write_jsonl(tmp_path / "f.jsonl", [{"n": 1, "y": "v"}]),
                      string_columns={"s": 1, "n": 1})  # fmt: skip
    assert find_string_columns(columns) == ["n"]


def test_elements_of_a_list_are_numbers(tmp_path):
    columns, _ = read(write_jsonl(tmp_path / "f.jsonl", [{"v": [0.5, 2], "y": "u"}] * 2))
    assert find_numeric_columns(columns) == ["v0", "v1"]


@pytest.mark.parametrize("key", ["y", " Y "])
def test_names_in_options_are_seen_in_rows_even_where_they_are_null(key, tmp_path):
    row = {key if name == "y" else name: cell for name, cell in ROW.items()}
    columns, _ = read(write_jsonl(tmp_path / "f.jsonl", [row]), OPTIONS)

    assert find_seen(columns, {"y", "w", "i", "c", "x"}) == {"y", "w", "i", "x"}


def test_rejected_records_show_no_paths(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text('{"a": 1e999, "y": "u"}\n{"b": 1, "y": "u"}\n')
    columns, batch = read(path)
    assert [*list_column_paths(columns, batch)] == ["b", "y"]


def test_header_tells_the_columns_of_a_table(tmp_path):
    path = write_csv(tmp_path / "f.csv", ["n", "s", "y"], [(1, "", "u")])
    columns, batch = read(path)

    assert list_column_paths(columns, batch) == ("n", "s", "y")
    assert find_seen(columns, {"s", "z"}) == {"s"}
    assert find_string_columns(columns) == []
