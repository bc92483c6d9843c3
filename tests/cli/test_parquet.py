"""Parquet files on the command line: unused and damaged columns, lists of any length."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import write_parquet

from stream_perceptron import LiveModel

N = 6000


@pytest.fixture(params=["page header", "values"])
def with_damaged_column(request, tmp_path):
    """A file whose column `note` cannot be decoded, from its first or from a later row on."""
    path = tmp_path / "damaged.parquet"
    notes = [f"note {i}" for i in range(N)]
    columns = {"a": np.arange(N) % 7.0, "note": notes, "label": ["x", "y"] * (N // 2)}
    write_parquet(path, columns, use_dictionary=False, compression="none")
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    start = chunk.data_page_offset
    if request.param == "values":
        start += chunk.total_compressed_size // 2
    data[start : start + 400] = b"\xff" * 400
    path.write_bytes(data)
    return path


def test_columns_that_are_not_used_are_not_decoded(with_damaged_column, tmp_path, run):
    run("learn", with_damaged_column, "-m", tmp_path / "m.npz", "--quiet", check=0)
    kept = run("learn", with_damaged_column, "-p", "-", "--keep", "note", "--quiet")

    assert LiveModel.load(tmp_path / "m.npz").progress.samples == N
    assert kept.returncode == 1
    assert "damaged after row" in kept.stderr


def test_rejected_rows_keep_the_columns_that_are_not_used(tmp_path, run):
    columns = {"a": [1.0, float("nan"), 2.0], "note": ["p", "q", "r"], "label": ["x", "y", "x"]}
    source = write_parquet(tmp_path / "s.parquet", columns)

    run("learn", source, "--rejected", tmp_path / "rejected.jsonl", "--quiet", check=0)

    (line,) = (tmp_path / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["values"] == {"a": "nan", "note": "q", "label": "y"}


def test_notes_name_texts_that_are_not_used_and_may_have_categories(tmp_path, run):
    columns = {
        "colour": ["red", "blue"] * 300,
        "label": ["x", "y"] * 300,
        "a.b": ["long " * 20_000] * 600,
        "a": [{"b": 1.0}] * 600,
        "n": [1.0, 2.0] * 300,
    }
    source = write_parquet(tmp_path / "s.parquet", columns)

    result = run("learn", source, check=0)

    assert "1 feature, standardized: n\n" in result.stderr
    assert "ignored (text): colour, a.b; to use them: --one-hot colour --words a.b" in result.stderr


@pytest.mark.parametrize("groups", [1, 7])
@pytest.mark.parametrize("seed", range(4))
def test_lists_of_any_lengths_are_read_as_at_once(seed, groups, tmp_path, run):
    """Every row has the length of the first one, or is rejected."""
    rng = np.random.default_rng(seed)
    kinds = [[0, 3, 4], [3, 3, 3, 50_000], [0, 0, 3, 2000]]
    lengths = np.concatenate([[3], *(rng.choice(kinds[i % 3], 300) for i in range(9))])
    lists = [rng.normal(size=length).round(2) for length in lengths]
    labels = rng.choice(["x", "y"], len(lengths)).tolist()
    source = write_parquet(
        tmp_path / "s.parquet", {"v": lists, "label": labels},
        row_group_size=len(lengths) // groups,
    )  # fmt: skip
    fitting = [i for i, length in enumerate(lengths) if length == 3]
    plain = {"v": [lists[i] for i in fitting], "label": [labels[i] for i in fitting]}
    expected = write_parquet(tmp_path / "plain.parquet", plain)
    for path in (source, expected):
        run("learn", path, "-m", path.with_suffix(".npz"), "--skip-bad", "--quiet", check=0)

    learned, model = (LiveModel.load(path.with_suffix(".npz")) for path in (source, expected))
    assert learned.model.weights.tobytes() == model.model.weights.tobytes()
    assert learned.progress.skipped == len(lengths) - len(fitting)
