"""A single-layer perceptron that learns from a stream, one sample at a time."""

from stream_perceptron.checkpoint.state import Loaded, load, save
from stream_perceptron.diagnostics.update_check import check_step
from stream_perceptron.errors import (
    CheckpointError,
    ClusterError,
    DivergedError,
    SampleError,
    SourceError,
    StepError,
)
from stream_perceptron.live.model import LiveModel
from stream_perceptron.perceptron import SGDPerceptron

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
