"""A single-layer perceptron that learns from a stream, one sample at a time."""

from stream_perceptron.errors import CheckpointError, DivergedError, SampleError, SourceError
from stream_perceptron.live import LiveModel
from stream_perceptron.perceptron import SGDPerceptron
from stream_perceptron.state import Loaded, load, save

__all__ = [
    "CheckpointError",
    "DivergedError",
    "LiveModel",
    "Loaded",
    "SGDPerceptron",
    "SampleError",
    "SourceError",
    "load",
    "save",
]
