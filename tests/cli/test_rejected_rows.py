"""Rejected rows among valid ones."""

from __future__ import annotations

import json
import random
import re
import subprocess

import pytest
from helpers import (
    COMMAND,
    kill_after_saves,
    learn_from_pipe,
    load_outcome,
)


def make_invalid_csv_lines(n):
    cells = ["1"] * n
    return [
        ",".join(["left", *cells[1:]]),
        ",".join(["left", *cells, "1"]),
        ",".join(["left", *cells[1:], "1e999"]),
        ",".join(["left", *cells[1:], "1" + "0" * 400]),
        ",".join(['"left', *cells]),
        ",".join(["left", "\udcff1", *cells[1:]]),
        ",".join(["le\udcffft", *cells]),
        ",".join(["left", "1\r2", *cells[1:]]),
    ]


def make_invalid_json_lines(n):
    x = {f"a{i}": 1 for i in range(n)}
    text = json.dumps({"label": "left", **x})
    return [
        text[:-1],
        text + text,
        "",
        text.replace('"a1": 1', '"a0": 2'),
        text.replace('"a1": 1', '"a1": NaN'),
        text.replace('"a1": 1', '"a1": 1e999'),
        text.replace('"a1": 1', '"a1": -Infinity'),
        text.replace('"a1": 1', '"a1": 1' + "0" * 400),
        text.replace('"a1": 1', '"a1": 1' + "0" * 5000),
        text.replace('"a1": 1', '"a1": ' + "[" * 100_000),
        text.replace("left", "le\udcffft"),
        text.replace("left", "\\ud800"),
        json.dumps({"label": 3, **x}),
        json.dumps({"label": ["left"], **x}),
        "17",
        "null",
        '"left"',
    ]


def make_invalid_libsvm_lines(n):
    return ["left 1", "left a:b", "left 1:", "left 1:nan", "left 1:1e999", "le\udcffft 1:1"]


def draw_valid_lines(name, n):
    rng = random.Random(name)
    for _ in range(n):
        x = [round(rng.gauss(0, 1), 3) for _ in range(6)]
        y = "right" if x[0] + x[1] > 0 else "left"
        if name == "csv":
            yield ",".join([y, *map(str, x)])
        elif name == "json":
            yield json.dumps({"label": y, **{f"a{i}": v for i, v in enumerate(x)}})
        else:
            yield f"{y} " + " ".join(f"{i}:{v}" for i, v in enumerate(x))


# Each function returns invalid lines for a number of columns.
INVALID_LINES = {
    "csv": make_invalid_csv_lines,
    "json": make_invalid_json_lines,
    "libsvm": make_invalid_libsvm_lines,
}
HEADERS = {"csv": "label,a0,a1,a2,a3,a4,a5", "json": None, "libsvm": None}


def encode_lines(lines):
    return "".join(line + "\n" for line in lines if line is not None).encode(
        errors="surrogateescape"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", INVALID_LINES)
def test_rejected_rows_can_be_repaired_and_learned(name, run, tmp_path):
    """Each of 1,000 invalid rows is written once, despite kill -9, and sed repairs it."""
    good = list(draw_valid_lines(name, 5000))
    number_start = re.compile(r"(?:(?<=[,:])|(?<=: ))(?=-?[0-9])")
    mark = "oops," if name == "csv" else "oops"
    mixed = [
        number_start.sub(mark, row, count=1) if i % 5 == 3 else row for i, row in enumerate(good)
    ]
    source, path, rejected = tmp_path / "rows", tmp_path / "m.npz", tmp_path / "rejected.jsonl"
    source.write_bytes(encode_lines([HEADERS[name], *mixed]))
    command = [
        COMMAND, "learn", source, "-m", path, "--rejected", rejected, "--save-every", "100",
        "--quiet",
    ]  # fmt: skip
    kills, rng = 0, random.Random(name)
    while kills < 3:
        process = subprocess.Popen(command)
        kills += kill_after_saves(process, path, rng.choice([1, 5]), rng.uniform(0, 0.01))
        process.wait()
    subprocess.run(command, check=True)
    rejected_rows = [json.loads(line) for line in rejected.read_text().splitlines()]
    lines = encode_lines([HEADERS[name], *(row["line"] for row in rejected_rows)])
    repaired = subprocess.run(["sed", f"s/{mark}//"], input=lines, capture_output=True, check=True)
    run("learn", "-m", path, input=repaired.stdout.decode(), check=0)
    usable = [row for i, row in enumerate(good) if i % 5 != 3]
    expected = encode_lines([HEADERS[name], *usable, *good[3::5]])
    learn_from_pipe(tmp_path / "expected.npz", [], expected)

    assert [row["row"] for row in rejected_rows] == list(range(4, 5001, 5))
    assert {row["source"] for row in rejected_rows} == {str(source)}
    assert [row["line"] for row in rejected_rows] == mixed[3::5]
    assert load_outcome(tmp_path / "expected.npz") == load_outcome(path)


@pytest.mark.parametrize("name", INVALID_LINES)
def test_rejected_lines_are_byte_identical_and_do_not_change_the_model(name, run, tmp_path):
    """Invalid UTF-8 is preserved, too."""
    good, bad = list(draw_valid_lines(name, 200)), [line for line in INVALID_LINES[name](6) if line]
    mixed = [row for i, line in enumerate(good) for row in (line, bad[i % len(bad)])]
    source, path, rejected = tmp_path / "rows", tmp_path / "m.npz", tmp_path / "rejected.jsonl"
    source.write_bytes(encode_lines([HEADERS[name], *mixed]))
    run("learn", source, "-m", path, "--rejected", rejected, check=0)
    rejected_rows = [json.loads(line) for line in rejected.read_text().splitlines()]
    learn_from_pipe(tmp_path / "clean.npz", [], encode_lines([HEADERS[name], *good]))

    assert encode_lines(row["line"] for row in rejected_rows) == encode_lines(mixed[1::2])
    assert all(row["reason"] for row in rejected_rows)
    assert load_outcome(path)[:4] == load_outcome(tmp_path / "clean.npz")[:4]
