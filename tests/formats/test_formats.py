"""Each file beside this one is read as NAME.expected says, by every reader.

NAME.expected has a line of JSON for each row: its label and features, its weight unless that is 1,
or the reason for which it is rejected. NAME.options has the read options, if there are any. With
UPDATE_EXPECTED=1, the expected files are written anew.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import count_unread_bytes

from stream_perceptron.data import ReadOptions, ReadRequest, open_source

FOLDER = Path(__file__).parent
CASES = sorted(
    path for path in FOLDER.glob("[a-z]*/*") if path.suffix not in (".expected", ".options")
)
TEXT_CASES = [path for path in CASES if path.parent.name in ("csv", "json", "libsvm")]


def name_case(path):
    return f"{path.parent.name}/{path.name}"


def read_rows(source, options):
    """Return the rows of a source, as lines of an expected file."""
    lines = []
    for batch in source.batches(ReadRequest(ReadOptions(**options), keeps_zeros=True)):
        rows = zip(
            batch.list_labels(),
            batch.dicts(),
            batch.weights[batch.usable_rows].tolist(),
            strict=True,
        )
        for place in range(len(batch)):
            if place in batch.rejected:
                row = {"rejected": batch.rejected[place]}
            else:
                label, features, weight = next(rows)
                row = {"label": label, "features": dict(sorted(features.items()))}
                if weight != 1:
                    row["weight"] = weight
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return lines


def read_options(path):
    options = path.with_suffix(".options")
    return json.loads(options.read_text()) if options.exists() else {}


def read_expected(path):
    return path.with_suffix(".expected").read_text().splitlines(keepends=True)


@pytest.mark.parametrize("path", CASES, ids=name_case)
def test_a_file_is_read_as_expected(path):
    actual = read_rows(open_source(str(path)), read_options(path))

    if os.environ.get("UPDATE_EXPECTED"):
        path.with_suffix(".expected").write_text("".join(actual))
    assert actual == read_expected(path)


@pytest.mark.parametrize("path", TEXT_CASES, ids=name_case)
def test_lines_that_arrive_one_by_one_are_read_as_expected(path):
    reader, writer = os.pipe()

    def write_lines():
        with open(writer, "wb", buffering=0) as pipe, suppress(OSError):
            for line in path.read_bytes().splitlines(keepends=True):
                pipe.write(line)
                while count_unread_bytes(reader):
                    time.sleep(0.0005)

    threading.Thread(target=write_lines, daemon=True).start()
    try:
        actual = read_rows(open_source(f"/dev/fd/{reader}"), read_options(path))
    finally:
        os.close(reader)

    assert actual == read_expected(path)
