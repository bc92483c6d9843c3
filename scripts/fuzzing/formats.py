"""Damaged files of every format: accepted rows have the values that a plain parser reads."""

from __future__ import annotations

import csv
import gzip
import json
import math
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from splits import NULL_VALUES, RandomTable, write_table_file

from stream_perceptron import LiveModel, StreamPerceptronError
from stream_perceptron.data import open_source
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import Request, read_batches
from stream_perceptron.data.text import scanning

Features = dict[str, float]
Parser = Callable[[bytes], dict[str, Any] | list[Any]]

# The forms of tests/support/splits.py with their formats; plain parsers read the first five.
_FORMS = {
    "csv": "csv", "headerless": "csv", "objects": "jsonl", "lists of numbers": "jsonl",
    "libsvm": "libsvm", "nested": "jsonl", "paths": "jsonl", "lists": "jsonl",
    "parquet": "parquet", "arrow": "arrow",
}  # fmt: skip
_PLAIN = list(_FORMS)[:5]
# Texts that have a meaning in some format, or resemble such a text.
_SNIPPETS = (
    b'"', b'""', b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\0", b" ", b":", b"#", b"{", b"}",
    b"[", b"]", b"nan", b"inf", b"null", b"true", b"1e999", b"1e400", b"-0", b"+1", b".5", b"5.",
    b"0x1", b"1_0", b"\xff", b"\xc3\xa9", b"\xef\xbb\xbf", b"9" * 400, b"label", b'"a":1,', b"-",
    b"\x1f\x8b", b"PAR1", b"ARROW1",
)  # fmt: skip


def run_case(rng: np.random.Generator, folder: Path) -> str:
    """Damage a file, and learn it in blocks, row by row and without the compiled scanner."""
    table = RandomTable(random.Random(int(rng.integers(2**32))))
    form, missing = str(rng.choice([*_FORMS, *_PLAIN])), str(rng.choice(NULL_VALUES))
    path = folder / "f"
    rows = [table.row() for _ in range(rng.integers(0, 12))]
    write_table_file(path, form, rows, table.columns, table, missing, 0.0)
    data = path.read_bytes()
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    data = _damage(rng, data, 0 if rng.random() < 0.1 else 3)
    path = folder / ("f.csv.gz" if rng.random() < 0.1 else "f")
    path.write_bytes(gzip.compress(data, 1) if path.suffix else data)
    file_format = _FORMS[form] if rng.random() < 0.5 else None
    read_options = _draw_read_options(rng, table, form, missing)
    model, *results = _train_model(path, file_format, read_options, singly=False)
    single, *single_results = _train_model(path, file_format, read_options, singly=True)
    scanning.compiled, compiled = None, scanning.compiled
    try:
        plain, *plain_results = _train_model(path, file_format, read_options, singly=False)
    finally:
        scanning.compiled = compiled
    assert results == single_results == plain_results, f"{results!r}, {plain_results!r}"
    error = results[0]
    for other in (single, plain):
        if model is not None and other is not None:
            _require_equal_models(model, other)
    if error is not None:
        assert "\n" not in error.replace("\n  --", "")
        return f"{form} rejected"
    if form in _PLAIN and not (
        read_options.encodings or read_options.missing or read_options.passthrough
    ):
        _compare_with_parser(path, file_format)
    return f"{form} learned"


def _draw_read_options(
    rng: np.random.Generator, table: RandomTable, form: str, missing: str
) -> ReadOptions:
    """Return random read options for a table in a form."""
    names = [name for name in table.columns if name != table.label]
    if form == "libsvm":
        names = []
    elif form == "headerless":
        names = [str(i + 1) for i, name in enumerate(table.columns) if name in names]

    def draw_names(share: float) -> tuple[str, ...]:
        return (str(rng.choice(names)),) if names and rng.random() < share else ()

    label = table.label if table.label == "species" and form != "headerless" else None
    return ReadOptions(
        label=label if names else None,
        standardize=bool(rng.random() < 0.3),
        one_hot=draw_names(0.3),
        dates=draw_names(0.2),
        words=draw_names(0.2),
        missing=(missing,) if rng.random() < 0.3 else (),
        keep=draw_names(0.3),
        join=(draw_names(0.2) or (None,))[0],
        max_pending=int(rng.integers(1, 5)),
    )


