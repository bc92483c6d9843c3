"""Sources of rows, and the batches made from them."""

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.data.source import Source

__all__ = ["Batch", "ReadOptions", "ReadRequest", "Schema", "Source", "open_source"]
