"""Rows drawn at random."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
from helpers import capture_state, read_contents

from stream_perceptron import LiveModel


def test_random_draws_use_column_types_of_the_whole_file(tmp_path, run):
    """A key with nulls first and texts later is never read as a missing number."""
    source, empty = tmp_path / "s.jsonl", tmp_path / "empty.jsonl"
    empty.touch()
    rows = [{"a": i % 5, "d": "red" if i > 30 else None, "y": i % 2} for i in range(40)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path, limits in ((tmp_path / "whole.npz", [40]), (tmp_path / "split.npz", [7, 23, 40])):
        for limit in limits:
            options = ["--random", "--limit", limit, "--quiet"]
            run("learn", empty, source, "-m", path, *options, check=0)
        run("verify", path, source, check=0)

    assert read_contents(tmp_path / "whole.npz") == read_contents(tmp_path / "split.npz")


def test_random_draws_from_json_lines_and_parquet_are_equal(mnist_sample, tmp_path, run):
    table = pq.read_table(mnist_sample)
    path = tmp_path / "digits.jsonl"
    with path.open("w") as file:
        for pixels, label in zip(table["pixels"].to_pylist(), table["label"].to_pylist(),
                                 strict=True):  # fmt: skip
            file.write(json.dumps({"pixels": list(pixels), "label": label}) + "\n")
    options = ["--random", "--classes", "0-9", "--limit", 3000, "--quiet"]
    run("learn", mnist_sample, "-m", tmp_path / "a.npz", *options, check=0)
    for limit in (["--limit", 999], []):
        run("learn", path, "-m", tmp_path / "b.npz", "--scale", "1/255", *options, *limit, check=0)
    models = [LiveModel.load(tmp_path / name).model for name in ("a.npz", "b.npz")]

    assert capture_state(models[0]) == capture_state(models[1])
