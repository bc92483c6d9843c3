"""A single-layer perceptron that learns from a stream, one sample at a time."""

from stream_perceptron.checkpoint.state import Loaded, load, save
from stream_perceptron.diagnostics.update_check import check_update
from stream_perceptron.errors import (
    CheckpointError,
    ClusterError,
    DivergedError,
    FullError,
    SampleError,
    SourceError,
    StreamPerceptronError,
    UpdateError,
    VerificationError,
)
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.sweep import Trial, sweep
from stream_perceptron.perceptron import SGDPerceptron

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ClusterError",
    "DivergedError",
    "FullError",
    "LiveModel",
    "Loaded",
    "SGDPerceptron",
    "SampleError",
    "SourceError",
    "StreamPerceptronError",
    "Trial",
    "UpdateError",
    "VerificationError",
    "__version__",
    "check_update",
    "load",
    "save",
    "sweep",
]
