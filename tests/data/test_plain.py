"""The compiled reader of text says what the reference parsers say, to the bit."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from stream_perceptron.data import open_source, plain
from stream_perceptron.data.schema import Selection
from stream_perceptron.data.source import Request

pytestmark = pytest.mark.skipif(plain.text is None, reason="there is no compiler: install gcc")

PLAIN = (
    "0 -0 0.0 -0.0 1 -1 +1 01 1. .5 1.5 1e5 1E-5 1e+22 1e23 1e-22 1e-23 9007199254740992 0.1 "
    "9007199254740993 0.30000000000000004 123456789012345678 1234567890123456789012 5e-324 1e-400 "
    "2.2250738585072011e-308 1e308 1.8e308 1e999 3.14159265358979323846 8.5e-17 0x1 1_0 nan inf "
    "true null 1e 1e+ --1"
)
NUMBERS = [*PLAIN.split(), "", " ", " 2 ", "2 3", "9" * 200]


def read(path, selection, compiled):
    """Return all that is read, to the bit, and how many rows were read many at once."""
    kept, plain.text = plain.text, plain.text if compiled else None
    rows, rejected, labels, missing, schema = [], {}, [], 0, None
    try:
        for batch in open_source(str(path)).batches(Request(selection)):
            for x in batch.features.dicts():
                rows.append({name: np.float64(v).tobytes() for name, v in x.items()})
            labels += batch.labels
            rejected |= {batch.first_row + i: why for i, why in batch.rejected.items()}
            missing += 0 if batch.missing is None else int(batch.missing.sum())
            schema = batch.schema
    finally:
        plain.text = kept
    return rows, labels, rejected, missing, schema


def require_alike(path, selection=None):
    both = [read(path, selection or Selection(), compiled) for compiled in (True, False)]
    for one, other in zip(*both, strict=True):
        assert one == other
    return both[0]


@pytest.mark.parametrize("form", ["csv", "json", "list", "libsvm"])
def test_numbers_of_all_kinds(form, tmp_path):
    rng = random.Random(0)
    numbers = NUMBERS + [repr(rng.uniform(-1, 1) * 10 ** rng.randint(-30, 30)) for _ in range(500)]
    numbers += [str(rng.randint(-(2**60), 2**60)) for _ in range(100)]
    lines = []
    for i, text in enumerate(["1", "2", *numbers]):
        lines.append(
            {
                "csv": f"{i % 2},{text},1",
                "json": f'{{"y": {i % 2}, "a": {text or "?"}, "b": 1}}',
                "list": f'{{"x": [{text or "?"}, 1], "y": {i % 2}}}',
                "libsvm": f"{i % 2} 1:{text or '?'} 2:1",
            }[form]
        )
    path = tmp_path / "s"
    path.write_text("\n".join((["y,a,b"] if form == "csv" else []) + lines) + "\n")
    rows, *_ = require_alike(path)
    assert len(rows) > 500


@pytest.mark.parametrize("form", ["csv", "json", "list", "bare", "libsvm"])
def test_mutated_records(form, tmp_path):
    """Records with a byte changed, left out or doubled."""
    rng = random.Random(form)
    header, good = [], []
    for i in range(2000):
        x = [round(rng.gauss(0, 1), 3) for _ in range(4)]
        y = rng.choice(["left", "right"])
        record = {
            "csv": f"{x[0]},{y},{x[1]},{x[2]},{'' if i % 5 == 3 else x[3]}",
            "json": json.dumps({"a": x[0], "label": y, "b": x[1], "t": "word", "c": x[2]}),
            "list": json.dumps(
                {"label": y, "t": "word", "x": [None if i % 5 == 3 else x[0], *x[1:]]}
            ),
            "bare": json.dumps(x),
            "libsvm": f"{y} " + " ".join(f"{j}:{v}" for j, v in enumerate(x) if j != i % 7),
        }[form]
        good.append(record.encode())
    if form == "csv":
        header = [b"a,label,b,c,d"]
    pieces = [b"", b" ", *b'" , : \t \r x 1 - . e [ ] { } \xff \0 # null'.split(b" ")]
    lines = []
    for record in good:
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            at = rng.randrange(len(record))
            record = record[:at] + rng.choice(pieces) + record[at + rng.choice([0, 1, 1, 2]) :]
        lines.append(record)
    path = tmp_path / "s"
    path.write_bytes(b"\n".join([*header, good[0], good[1], *lines]) + b"\n")
    for selection in (Selection(), Selection(scale=0.5, missing=("word", "x"), ignore=())):
        rows, _, rejected, *_ = require_alike(path, selection)
        assert len(rows) > 500
        assert len(rejected) > 100


def test_plain_records_are_read_many_at_once(tmp_path, monkeypatch):
    """So that nothing but the first records comes to the reference parser."""
    from stream_perceptron.data.csv import CsvDecoder

    path = tmp_path / "s.csv"
    path.write_text("y,a\n" + "u,1.5\nv,2\n" * 3000)
    seen = []
    decode = CsvDecoder.decode
    monkeypatch.setattr(CsvDecoder, "decode", lambda self, r: seen.append(r) or decode(self, r))
    rows, *_ = read(path, Selection(), compiled=True)

    assert 6000 == len(rows)
    assert len(seen) < 5
