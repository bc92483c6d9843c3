"""Redelivered rows of Arrow data are learned once."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.csv
import pytest
from helpers import encode_ipc


@pytest.mark.parametrize("form", ["arrow", "file"])
def test_redelivered_rows_of_other_formats_are_read_once(form, tmp_path, run):
    """Rows 3 and 5 have no offset, and row 4 repeats row 2."""
    rows = [("p", 1, 0.5), ("p", 2, 1.5), ("p", None, 9.0), ("p", 2, 1.5), ("p", None, 9.0)]
    rows.append(("p", 3, 2.5))
    table = pa.table(
        {
            "p": [row[0] for row in rows],
            "o": pa.array([row[1] for row in rows], pa.int64()),
            "a": [row[2] for row in rows],
            "y": ["u", "v", "u", "v", "u", "v"],
        }
    )
    source, options = tmp_path / "source", ["--position", "p,o", "--json", "--quiet"]
    new_writer = pa.ipc.new_stream if form == "arrow" else pa.ipc.new_file
    source.write_bytes(encode_ipc(table, 2, new_writer))

    result = run("learn", source, *options, "--rejected", tmp_path / "r.jsonl", check=0)

    figures = json.loads(result.stdout)
    assert (figures["samples"], figures["skipped"], figures["redelivered"]) == (3, 2, 1)
    rejected = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert [row["row"] for row in rejected] == [3, 5]