def _train_model(
    path: Path, file_format: str | None, read_options: ReadOptions, singly: bool
) -> tuple[LiveModel | None, str | None, list[dict[str, Any]]]:
    """Return the model, the message of the error that ended the run, and passthrough values."""
    live, passthrough = None, []
    try:
        sources = [open_source(str(path), file_format)]
        live = LiveModel.start(sources, read_options, lr=0.1, seed=0)
        cursor = live.resume(sources)
        for result in live.run(sources, cursor, skip_rejected=True, n_single_rows=10**9 * singly):
            passthrough += result.copied_columns or []
    except StreamPerceptronError as error:
        return live, str(error), passthrough
    return live, None, passthrough


def _require_equal_models(one: LiveModel, other: LiveModel) -> None:
    def get_state(live: LiveModel) -> dict[str, Any]:
        scaler = live.model.network.snapshot().scaler
        figures = ("samples", "skipped", "rows", "missing")
        return {
            "weights": live.model.weights.tobytes(),
            "features": live.model.features_,
            "schema": live.schema,
            "cursor": live.cursor,
            "pending": (
                live.pending.n_evicted, [(key, str(x)) for key, x in live.pending.samples.items()]
            ),
            "statistics": b"" if scaler is None else scaler.statistics.tobytes(),
            **{figure: getattr(live.progress, figure) for figure in figures},
        }  # fmt: skip

    state, other_state = get_state(one), get_state(other)
    for name, value in state.items():
        assert value == other_state[name], name


def _damage(rng: np.random.Generator, data: bytes, max_changes: int) -> bytes:
    for _ in range(rng.integers(0, max_changes + 1)):
        at, end = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        end = min(end, at + int(rng.integers(1, 30)))
        piece = _SNIPPETS[rng.integers(len(_SNIPPETS))]
        # Insert a piece, delete, repeat, replace with random bytes, or replace with a piece.
        middle = (piece + data[at:end], b"", data[at:end] * 2, rng.bytes(end - at), piece)
        data = data[:at] + middle[rng.integers(5)] + data[end:]
    return data


def _compare_with_parser(path: Path, file_format: str | None) -> None:
    """Compare the features of each row with those that plain parsers read from its line."""
    source = open_source(str(path), file_format)
    data = path.read_bytes() if path.suffix == "" else gzip.decompress(path.read_bytes())
    end = 0
    for batch in read_batches(source, Request(known_fingerprint=source.fingerprints()[0])):
        ends = [] if batch.ends is None else [end, *batch.ends.tolist()]
        end = ends[-1] if ends else 0
        for row, x in zip(batch.rows.tolist(), batch.features.dicts(), strict=True):
            if ends:
                # The header and blank lines precede the first row.
                line = data[ends[row] : ends[row + 1]].strip(b"\r\n")
                parts = [line, line.partition(b"\n")[2].strip(b"\r\n")]
                features = {str(name): value for name, value in x.items() if value != 0.0}
                agree = (_agrees(parse, part, features) for parse in _PARSERS for part in parts)
                assert any(agree), f"{line!r}: {features}"


def _agrees(parse: Parser, line: bytes, features: Features) -> bool:
    try:
        values = parse(line)
    except (ValueError, AttributeError, csv.Error):  # a line in another format
        return False
    if isinstance(values, list):  # the column names are on another line
        return set(features.values()) <= {_parse_number(value) for value in values}
    numbers = {name: _parse_number(values[name]) for name in features if name in values}
    return {name: number for name, number in numbers.items() if number} == features


def _parse_json(line: bytes) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in json.loads(line).items():
        lists = isinstance(value, list)
        values |= {f"{name}{i}": v for i, v in enumerate(value)} if lists else {name: value}
    return values


def _parse_libsvm(line: bytes) -> dict[str, Any]:
    pairs = [pair.rpartition(":") for pair in line.decode(errors="replace").split("#")[0].split()]
    return {name: value for name, _, value in pairs}


def _parse_csv(line: bytes) -> list[Any]:
    text = line.decode(errors="surrogateescape").strip("\r\n\ufeff")
    (cells,) = csv.reader([text], delimiter=max(",\t;", key=text.count))
    return [*cells, *(cell.lower() == "true" for cell in cells)]


def _parse_number(value: Any) -> float | None:
    with suppress(TypeError, ValueError, OverflowError):
        return float(value) if math.isfinite(float(value)) else None
    return None


_PARSERS: tuple[Parser, ...] = (_parse_json, _parse_libsvm, _parse_csv)
