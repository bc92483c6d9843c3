"""Fixtures for tests of the commands: streams, files and models."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def daily_files(tmp_path, rng):
    """Paths of three Parquet files, one a day, each with 1,500 points of two classes."""
    paths = []
    for day in range(3):
        X = rng.normal(size=(1500, 2))
        path = tmp_path / f"day{day}.parquet"
        y = np.where(X[:, 0] > 0, "right", "left")
        pq.write_table(pa.table({"a": X[:, 0], "b": X[:, 1], "class": y}), path)
        paths.append(path)
    return paths


@pytest.fixture
def model(tmp_path):
    """The path of a checkpoint."""
    return tmp_path / "model.npz"
