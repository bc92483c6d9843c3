"""Parquet files on the command line: unused and damaged columns, lists of any length."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import get_seeds, write_parquet

from stream_perceptron import LiveModel

N_ROWS = 6000


@pytest.fixture(params=["page header", "values"])
def file_with_damaged_column(request, tmp_path):
    """A file whose column `note` cannot be decoded from its first row, or a later one, onward."""
    path = tmp_path / "damaged.parquet"
    notes = [f"note {i}" for i in range(N_ROWS)]
    columns = {"a": np.arange(N_ROWS) % 7.0, "note": notes, "label": ["x", "y"] * (N_ROWS // 2)}
    write_parquet(path, columns, use_dictionary=False, compression="none")
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    start = chunk.data_page_offset
    if request.param == "values":
        start += chunk.total_compressed_size // 2
    data[start : start + 400] = b"\xff" * 400
    path.write_bytes(data)
    return path


def test_unused_columns_are_not_decoded(file_with_damaged_column, tmp_path, run):
    run("learn", file_with_damaged_column, "-m", tmp_path / "m.npz", "--quiet", check=0)
    result = run("learn", file_with_damaged_column, "-p", "-", "--keep", "note", "--quiet")

    assert LiveModel.load(tmp_path / "m.npz").progress.samples == N_ROWS
    assert result.returncode == 1
    assert "damaged after row" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [1, 7])
@pytest.mark.parametrize("seed", get_seeds(4))
def test_lists_of_another_length_than_the_first_are_rejected(seed, n_groups, tmp_path, run):
    """The size of the row groups makes no difference."""
    rng = np.random.default_rng(seed)
    length_choices = [[0, 3, 4], [3, 3, 3, 50_000], [0, 0, 3, 2000]]
    lengths = np.concatenate([[3], *(rng.choice(length_choices[i % 3], 300) for i in range(9))])
    lists = [rng.normal(size=length).round(2) for length in lengths]
    labels = rng.choice(["x", "y"], len(lengths)).tolist()
    source = write_parquet(
        tmp_path / "s.parquet", {"v": lists, "label": labels},
        row_group_size=len(lengths) // n_groups,
    )  # fmt: skip
    accepted = [i for i, length in enumerate(lengths) if length == 3]
    accepted_columns = {"v": [lists[i] for i in accepted], "label": [labels[i] for i in accepted]}
    expected = write_parquet(tmp_path / "plain.parquet", accepted_columns)
    for path in (source, expected):
        run("learn", path, "-m", path.with_suffix(".npz"), "--skip-bad", "--quiet", check=0)

    live, reference = (LiveModel.load(path.with_suffix(".npz")) for path in (source, expected))
    assert live.model.weights.tobytes() == reference.model.weights.tobytes()
    assert live.progress.skipped == len(lengths) - len(accepted)
