"""The names and roles of the columns of a table."""

from __future__ import annotations

import pytest

from stream_perceptron import SourceError
from stream_perceptron.data import ReadOptions, ReadRequest
from stream_perceptron.data.layout import ColumnType, Kind
from stream_perceptron.data.meaning.tables import (
    find_default_label,
    find_table_layout,
    name_columns,
    require_distinct_names,
    resolve_columns,
)
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.text.csv import CsvFormat

CSV = CsvFormat("a,b,label")


def find_layout(columns, schema=None, types=None, label="label", to_learn=True, **options):
    read_options = ReadOptions(label=label, **options)
    request = ReadRequest(read_options, schema or Schema(), to_learn=to_learn, needs_label=to_learn)
    if types is not None:
        types = {name: ColumnType("list", types.get(name, Kind.NUMBER)) for name in columns}
    return find_table_layout(
        request, read_options, columns, "f", record_format=CSV, has_column_names=True, types=types
    )


def resolve(options, names, to_learn):
    return resolve_columns(ReadRequest(options), names, "f", to_learn)


def name_table(options, schema, n, label_position):
    return name_columns(ReadRequest(options, schema), n, label_position, "f")


LISTS = [
    ({"v": Kind.VECTOR}, ("a", "v", "label"), "v"),
    ({"v": Kind.LIST}, ("a", "v", "label"), None),
    ({"v": Kind.LIST}, ("v", "label"), "v"),
    ({"v": Kind.LIST, "o": Kind.OTHER}, ("v", "o", "label"), "v"),
    ({"v": Kind.STRING}, ("v", "label"), None),
    ({}, ("v", "label"), None),
]


@pytest.mark.parametrize(("types", "columns", "key"), LISTS)
def test_list_holds_the_features_if_rows_have_no_other(types, columns, key):
    assert find_layout(columns, types=types).key == key


def test_list_beside_which_there_were_other_features_is_a_cell():
    schema = Schema(columns=("v", "label"), label="label", is_list=False)
    assert find_layout(("v", "label"), schema, {"v": Kind.LIST}).key is None


ERRORS = [
    ({"columns": ("u", "v", "label"), "types": {"u": Kind.VECTOR, "v": Kind.VECTOR}},
     "columns 'u', 'v' could each be the features"),
    ({"columns": ("a", "b"), "label": None}, "there is no label column: none of 'a', 'b' is"),
    ({"columns": ("label",)}, "it has no columns to learn from"),
    ({"columns": ("a", "label"), "ignore": ("a",)}, "it has no columns to learn from"),
    ({"columns": ("b", "label"), "schema": Schema(columns=("a", "label"), label="label")},
     r"it lacks columns of the model \('a'\) and has 'b' instead"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "reason"), ERRORS)
def test_table_that_cannot_be_learned_is_refused(arguments, reason):
    with pytest.raises(SourceError, match=f"^f: {reason}"):
        find_layout(**arguments)


def test_columns_are_found_in_another_letter_case_and_exact_names_first():
    options = ReadOptions(label="Y", ignore=("A",), categorical=("c",), keep=("ID",))
    resolved = resolve(options, ["a", "A", " c ", "id", "y"], True)

    assert (resolved.label, resolved.ignore) == ("y", ("A",))
    assert (resolved.categorical, resolved.keep) == ((" c ",), ("id",))


@pytest.mark.parametrize("label", ["1", "-2", "2"])
def test_only_the_label_may_be_a_position(label):
    names = ["y", "b"] if label != "2" else ["b", "y"]
    options = ReadOptions(label=label, ignore=("1",))
    with pytest.raises(SourceError, match="there is no column '1' among"):
        resolve(options, names, True)
    assert resolve(ReadOptions(label=label), names, True).label == "y"


def test_rows_to_predict_may_lack_columns_but_not_kept_ones():
    options = ReadOptions(label="y", weight="w", ignore=("i",))
    resolved = resolve(options, ["a"], False)
    assert (resolved.label, resolved.weight, resolved.ignore) == (None, None, ())
    with pytest.raises(SourceError, match="there is no column 'k' to keep among 'a'"):
        resolve(ReadOptions(keep=("k",)), ["a"], False)


KNOWN = [
    {},
    {"schema": Schema(label="kind", columns=("class", "kind"))},
    {"schema": Schema(label="kind", columns=("a", "kind"), later_columns=("class",))},
    {"string_columns": {"class": 2}},
    {"names": ["a", "class"]},
]


@pytest.mark.parametrize("known", KNOWN, ids=str)
def test_label_of_another_name_is_found_unless_it_is_a_feature(known):
    request = ReadRequest(ReadOptions(label="kind"), **known)
    resolved = resolve_columns(request, ["a", "class"], "f", to_learn=False)
    assert resolved.label == (None if known else "class")


def test_default_label_of_a_model_is_found_again():
    request = ReadRequest(ReadOptions(), Schema(label="class", columns=("a", "class")))
    assert resolve_columns(request, ["a", "class"], "f", to_learn=True).label == "class"


def test_misspelt_column_is_suggested():
    with pytest.raises(SourceError, match="no label column 'specie' among .*mean 'species'"):
        resolve(ReadOptions(label="specie"), ["a", "species"], True)


def test_default_label_is_the_only_candidate_without_a_role():
    names = ["Target ", "y", "a"]
    assert find_default_label(ReadOptions(ignore=("y",)), names) == "Target "
    assert find_default_label(ReadOptions(categorical=("y",)), names) == "Target "
    assert find_default_label(ReadOptions(), ["a"]) is None
    with pytest.raises(SourceError, match="f: columns 'Target ', 'y' could each be the label"):
        resolve(ReadOptions(), names, True)


def test_names_are_distinct():
    require_distinct_names(["a", "b"], "f")
    with pytest.raises(SourceError, match="f: columns 2 and 4 are both called 'b'"):
        require_distinct_names(["a", "b", "c", "b"], "f")


def test_unnamed_columns_are_named_by_the_model():
    schema = Schema(label="kind", element_names=("p", "q"))
    assert name_table(ReadOptions(), schema, 3, 3) == ["p", "q", "kind"]
    assert name_table(ReadOptions(), schema, 2, 1) == ["p", "q"]
    assert name_table(ReadOptions(), Schema(), 3, 1) == ["label", "x0", "x1"]
    assert name_table(ReadOptions(label="2"), Schema(), 3, 3) == ["x0", "label", "x1"]
    options = ReadOptions(label="-1", weight="1")
    assert name_table(options, Schema(), 3, 3) == ["column 1", "x0", "label"]
