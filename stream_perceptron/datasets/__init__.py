"""Data sets as Parquet files: MNIST and its relatives."""

from stream_perceptron.datasets.idx import read_idx, read_npz, write_parquet
from stream_perceptron.datasets.mnist import fetch, sample_path

__all__ = ["fetch", "read_idx", "read_npz", "sample_path", "write_parquet"]
