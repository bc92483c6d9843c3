"""Columns get the same roles in every format."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_perceptron.data import ReadOptions, ReadRequest, open_source

ROWS = [{"a": 1.5, "colour": "red", "w": 2, "label": "x"}, {"a": 2.5, "colour": "blue", "w": 1,
        "label": "y"}]  # fmt: skip


@pytest.fixture(params=["csv", "jsonl", "parquet", "arrow"])
def source(request, tmp_path):
    """Write the rows to a file of each format; return its path."""
    path, table = tmp_path / "rows", pa.Table.from_pylist(ROWS)
    if request.param == "csv":
        lines = [",".join(map(str, row)) for row in (ROWS[0], *(row.values() for row in ROWS))]
        path.write_text("\n".join(lines) + "\n")
    elif request.param == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif request.param == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize("label", [None, "label", "Label", "-1", "4"])
def test_columns_have_the_same_roles_in_every_format(label, source):
    keep = ("colour", "a", "label", "w")
    read_options = ReadOptions(label=label, weight="w", keep=keep)
    batches = list(open_source(str(source)).batches(ReadRequest(read_options)))

    assert [x for batch in batches for x in batch.dicts()] == [
        {"a": 1.5, "colour=red": 1.0},
        {"a": 2.5, "colour=blue": 1.0},
    ]
    assert [label for batch in batches for label in batch.list_labels()] == ["x", "y"]
    assert [w for batch in batches for w in batch.weights.tolist()] == [2.0, 1.0]
    passthrough = [tuple(map(str, values)) for batch in batches for values in batch.passthrough]
    assert passthrough == [("red", "1.5", "x", "2"), ("blue", "2.5", "y", "1")]
