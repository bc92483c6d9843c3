"""A single-layer perceptron that learns from a stream, one sample at a time."""

from stream_perceptron.errors import DivergedError, SampleError, SourceError
from stream_perceptron.perceptron import SGDPerceptron

__all__ = ["DivergedError", "SGDPerceptron", "SampleError", "SourceError"]
