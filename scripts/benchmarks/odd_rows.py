"""Unusual values in rows, and files that grow."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import BENCH, LEARN, measure_memory, run_in_turns, run_process, section, spread, table
from forms import prepare_file

ROWS = 300_000
EVERY = (1, 10)  # every row or every tenth row has the unusual value
PLAIN = "plain"

NUMBERS = {
    PLAIN: "0.5", "missing": "", "blank before": " 0.5", "plus sign": "+0.5", "exponent": "5e-1",
    "quotes": '"0.5"', "TRUE": "TRUE", "17 digits": "0.12345678901234567",
    "21 digits": "123456789012345678901", "-0": "-0",
}  # fmt: skip
TEXTS = {
    PLAIN: "gift", "comma in quotes": '"a, b"', "doubled quotes": '"say ""x"""',
    "newline in quotes": '"two\nlines"', "umlaut": "Müller",
}  # fmt: skip
MEMBERS: dict[str, dict[str, Any]] = {
    PLAIN: {}, "object": {"h": {"u": 1}}, "object in object": {"h": {"u": {"v": 1}}},
    "null": {"z": None}, "escaped quote": {"t": 'a"b'}, "escaped umlaut": {"t": "Müller"},
    "ignored list of numbers": {"l": [1, 2]}, "ignored list of texts": {"l": ["a", "b"]},
    "empty object": {"h": {}}, "bool": {"z": True},
}  # fmt: skip


def draw_rows(n: int) -> Iterator[tuple[int, float, str]]:
    """Yield the number, a feature and the label of each row."""
    rng = random.Random(0)
    for i in range(n):
        a = rng.random()
        yield i, round(a, 4), "x" if a > 0.5 else "y"


def make_lines(form: str, value: Any, every: int) -> Iterator[str]:
    """Yield a file's lines; one row in `every` has the value, and the rest have a usual one."""
    if form == "JSON":
        for i, a, label in draw_rows(ROWS):
            yield json.dumps({"a": a, **({} if i % every else value), "label": label})
        return
    usual = NUMBERS[PLAIN] if form == "CSV, number" else TEXTS[PLAIN]
    yield "a,b,label"
    for i, a, label in draw_rows(ROWS):
        yield f"{a},{usual if i % every else value},{label}"


def write_file(form: str, name: str, value: Any, every: int) -> Path:
    def write(file: Any) -> None:
        file.writelines(f"{line}\n".encode() for line in make_lines(form, value, every))

    suffix = ".jsonl" if form == "JSON" else ".csv"
    return prepare_file(f"odd-{form}-{name}-{every}{suffix}".replace(" ", "_"), write)


@section("odd rows")
def odd_rows() -> str:
    """Time for 300,000 rows with an unusual value in all rows or every tenth, without start-up."""
    forms = {"CSV, number": NUMBERS, "CSV, text": TEXTS, "JSON": MEMBERS}
    one_row = BENCH / "odd-one.csv"
    BENCH.mkdir(parents=True, exist_ok=True)
    one_row.write_text("a,b,label\n0.5,1,x\n")
    tasks: dict[Any, Any] = {}
    for form, values in forms.items():
        for name, value in values.items():
            for every in EVERY if name != PLAIN else EVERY[:1]:
                options = ["--ignore", "l"] if "list" in name else []
                command = [*LEARN, write_file(form, name, value, every), *options]
                tasks[form, name, every] = partial(run_process, command)
    taken = run_in_turns(5, tasks | {"start": partial(run_process, [*LEARN, one_row])})
    start = taken["start"].median

    def compare_to_plain(form: str, name: str, every: int) -> str:
        plain = taken[form, PLAIN, 1].median - start
        return f"{(taken[form, name, every].median - start) / plain:.2f}"

    rows = []
    for form, values in forms.items():
        plain = taken[form, PLAIN, 1].median - start
        rows.append([form, PLAIN, f"{1e6 * plain / ROWS:.2f} us per row", ""])
        rows += [
            [form, name, *(compare_to_plain(form, name, every) for every in EVERY)]
            for name in values
            if name != PLAIN
        ]
    return table(["form", "value", "in each row", "in each tenth"], rows)


@section("growth")
def growth() -> str:
    """Time and peak memory of a whole process for rows of five numbers, as files grow."""
    rows = []
    for form in ("parquet", "csv", "jsonl"):
        for n in (100_000, 1_000_000, 10_000_000):
            command = [*LEARN, write_table(form, n)]
            runs = [measure_memory(command) for _ in range(3)]
            seconds = [run[0] for run in runs]
            peak = max(run[1] for run in runs)
            middle = sorted(seconds)[1]
            rows.append([form, f"{n:,}", spread(seconds), f"{1e6 * middle / n:.2f}", f"{peak:.0f}"])
    return table(["form", "rows", "seconds", "us per row", "peak memory in MB"], rows)


def write_table(form: str, n: int) -> Path:
    """Return the path of a table with five numbers and a label in each of n rows."""
    block_rows = 100_000

    def make_parts() -> Iterator[pa.Table]:
        rng = np.random.default_rng(0)
        for _ in range(0, n, block_rows):
            x = rng.normal(size=(block_rows, 5)).round(4)
            label = np.where(x.sum(axis=1) > 0, "up", "down")
            yield pa.table({**{f"x{j}": x[:, j] for j in range(5)}, "label": label})

    def write(file: Any) -> None:
        if form == "parquet":
            parts = make_parts()
            first = next(parts)
            with pq.ParquetWriter(file, first.schema) as writer:
                for part in (first, *parts):
                    writer.write_table(part)
            return
        if form == "csv":
            file.write(b"x0,x1,x2,x3,x4,label\n")
        for part in make_parts():
            *columns, labels = (column.to_pylist() for column in part.columns)
            for *x, label in zip(*columns, labels, strict=True):
                if form == "csv":
                    line = ",".join([*map(str, x), label])
                else:
                    line = json.dumps({f"x{j}": v for j, v in enumerate(x)} | {"label": label})
                file.write(line.encode() + b"\n")

    return prepare_file(f"growth-{n}.{form}", write)
