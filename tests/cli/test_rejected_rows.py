"""Rejected rows among valid ones."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import (
    COMMAND,
    chunks,
    kill_after_saves,
    learn_from_pipe,
    outcome_of,
    state_of,
    write_lines,
)

from stream_perceptron import LiveModel


def bad_csv_lines(n):
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


def bad_json_lines(n):
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


def bad_libsvm_lines(n):
    return ["left 1", "left a:b", "left 1:", "left 1:nan", "left 1:1e999", "le\udcffft 1:1"]


def good_lines(name, n):
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


BAD = {"csv": bad_csv_lines, "json": bad_json_lines, "libsvm": bad_libsvm_lines}


HEADER = {"csv": "label,a0,a1,a2,a3,a4,a5", "json": None, "libsvm": None}


def as_bytes(lines):
    return "".join(line + "\n" for line in lines if line is not None).encode(
        errors="surrogateescape"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_ten_thousand_bad_rows_among_good_ones(name, tmp_path, tell):
    rng = random.Random(1)
    good = list(good_lines(name, 20_000))
    kinds = [line for line in BAD[name](6) if line]
    bad = [kinds[i % len(kinds)] for i in range(10_000)]
    # Deeply nested lines are long, and a few are enough.
    bad = [line if len(line) < 50_000 or rng.random() < 0.02 else kinds[0] for line in bad]
    mixed = [*((line, True) for line in good[1:]), *((line, False) for line in bad)]
    order = sorted(range(len(mixed)), key=lambda i: rng.random())
    places = iter(sorted(i for i, j in enumerate(order) if mixed[j][1]))
    spread: list[str] = [""] * len(mixed)
    for line in good[1:]:
        spread[next(places)] = line
    rest = iter(bad)
    spread = [line or next(rest) for line in spread]
    options = ["--lr", "0.1", "--seed", "0", "--json"]
    clean = learn_from_pipe(
        tmp_path / "clean.npz", options, as_bytes([HEADER[name], *good]), stdout=subprocess.DEVNULL
    )
    result = subprocess.run(
        [COMMAND, "learn", "-m", tmp_path / "mixed.npz", "--skip-bad", *options],
        input=as_bytes([HEADER[name], good[0], *spread]), capture_output=True, check=True,
    )  # fmt: skip
    figures = json.loads(result.stdout)
    live = LiveModel.load(tmp_path / "mixed.npz")

    tell(f"bad rows, {name}: {figures['skipped']:,} skipped, {figures['samples']:,} learned")
    assert state_of(live.model) == state_of(clean.model)
    assert (figures["samples"], figures["skipped"]) == (20_000, 10_000)
    assert live.progress.confusion.pairs.tolist() == clean.progress.confusion.pairs.tolist()
    assert len(figures["skipped_rows"]) == 10


@pytest.fixture(scope="session")
def after_25(tmp_path_factory):
    """The model after 25 good rows, by format."""
    outcomes = {}
    for name in BAD:
        path = tmp_path_factory.mktemp("good") / "model.npz"
        data = as_bytes([HEADER[name], *list(good_lines(name, 40))[:25]])
        learn_from_pipe(path, ["--seed", "0"], data)
        outcomes[name] = outcome_of(path)
    return outcomes


@pytest.mark.parametrize("how", ["at once", "line by line"])
@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name in BAD for i, bad in enumerate(BAD[name](6)) if bad]
)
def test_the_first_bad_row_is_named_and_ends_the_run(name, number, how, tmp_path, after_25):
    """The model is saved as after the last good row, whatever the chunks."""
    good = list(good_lines(name, 40))
    bad = BAD[name](6)[number]
    path = tmp_path / "model.npz"
    data = as_bytes([HEADER[name], *good[:25], bad, *good[25:]])
    with subprocess.Popen(
        [COMMAND, "learn", "-m", path, "--seed", "0", "--quiet"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        for chunk in chunks(data, how):
            try:
                process.stdin.write(chunk)
                process.stdin.flush()
            except BrokenPipeError:
                break
        errors = process.communicate()[1].decode()

    assert process.returncode == 1
    assert errors.startswith("Error: stdin: row 26: ")
    assert errors.count("\n") == 1
    assert len(errors) < 500
    assert "--skip-bad skips such rows" in errors
    assert after_25[name] == outcome_of(path)


def test_what_was_learned_before_a_bad_row_is_said_to_be_saved(run, tmp_path):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_text("y,a\n0,1\n1,x\n")
    saved, error = run("learn", source, "-m", path, check=1).stderr.splitlines()[-2:]

    assert saved == f"saved {path}"
    assert error.startswith(f"Error: {source}: row 2: ")
    assert LiveModel.load(path).progress.samples == 1


@pytest.mark.parametrize("name", BAD)
def test_a_line_of_100_mb_is_a_bad_row(name, tmp_path, peak_memory_of_pipe):
    good = list(good_lines(name, 10))
    piece = {"csv": "1,", "json": '{"a": [', "libsvm": "left 1:1 "}[name]
    long = piece * (100_000_000 // len(piece))
    source = tmp_path / "source"
    source.write_bytes(as_bytes([HEADER[name], *good[:5], long, *good[5:]]))
    peak, result = peak_memory_of_pipe(source, "-m", tmp_path / "m.npz", "--skip-bad", "--quiet")

    assert result.returncode == 0, result.stderr
    progress = LiveModel.load(tmp_path / "m.npz").progress
    assert (progress.samples, progress.skipped) == (10, 1)
    assert peak < 200


@pytest.mark.parametrize("name", BAD)
def test_rejected_rows_are_repaired_and_learned(name, run, tmp_path):
    """A thousand of 5,000 rows are rejected once each under kill -9, and sed repairs them."""
    good = list(good_lines(name, 5000))
    number = re.compile(r"(?:(?<=[,:])|(?<=: ))(?=-?[0-9])")
    mixed = [number.sub("oops", row, count=1) if i % 5 == 3 else row for i, row in enumerate(good)]
    source, path, rejected = tmp_path / "rows", tmp_path / "m.npz", tmp_path / "rejected.jsonl"
    source.write_bytes(as_bytes([HEADER[name], *mixed]))
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
    found = [json.loads(line) for line in rejected.read_text().splitlines()]
    lines = as_bytes([HEADER[name], *(row["line"] for row in found)])
    repaired = subprocess.run(["sed", "s/oops//"], input=lines, capture_output=True, check=True)
    run("learn", "-m", path, input=repaired.stdout.decode(), check=0)
    usable = [row for i, row in enumerate(good) if i % 5 != 3]
    expected = as_bytes([HEADER[name], *usable, *good[3::5]])
    learn_from_pipe(tmp_path / "expected.npz", [], expected)

    assert [row["row"] for row in found] == list(range(4, 5001, 5))
    assert {row["source"] for row in found} == {str(source)}
    assert [row["line"] for row in found] == mixed[3::5]
    assert outcome_of(tmp_path / "expected.npz") == outcome_of(path)


@pytest.mark.parametrize("name", ["csv", "json"])
def test_a_rejected_line_is_what_was_read(name, run, tmp_path):
    """It equals the input line to the byte."""
    bad = [line for line in BAD[name](6) if line and len(line) < 10_000]
    data = as_bytes([HEADER[name], *good_lines(name, 2), *bad])
    source, rejected = tmp_path / "rows", tmp_path / "rejected.jsonl"
    source.write_bytes(data)
    run("learn", source, "--rejected", rejected, check=0)
    found = [json.loads(line) for line in rejected.read_text().splitlines()]

    assert as_bytes(row["line"] for row in found) == as_bytes(bad)
    assert all(row["reason"] for row in found)


def test_a_rejected_row_of_a_table_has_its_values(run, tmp_path):
    rows = [{"a": 1.0, "id": "p", "y": 0}, {"a": 1e300, "id": "q", "y": 1}, {"a": None, "id": "r",
            "y": 1}, {"a": math.inf, "id": "s", "y": 1}]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    args = ["learn", "t.parquet", "--no-standardize", "--rejected", "r.jsonl"]
    run(*args, cwd=tmp_path, check=0)
    found = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]

    expected = [rows[3] | {"a": "inf"}]  # JSON has no infinity
    assert [row["values"] for row in found] == expected
    assert "Infinity" not in (tmp_path / "r.jsonl").read_text()


def test_rejected_rows_go_to_a_file_that_can_be_cut_back(run, tmp_path):
    source = write_lines(tmp_path / "s.jsonl", [{"a": 1, "y": 0}])
    command = ["learn", source, "--rejected"]

    assert "not a regular file" in run(*command, "/dev/stderr", check=2).stderr
    assert "both SOURCE and the rejected rows" in run(*command, source, check=2).stderr
    assert "--random" in run(*command, tmp_path / "r", "--random", check=2).stderr
