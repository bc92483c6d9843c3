"""Why a cell cannot be used."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from helpers import write_csv, write_parquet

from stream_perceptron.data import ReadOptions, ReadRequest, open_source

RECORD, LISTS = '{"a": 1, "w": 1, "y": "u"}', '{"v": [1, 2], "y": "u"}'


def read_reason(path, **options):
    """Return the reason of the last row, and its code; None if the row is not rejected."""
    *_, batch = open_source(str(path)).batches(ReadRequest(ReadOptions(**options)))
    reason = batch.rejected.get(len(batch) - 1)
    return reason and (str(reason), reason.code)


def read_line_reason(tmp_path, first, line, **options):
    path = tmp_path / "f.jsonl"
    path.write_text(f"{first}\n{line}\n")
    return read_reason(path, **options)


# A cell, options, the start of the reason, and its code.
CELLS = [
    ('"a": 1e999', {}, "feature 'a' is not finite", "not_finite"),
    ('"a": 1e101', {"standardize": True},
     "feature 'a' is 1e+101, out of range: standardized features end at 1e100", "too_large"),
    ('"a": 1e101', {"standardize": True, "scale": 0.5},
     "feature 'a' is 1e+101, out of range", "too_large"),
    ('"a": 2e307', {"standardize": False, "scale": 10.0},
     "feature 'a' is 2e+307, too large for --scale 10", "too_large"),
    ('"a": "x", "a=x": 2', {}, "it has two values for feature 'a=x'", "duplicate"),
    ('"\\ud800": 1', {}, "an escape in it is half of a surrogate pair", None),
    ('"a": "\\ud800"', {}, "an escape in it is half of a surrogate pair", None),
    ('"w": -1', {"weight": "w"},
     "weight 'w' is '-1', not a finite number greater than or equal to 0", "weight"),
    ('"w": {"u": 1}', {"weight": "w"}, "weight 'w' is ", "weight"),
    (f'"w": "{"9" * 60}x"', {"weight": "w"}, f"weight 'w' is '{'9' * 50}', not a f", "weight"),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "options", "text", "code"), CELLS)
def test_reason_names_the_key_and_the_value(cell, options, text, code, tmp_path):
    reason = read_line_reason(tmp_path, RECORD, f'{{{cell}, "y": "u"}}', **options)

    assert reason[0].startswith(text)
    assert reason[1] == (code or reason[0])


@pytest.mark.parametrize("label", ["[1]", '{"u": 1}', '["u"]'])
def test_label_that_is_no_scalar_is_rejected(label, tmp_path):
    reason = read_line_reason(tmp_path, RECORD, f'{{"a": 1, "y": {label}}}')
    assert reason[0] == "label 'y' is not a number, a string or a bool"


@pytest.mark.parametrize(
    ("number", "options"),
    [("1e100", {"standardize": True}), ("2e100", {"standardize": True, "scale": 0.5}),
     ("1e308", {"standardize": False})],
)  # fmt: skip
def test_largest_numbers_are_used(number, options, tmp_path):
    assert read_line_reason(tmp_path, RECORD, f'{{"a": -{number}, "y": "u"}}', **options) is None
    vector = f'{{"v": [-{number}, 1], "y": "u"}}'
    assert read_line_reason(tmp_path, LISTS, vector, **options) is None


ONLY_NUMBERS = ": only numbers and bools can be learned; encode or drop it"
VECTORS = [
    ([1], "list 'v' has 1 value, not 2", "list_length"),
    ([[1, 2], [3, 4]], "list 'v' has 4 values, not 2", "list_length"),
    ([1, "x"], "feature 'v1' is 'x', a str" + ONLY_NUMBERS, "not_a_number"),
    ([1, [2]], "feature 'v1' is [2], a list" + ONLY_NUMBERS, "not_a_number"),
    ([{"b": 1}, 2], "feature 'v0' is {'b': 1}, a dict" + ONLY_NUMBERS, "not_a_number"),
    ([None, 1e101],
     "feature 'v1' is 1e+101, out of range: standardized features end at 1e100", "too_large"),
    (3, "it has no list 'v'", None),
    ([], "it has no list 'v'", None),
    ({"v": 1}, "it has no list 'v'", None),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "text", "code"), VECTORS)
def test_reason_names_the_element_of_a_list(cell, text, code, tmp_path):
    line = json.dumps({"v": cell, "y": "u"})

    assert read_line_reason(tmp_path, LISTS, line, standardize=True) == (text, code or text)


def test_number_of_a_list_that_is_infinite_or_too_deep_is_rejected(tmp_path):
    depths = {depth: "[" * depth + "1, 2" + "]" * depth for depth in (64, 65)}
    reasons = [
        read_line_reason(tmp_path, LISTS, f'{{"v": {vector}, "y": "u"}}')
        for vector in ("[1, -1e999]", *depths.values())
    ]

    assert reasons[0] == ("feature 'v1' is -inf, not finite: clean or drop it", "not_finite")
    assert reasons[1] is None
    assert reasons[2][0] == "list 'v' is nested too deeply"


OFFSETS = pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0")
NOT_UTF8 = pa.StringArray.from_buffers(2, OFFSETS, pa.py_buffer(b"a\xff"))
COLUMNS = {
    "column 's' is not UTF-8": {"s": NOT_UTF8, "y": ["u", "u"]},
    "column 'y' is not UTF-8": {"s": ["a", "b"], "y": NOT_UTF8},
    "column 'v' has 1 value, not 2": {"v": [[1, 2], [1]], "y": ["u", "u"]},
    "feature 'v1' is inf, not finite: clean or drop it": {
        "v": [[1, 2], [1, float("inf")]], "y": ["u", "u"],
    },
}  # fmt: skip


@pytest.mark.parametrize("text", COLUMNS)
def test_reason_names_the_column_of_a_table(text, tmp_path):
    assert read_reason(write_parquet(tmp_path / "f.parquet", COLUMNS[text]))[0] == text


def test_large_code_in_text_is_told_from_other_numbers(tmp_path):
    path = write_csv(tmp_path / "f.csv", ["a", "y"], [(1, "u"), ("1" * 400, "u")])
    assert read_reason(path)[0] == (
        "feature 'a' is not finite; if it is a code, name its column with --categorical"
    )
    assert read_reason(path, categorical=("a",)) is None
