"""Arrow values that cannot be read: a cell's row is rejected, and a copied column ends the run."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import encode_ipc, write_parquet

from stream_perceptron import LiveModel

# The options that use the text column, by its role.
ROLES = {"label": ["--label", "t"], "cell": [], "category": ["--categorical", "t"]}
KINDS = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
TIME = pa.timestamp("ms")
TEXTS = [b"p", b"q", b"caf\xe9", b"p", b"q"]


def build_text_column(kind):
    """Return the texts as a column whose encoding has not been checked."""
    column = pa.array(TEXTS, pa.large_binary() if kind == pa.large_string() else pa.binary())
    column = column.view(pa.large_string() if kind == pa.large_string() else pa.string())
    return column.dictionary_encode() if pa.types.is_dictionary(kind) else column


def write_source(path, form, kind, labels):
    table = pa.table(
        {"a": [1.0, 2.0, 3.0, 4.0, 5.0], "t": build_text_column(kind), "o": range(5)} | labels
    )
    if form == "parquet":
        return write_parquet(path, table)
    path.write_bytes(encode_ipc(table, new_writer=getattr(pa.ipc, f"new_{form}")))
    return path


@pytest.mark.parametrize(
    ("role", "form", "kind"),
    [
        *((role, "parquet", KINDS[0]) for role in ROLES),
        *(("cell", form, kind) for form in ("stream", "file") for kind in KINDS),
    ],
)
def test_row_with_invalid_utf8_is_rejected(role, form, kind, tmp_path, run):
    labels = {} if role == "label" else {"label": ["x", "y", "x", "y", "x"]}
    source = write_source(tmp_path / "source", form, kind, labels)
    learn_args = ["learn", source, *ROLES[role], "--quiet"]
    rejected = tmp_path / "rejected.jsonl"

    error = run(*learn_args, cwd=tmp_path, check=1).stderr
    run(*learn_args, "-m", "m.npz", "--rejected", rejected, cwd=tmp_path, check=0)

    assert error == (
        f"Error: {source}: row 3: column 't' is not UTF-8; to skip such rows:\n  --skip-bad\n"
    )
    progress = LiveModel.load(tmp_path / "m.npz").progress
    assert (progress.samples, progress.skipped) == (4, 1)
    (line,) = map(json.loads, rejected.read_text().splitlines())
    assert line == {"source": str(source), "row": 3, "reason": "column 't' is not UTF-8"}


@pytest.mark.parametrize("values", [build_text_column(KINDS[0]), pa.array([2**62] * 5).view(TIME)])
def test_copied_column_that_python_cannot_read_ends_the_run(values, tmp_path, run):
    columns = {"a": [1.0, 2.0, 3.0, 4.0, 5.0], "t": values, "label": list("xyxyx")}
    source = write_parquet(tmp_path / "s.parquet", columns)
    error = run("learn", source, "--ignore", "t", "--keep", "t", "-p", "-", check=1).stderr

    assert error.splitlines()[-1].startswith(f"Error: {source}: column 't' cannot be read as ")


@pytest.mark.parametrize("form", ["json", "csv"])
def test_passthrough_values_of_any_type_are_written(form, tmp_path, run):
    times = pa.array([0, 1000]).view(pa.timestamp("ms"))
    columns = {"a": [1.0, 2.0], "t": times, "b": [float("nan"), 1.5], "y": list("xy")}
    source = write_parquet(tmp_path / "s.parquet", columns)
    options = ["--ignore", "b", "--keep", "t,b", "-p", "-", "--output-format", form]
    result = run("learn", source, *options, check=0)

    lines = result.stdout.splitlines()
    if form == "json":
        passthrough_values = [(row["t"], row["b"]) for row in map(json.loads, lines)]
        assert passthrough_values == [("1970-01-01 00:00:00", "nan"), ("1970-01-01 00:00:01", 1.5)]
    assert len(lines) == 2 + (form == "csv")


N_ROWS = 6000


@pytest.fixture(params=["page header", "values"])
def file_with_damaged_column(request, tmp_path):
    """A file whose column `note` cannot be decoded from its first row, or a later one, onward."""
    path = tmp_path / "damaged.parquet"
    notes = [f"note {i}" for i in range(N_ROWS)]
    columns = {"a": np.arange(N_ROWS) % 7.0, "note": notes, "label": ["x", "y"] * (N_ROWS // 2)}
    write_parquet(path, columns, use_dictionary=False, compression="none")
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    start = chunk.data_page_offset
    if request.param == "values":
        start += chunk.total_compressed_size // 2
    data[start : start + 400] = b"\xff" * 400
    path.write_bytes(data)
    return path


def test_unused_columns_are_not_decoded(file_with_damaged_column, tmp_path, run):
    command = ["learn", file_with_damaged_column, "--quiet", "--ignore", "note"]
    run(*command, "-m", tmp_path / "m.npz", check=0)
    result = run(*command, "-p", "-", "--keep", "note")

    assert LiveModel.load(tmp_path / "m.npz").progress.samples == N_ROWS
    assert result.returncode == 1
    assert "damaged after row" in result.stderr
