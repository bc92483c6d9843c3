"""Rejected rows among valid ones."""

from __future__ import annotations

import json
import random
import re
import subprocess

import pytest
from helpers import (
    COMMAND,
    capture_state,
    kill_after_saves,
    learn_from_pipe,
    load_outcome,
    run_with_peak_memory,
)

from stream_perceptron import LiveModel


def make_invalid_csv_lines(n):
    cells = ["1"] * n
    return [
        ",".join(["left", *cells[1:]]),
        ",".join(["left", *cells, "1"]),
        ",".join(["left", "abc", *cells[1:]]),
        ",".join(["left", "1 2", *cells[1:]]),
        ",".join(["left", "NaN", *cells[1:]]),
        ",".join(["left", *cells[1:], "1e999"]),
        ",".join(["left", *cells[1:], "1" + "0" * 400]),
        ",".join(['"left', *cells]),
        ",".join(["left", "\udcff1", *cells[1:]]),
        ",".join(["le\udcffft", *cells]),
        ",".join(["left", "1\r2", *cells[1:]]),
        ",".join(["left", '"1\n2"', *cells[1:]]),
    ]


def make_invalid_json_lines(n):
    x = {f"a{i}": 1 for i in range(n)}
    text = json.dumps({"label": "left", **x})
    return [
        text[:-1],
        text + text,
        "",
        json.dumps({"label": "left", **x, "a0": "abc"}),
        json.dumps({"label": "left", **x, "a0": [1]}),
        text.replace('"a1": 1', '"a1": NaN'),
        text.replace('"a1": 1', '"a1": 1e999'),
        text.replace('"a1": 1', '"a1": -Infinity'),
        text.replace('"a1": 1', '"a1": 1' + "0" * 400),
        text.replace('"a1": 1', '"a1": 1' + "0" * 5000),
        text.replace('"a1": 1', '"a1": ' + "[" * 100_000),
        text.replace("left", "le\udcffft"),
        text.replace("left", "\\ud800"),
        json.dumps({"label": "left"}),
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
def test_ten_thousand_invalid_rows_do_not_change_the_model(name, tmp_path, report_figure):
    rng = random.Random(1)
    good = list(draw_valid_lines(name, 20_000))
    kinds = [line for line in INVALID_LINES[name](6) if line]
    bad = [kinds[i % len(kinds)] for i in range(10_000)]
    # Deeply nested lines are long, and a few are enough.
    bad = [line if len(line) < 50_000 or rng.random() < 0.02 else kinds[0] for line in bad]
    mixed = [*((line, True) for line in good[1:]), *((line, False) for line in bad)]
    order = sorted(range(len(mixed)), key=lambda i: rng.random())
    valid_positions = iter(sorted(i for i, j in enumerate(order) if mixed[j][1]))
    shuffled: list[str] = [""] * len(mixed)
    for line in good[1:]:
        shuffled[next(valid_positions)] = line
    remaining_bad = iter(bad)
    shuffled = [line or next(remaining_bad) for line in shuffled]
    options = ["--lr", "0.1", "--seed", "0", "--json"]
    clean = learn_from_pipe(
        tmp_path / "clean.npz",
        options,
        encode_lines([HEADERS[name], *good]),
        stdout=subprocess.DEVNULL,
    )
    result = subprocess.run(
        [COMMAND, "learn", "-m", tmp_path / "mixed.npz", "--skip-bad", *options],
        input=encode_lines([HEADERS[name], good[0], *shuffled]), capture_output=True, check=True,
    )  # fmt: skip
    figures = json.loads(result.stdout)
    live = LiveModel.load(tmp_path / "mixed.npz")

    report_figure(
        f"bad rows, {name}: {figures['skipped']:,} skipped, {figures['samples']:,} learned"
    )
    assert capture_state(live.model) == capture_state(clean.model)
    assert (figures["samples"], figures["skipped"]) == (20_000, 10_000)
    assert live.progress.confusion.pairs.tolist() == clean.progress.confusion.pairs.tolist()
    assert len(figures["skipped_rows"]) == 10


@pytest.mark.parametrize("name", INVALID_LINES)
def test_line_of_100_mb_is_rejected(name, tmp_path):
    good = list(draw_valid_lines(name, 10))
    repeated = {"csv": "1,", "json": '{"a": [', "libsvm": "left 1:1 "}[name]
    long_line = repeated * (100_000_000 // len(repeated))
    source = tmp_path / "source"
    source.write_bytes(encode_lines([HEADERS[name], *good[:5], long_line, *good[5:]]))
    with source.open("rb") as file:
        result, peak = run_with_peak_memory(
            "learn", "-m", tmp_path / "m.npz", "--skip-bad", "--quiet", stdin=file
        )

    assert result.returncode == 0, result.stderr
    progress = LiveModel.load(tmp_path / "m.npz").progress
    assert (progress.samples, progress.skipped) == (10, 1)
    assert peak < 200


@pytest.mark.slow
@pytest.mark.parametrize("name", INVALID_LINES)
def test_rejected_rows_can_be_repaired_and_learned(name, run, tmp_path):
    """Each of 1,000 invalid rows is written once, despite kill -9, and sed repairs it."""
    good = list(draw_valid_lines(name, 5000))
    number_start = re.compile(r"(?:(?<=[,:])|(?<=: ))(?=-?[0-9])")
    mixed = [
        number_start.sub("oops", row, count=1) if i % 5 == 3 else row for i, row in enumerate(good)
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
    repaired = subprocess.run(["sed", "s/oops//"], input=lines, capture_output=True, check=True)
    run("learn", "-m", path, input=repaired.stdout.decode(), check=0)
    usable = [row for i, row in enumerate(good) if i % 5 != 3]
    expected = encode_lines([HEADERS[name], *usable, *good[3::5]])
    learn_from_pipe(tmp_path / "expected.npz", [], expected)

    assert [row["row"] for row in rejected_rows] == list(range(4, 5001, 5))
    assert {row["source"] for row in rejected_rows} == {str(source)}
    assert [row["line"] for row in rejected_rows] == mixed[3::5]
    assert load_outcome(tmp_path / "expected.npz") == load_outcome(path)


@pytest.mark.parametrize("name", ["csv", "json"])
def test_rejected_line_is_byte_identical_to_the_input(name, run, tmp_path):
    """Invalid UTF-8 is preserved, too."""
    bad = [line for line in INVALID_LINES[name](6) if line and len(line) < 10_000]
    data = encode_lines([HEADERS[name], *draw_valid_lines(name, 2), *bad])
    source, rejected = tmp_path / "rows", tmp_path / "rejected.jsonl"
    source.write_bytes(data)
    run("learn", source, "--rejected", rejected, check=0)
    rejected_rows = [json.loads(line) for line in rejected.read_text().splitlines()]

    assert encode_lines(row["line"] for row in rejected_rows) == encode_lines(bad)
    assert all(row["reason"] for row in rejected_rows)
