"""Data sets as Parquet files: MNIST."""

from stream_perceptron.datasets.idx import read_idx, write_parquet
from stream_perceptron.datasets.mnist import fetch, sample_path

__all__ = ["fetch", "read_idx", "sample_path", "write_parquet"]
