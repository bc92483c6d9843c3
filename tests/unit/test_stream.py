"""Reading sources of every format as River streams."""

from __future__ import annotations

import gzip
import io
import os
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import encode_csv, encode_jsonl

from stream_perceptron import SampleError, SourceError, stream

ROWS = [
    {"a": i % 7 - 3, "b": (i % 5) / 4, "label": "up" if i % 7 > 3 else "down"} for i in range(200)
]
SAMPLES = [({"a": float(row["a"]), "b": row["b"]}, row["label"]) for row in ROWS]


def encode_arrow():
    table, file = pa.Table.from_pylist(ROWS), io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def encode_parquet():
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


CONTENT_BY_FORMAT = {
    "csv": encode_csv([row.values() for row in ROWS], ["a", "b", "label"]),
    "tsv": encode_csv([row.values() for row in ROWS], ["a", "b", "label"], "\t"),
    "json": encode_jsonl(ROWS),
    "nested json": encode_jsonl(
        {"features": {"a": row["a"], "b": row["b"]}, "label": row["label"]} for row in ROWS
    ),
    "libsvm": "".join(f"{r['label']} a:{r['a']} b:{r['b']}\n" for r in ROWS).encode(),
    "arrow": encode_arrow(),
    "parquet": encode_parquet(),
    "gzip": gzip.compress(encode_jsonl(ROWS)),
}


@pytest.mark.parametrize("source_format", CONTENT_BY_FORMAT)
def test_every_format_yields_the_same_samples(source_format, tmp_path):
    path = tmp_path / "samples"
    path.write_bytes(CONTENT_BY_FORMAT[source_format])

    assert SAMPLES == list(stream.iter_source(path))
    assert SAMPLES + SAMPLES == list(stream.iter_source(str(path), path))


@pytest.mark.parametrize("source_format", ["csv", "json", "arrow"])
def test_samples_are_read_from_a_named_pipe(source_format, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    threading.Thread(target=lambda: path.write_bytes(CONTENT_BY_FORMAT[source_format])).start()

    assert SAMPLES == list(stream.iter_source(path))


def test_iter_source_applies_read_options(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("id,colour,a,w,class\n1,red,2,0.5,x\n2,?,,2,y\n")
    samples = stream.iter_source(
        path, weight="w", ignore=["id"], scale=10, one_hot=["colour"], missing=["?"]
    )

    assert list(samples) == [
        ({"colour_red": 1.0, "a": 20.0}, "x", {"w": 0.5}),
        ({}, "y", {"w": 2.0}),
    ]


def test_rows_before_an_invalid_row_are_yielded(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("a,class\n1,x\n2,y\nz,x\n")
    samples = stream.iter_source(path)

    assert [next(samples), next(samples)] == [({"a": 1.0}, "x"), ({"a": 2.0}, "y")]
    with pytest.raises(SampleError, match="row 3: column 'a' is 'z', not a number"):
        next(samples)
    with pytest.raises(SourceError, match="No such file"):
        stream.iter_source(tmp_path / "nothing.csv")
