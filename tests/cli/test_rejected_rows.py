"""Rejected rows among valid ones."""

from __future__ import annotations

import json
import random
from contextlib import nullcontext

import pandas as pd
import pytest
from helpers import learn_from_pipe, load_outcome, write_csv, write_jsonl, write_parquet

from stream_perceptron import LiveModel, SampleError, Standardizer

# Rows that are rejected; \udcff stands for a byte that is not UTF-8.
INVALID_LINES = {
    "csv": ["left,1,1,1,1,1", "left,\udcff1,1,1,1,1,1", "le\udcffft,1,1,1,1,1,1", "left,1\r2,1,1"],
    "json": [
        '{"a0": 1', "17", '{"label": "le\udcffft", "a0": 1}', '{"label": "\\ud800", "a0": 1}',
        '{"label": 3, "a0": 1}', '{"a0": 1' + "0" * 5000 + "}", '{"a0": ' + "[" * 100_000,
    ],
    "libsvm": ["left 1", "left 1:1e999", "le\udcffft 1:1"],
}  # fmt: skip
HEADERS = {"csv": "label,a0,a1,a2,a3,a4,a5", "json": None, "libsvm": None}


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


def encode_lines(lines):
    return "".join(line + "\n" for line in lines if line is not None).encode(
        errors="surrogateescape"
    )


@pytest.mark.parametrize("name", INVALID_LINES)
def test_rejected_lines_are_byte_identical_and_do_not_change_the_model(name, run, tmp_path):
    """Invalid UTF-8 is preserved, too."""
    good, bad = list(draw_valid_lines(name, 200)), INVALID_LINES[name]
    mixed = [row for i, line in enumerate(good) for row in (line, bad[i % len(bad)])]
    source, path, rejected = tmp_path / "rows", tmp_path / "m.npz", tmp_path / "rejected.jsonl"
    source.write_bytes(encode_lines([HEADERS[name], *mixed]))
    run("learn", source, "-m", path, "--rejected", rejected, check=0)
    rejected_rows = [json.loads(line) for line in rejected.read_text().splitlines()]
    learn_from_pipe(tmp_path / "clean.npz", [], encode_lines([HEADERS[name], *good]))

    assert encode_lines(row["line"] for row in rejected_rows) == encode_lines(mixed[1::2])
    assert all(row["reason"] for row in rejected_rows)
    assert load_outcome(path)[:4] == load_outcome(tmp_path / "clean.npz")[:4]


def test_huge_number_of_a_standardized_feature_rejects_its_row(run, tmp_path):
    """The rule depends on the row alone, in every format and in Python."""
    numbers = [1.0, 1e155, -1e101, 1e100, 2.0, -1e99]
    columns = {"a": numbers, "b": [*range(6)], "label": [*"xyxyxy"]}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for path in (
        write_csv(tmp_path / "s.csv", columns, zip(*columns.values(), strict=True)),
        write_jsonl(tmp_path / "s.jsonl", rows), write_parquet(tmp_path / "s.parquet", columns),
    ):  # fmt: skip
        model = path.with_suffix(f"{path.suffix}.npz")
        result = run("learn", path, "--skip-bad", "-m", model, check=0)
        assert "feature 'a' is 1e+155, out of range: standardized features end at 1e100" in (
            result.stderr
        )
        assert LiveModel.load(model).progress.skipped == 2
        assert "follows from these sources" in run("verify", model, path, check=0).stdout
    scaler = Standardizer()
    for number in numbers:
        with nullcontext() if abs(number) <= 1e100 else pytest.raises(SampleError, match="range"):
            scaler.learn_one({"a": number})
    with pytest.raises(SampleError, match="out of range"):
        scaler.learn_many(pd.DataFrame({"a": [1.0, 1e155]}))
    assert scaler.counts["a"] == 4
