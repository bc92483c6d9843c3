"""A single-layer perceptron that learns from a stream, one sample at a time."""

from stream_perceptron.errors import (
    CheckpointError,
    ClusterError,
    DivergedError,
    SampleError,
    SourceError,
    StepError,
)
from stream_perceptron.live import LiveModel
from stream_perceptron.perceptron import SGDPerceptron
from stream_perceptron.state import Loaded, load, save
from stream_perceptron.step_check import check_step

__all__ = [
    "CheckpointError",
    "ClusterError",
    "DivergedError",
    "LiveModel",
    "Loaded",
    "SGDPerceptron",
    "SampleError",
    "SourceError",
    "StepError",
    "check_step",
    "load",
    "save",
]
