"""Cells that are kept as they are, and offsets."""

from __future__ import annotations

import re

import pytest
from helpers import write_csv, write_jsonl

from stream_perceptron import SampleError
from stream_perceptron.data import ReadOptions, ReadRequest, open_source
from stream_perceptron.data.batch import Offset, Redeliveries
from stream_perceptron.data.meaning.kept_cells import parse_offset
from stream_perceptron.model.rows import REJECTED

OPTIONS = ReadOptions(position=("topic", "o"))
LARGE = 2**63

INVALID = [
    (("t", "1.5"), True, "position 'o' is '1.5', not a whole number"),
    (("t", ""), True, "position 'o' is '', not a whole number"),
    (("t", "1" * 19 + "9"), True, "not a whole number"),
    (("t", str(LARGE)), True, f"position 'o' is {LARGE}, which is too large for an offset"),
    (("t", LARGE), False, "too large for an offset"),
    ((-LARGE - 1, 1), False, "position 'topic' is .* too large for an offset"),
    (("t", True), False, "position 'o' is 'True', not a whole number$"),
    (("t", 1.0), False, "position 'o' is '1.0', not a whole number$"),
    ((None, 1), False, "position 'topic' is 'None', not a whole number or a string"),
]


@pytest.mark.parametrize(("values", "is_text", "reason"), INVALID)
def test_invalid_offset_is_rejected(values, is_text, reason):
    with pytest.raises(SampleError, match=reason) as raised:
        parse_offset(OPTIONS, values, is_text)
    assert raised.value.code == "offset"


def test_offset_follows_its_partition():
    assert parse_offset(OPTIONS, ("t", " -7 "), is_text=True) == Offset(("t",), -7)
    assert parse_offset(OPTIONS, (3, LARGE - 1), is_text=False) == Offset((3,), LARGE - 1)


@pytest.mark.parametrize("write", [write_jsonl, None])
def test_redelivered_rows_are_marked_and_kept_cells_are_those_of_the_row(write, tmp_path):
    rows = [{"o": o, "k": f"k{i}", "a": i, "y": "u"} for i, o in enumerate([1, 2, 2, "x", 1, 3])]
    path = tmp_path / "rows"
    if write:
        write(path, rows)
    else:
        write_csv(path, list(rows[0]), (row.values() for row in rows))
    options = ReadOptions(position=("o",), keep=("k",))
    batches = open_source(str(path)).batches(ReadRequest(options, redeliveries=Redeliveries()))
    rows = [
        (batch.passthrough[i], bool(batch.status[i] < REJECTED), batch.rejected.get(i))
        for batch in batches
        for i in range(len(batch))
    ]

    assert [row[0] for row in rows if row[0]] == [(f"k{i}",) for i in range(6) if i != 3]
    assert [is_usable for _, is_usable, _ in rows] == [True, True, False, False, False, True]
    assert re.search("position 'o' is 'x', not a whole number", str(rows[3][2]))
    assert [reason for *_, reason in rows if reason is not None] == [rows[3][2]]
