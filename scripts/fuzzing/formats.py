"""Damaged files of every format: what is accepted equals what a plain parser makes of it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream_perceptron import LiveModel, StreamPerceptronError
from stream_perceptron.data import open_source
from stream_perceptron.data.batch import Batch
from stream_perceptron.data.schema import Selection
from stream_perceptron.data.source import Request
from stream_perceptron.data.text import reading

_MISSING = ["NA", "0", "7", "99", "255", "-9", "1", "red"]

Parser = Callable[[bytes, dict[str, float]], dict[str, float]]

# What means something to some format, or looks as if it did.
_PIECES = (
    b'"', b'""', b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\0", b" ", b":", b"#", b"{", b"}",
    b"[", b"]", b"nan", b"inf", b"null", b"true", b"1e999", b"1e400", b"-0", b"+1", b".5", b"5.",
    b"0x1", b"1_0", b"\xff", b"\xc3\xa9", b"\xef\xbb\xbf", b"9" * 400, b"label", b'"a":1,', b"-",
    b"\x1f\x8b", b"PAR1", b"ARROW1",
)  # fmt: skip


def case(rng: np.random.Generator, folder: Path) -> str:
    """Damage a file, read it, and learn it in two ways."""
    kind = str(rng.choice(["csv", "json", "lists", "libsvm", "parquet", "arrow"]))
    rows = _rows(rng)
    data = _damaged(rng, _file(kind, rows), 0 if rng.random() < 0.1 else 3)
    path = folder / ("f.csv.gz" if rng.random() < 0.1 else "f")
    path.write_bytes(gzip.compress(data, 1) if path.suffix else data)
    given = kind if kind in ("csv", "libsvm", "parquet", "arrow") else "jsonl"
    file_format = given if rng.random() < 0.5 else None
    has_columns = given != "libsvm"
    names = list(rows[0]) if rows else ["label", "a"]
    selection = Selection(
        standardize=bool(rng.random() < 0.3),
        one_hot=(str(rng.choice(names[1:])),) if has_columns and rng.random() < 0.3 else (),
        missing=(str(rng.choice(_MISSING)),) if rng.random() < 0.3 else (),
        keep=(str(rng.choice(names)),) if has_columns and rng.random() < 0.3 else (),
        join=str(rng.choice(names[1:])) if has_columns and rng.random() < 0.2 else None,
        waiting=int(rng.integers(1, 5)),
    )
    one, *told_of_one = _learn(path, file_format, selection, singly=False)
    other, *told_of_other = _learn(path, file_format, selection, singly=True)
    reading.tokenizer, compiled = None, reading.tokenizer
    try:
        third, *told_of_third = _learn(path, file_format, selection, singly=False)
    finally:
        reading.tokenizer = compiled
    assert told_of_one == told_of_other == told_of_third, f"{told_of_one!r}, {told_of_third!r}"
    error = told_of_one[0]
    for each in (other, third):
        if one is not None and each is not None:
            _require_alike(one, each)
    if error is not None:
        assert "\n" not in error
        return f"{kind} refused"
    assert one is not None
    is_bare = not (selection.one_hot or selection.missing or selection.kept)
    if kind in ("csv", "json", "lists", "libsvm") and is_bare:
        _compare_with_parser(path, file_format)
    return f"{kind} learned"


def _learn(
    path: Path, file_format: str | None, selection: Selection, singly: bool
) -> tuple[LiveModel | None, str | None, list[dict[str, Any]]]:
    """Return what was learned, what the error said that ended it, and what was kept of each row."""
    live, kept = None, []
    try:
        sources = [open_source(str(path), file_format)]
        live = LiveModel.start(sources, selection, lr=0.1, seed=0)
        cursor = live.resume(sources)
        for result in live.run(sources, cursor, skip_rejected=True, one_by_one=10**9 * singly):
            kept += result.carried or []
    except StreamPerceptronError as error:
        return live, str(error), kept
    return live, None, kept


def _require_alike(one: LiveModel, other: LiveModel) -> None:
    assert one.model.weights.tobytes() == other.model.weights.tobytes()
    assert one.model.features_ == other.model.features_
    assert one.schema == other.schema
    assert one.cursor == other.cursor
    assert _waiting(one) == _waiting(other)
    assert _statistics(one) == _statistics(other)
    for figure in ("samples", "skipped", "rows", "missing"):
        assert getattr(one.progress, figure) == getattr(other.progress, figure), figure


def _waiting(live: LiveModel) -> list[Any]:
    waiting = live.waiting
    return [waiting.forgotten, *((key, str(each)) for key, each in waiting.samples.items())]


def _statistics(live: LiveModel) -> bytes:
    scaler = live.model.network.snapshot().scaler
    return b"" if scaler is None else scaler.table.tobytes()


def _rows(rng: np.random.Generator) -> list[dict[str, Any]]:
    names = ["a", "b", "c"][: rng.integers(1, 4)]
    labels = [["x", "y"], [0, 1], ["007", "A"]][rng.integers(3)]
    decimals = int(rng.integers(0, 18))
    blanks, has_text = rng.random() * rng.integers(2), rng.random() < 0.3
    are_small, has_labels = rng.random() < 0.5, rng.random() < 0.2
    rows: list[dict[str, Any]] = []
    for _ in range(rng.integers(0, 9)):
        row: dict[str, Any] = {"label": None if rng.random() < 0.1 else labels[rng.integers(2)]}
        is_label = rng.random() < 0.2 * has_labels
        for name in names:
            value = round(float(rng.normal()), decimals)
            if are_small:
                value = int(rng.integers(0, 256))
            row[name] = None if rng.random() < blanks or (is_label and name != "a") else value
        if has_text:
            row["t"] = str(rng.choice(["red", "blue", "NA", 'a "b"', "two\nlines", "1"]))
            if rng.random() < blanks:
                row["t"] = None
        rows.append(row)
    return rows


def _file(kind: str, rows: list[dict[str, Any]]) -> bytes:
    names = list(rows[0]) if rows else ["label", "a"]
    if kind == "csv":
        sink = io.StringIO()
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerows([names, *(row.values() for row in rows)])
        return sink.getvalue().encode()
    if kind == "json":
        lines = [json.dumps(row) for row in rows]
    elif kind == "lists":
        lines = [
            json.dumps(
                {"label": r["label"], "x": [v for v in list(r.values())[1:] if v != r.get("t")]}
            )
            for r in rows
        ]
    elif kind == "libsvm":
        lines = [
            " ".join([str(v) if i == 0 else f"{i}:{v}" for i, v in enumerate(row.values()) if v])
            for row in rows
        ]
    else:
        table = pa.Table.from_pylist(rows or [{"label": "x", "a": 1.0}])
        sink = pa.BufferOutputStream()
        if kind == "parquet":
            pq.write_table(table, sink)
        else:
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        return bytes(sink.getvalue().to_pybytes())
    return "".join(line + "\n" for line in lines).encode()


def _damaged(rng: np.random.Generator, data: bytes, most: int) -> bytes:
    for _ in range(rng.integers(0, most + 1)):
        at, end = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        end = min(end, at + int(rng.integers(1, 30)))
        how = rng.integers(5)
        if how == 0:
            data = data[:at] + _PIECES[rng.integers(len(_PIECES))] + data[at:]
        elif how == 1:
            data = data[:at] + data[end:]
        elif how == 2:
            data = data[:end] + data[at:]
        elif how == 3:
            data = data[:at] + rng.bytes(end - at) + data[end:]
        else:
            data = data[:at] + _PIECES[rng.integers(len(_PIECES))] + data[end:]
    return data


def _compare_with_parser(path: Path, file_format: str | None) -> None:
    source = open_source(str(path), file_format)
    data = path.read_bytes() if path.suffix == "" else gzip.decompress(path.read_bytes())
    end = 0
    for batch in source.batches(Request(known=source.identities()[0])):
        ends = [] if batch.text is None else [end, *batch.text.ends]
        end = ends[-1] if ends else 0
        for place, x in zip(batch.rows.tolist(), _dicts(batch), strict=True) if ends else ():
            # The header stands before the first row, and so do blank lines.
            line = data[ends[place] : ends[place + 1]].strip(b"\r\n")
            parts = [line, line.partition(b"\n")[2].strip(b"\r\n")]
            found = {name: value for name, value in x.items() if value != 0.0}
            parsers = (_of_json, _of_libsvm, _of_csv)
            agree = (_agrees(parse, part, found) for parse in parsers for part in parts)
            assert any(agree), f"{line!r}: {found}"


def _agrees(parse: Parser, line: bytes, found: dict[str, float]) -> bool:
    try:
        return parse(line, found) == found
    except (ValueError, AttributeError, csv.Error):  # a line of another format
        return False


def _dicts(batch: Batch) -> list[dict[str, float]]:
    features = batch.features
    if hasattr(features, "dicts"):
        return [{str(name): v for name, v in x.items()} for x in features.dicts()]
    rows = features.numbers(np.float64).tolist()
    return [dict(zip(map(str, features.names), row, strict=True)) for row in rows]


def _of_json(line: bytes, found: dict[str, float]) -> dict[str, float]:
    """Return the features of a line that were found, as Python's parser sees them."""
    values: dict[str, Any] = {}
    for name, value in json.loads(line).items():
        if isinstance(value, list):
            values |= {f"{name}{i}": v for i, v in enumerate(value)}
        else:
            values[name] = value
    return _numbers(values, found)


def _of_libsvm(line: bytes, found: dict[str, float]) -> dict[str, float]:
    text = line.decode(errors="replace").split("#")[0]
    pairs = [pair.rpartition(":") for pair in text.split()]
    return _numbers({name: value for name, _, value in pairs}, found)


def _of_csv(line: bytes, found: dict[str, float]) -> dict[str, float]:
    """Which column is which stands in another line; the values must be among the cells."""
    text = line.decode(errors="surrogateescape").strip("\r\n\ufeff")
    (cells,) = csv.reader([text], delimiter=max(",\t;", key=text.count))
    numbers = {float(cell) for cell in cells if _is_number(cell)}
    numbers |= {float(cell.lower() == "true") for cell in cells}
    return {name: value for name, value in found.items() if value in numbers}


def _numbers(values: dict[str, Any], found: dict[str, float]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if name in found and _is_number(value) and float(value) != 0.0
    }


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False
