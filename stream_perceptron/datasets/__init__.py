"""Data sets as Parquet files: MNIST."""

from stream_perceptron.datasets.mnist import fetch, sample_path

__all__ = ["fetch", "sample_path"]
