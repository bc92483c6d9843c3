"""A single-layer perceptron that learns from a stream, one sample at a time."""

import typing as _typing

from stream_perceptron.errors import (
    CheckpointError,
    ClusterError,
    DivergedError,
    ModelSizeError,
    SampleError,
    SourceError,
    StreamPerceptronError,
    UpdateError,
    VerificationError,
)
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.pipelines import LoadedModel, load, save
from stream_perceptron.model.rates import FallingRate
from stream_perceptron.perceptron import SGDPerceptron

if _typing.TYPE_CHECKING:
    from stream_perceptron.encoders import RecordEncoder
    from stream_perceptron.live.sweep import Trial, sweep
    from stream_perceptron.standardizer import Standardizer

__version__ = "0.1.0"

# Imported on first use, because most programs do not need them.
_LAZY_IMPORTS = {
    "RecordEncoder": "stream_perceptron.encoders",
    "Standardizer": "stream_perceptron.standardizer",
    "Trial": "stream_perceptron.live.sweep",
    "sweep": "stream_perceptron.live.sweep",
}

__all__ = [
    "CheckpointError",
    "ClusterError",
    "DivergedError",
    "FallingRate",
    "LiveModel",
    "LoadedModel",
    "ModelSizeError",
    "RecordEncoder",
    "SGDPerceptron",
    "SampleError",
    "SourceError",
    "Standardizer",
    "StreamPerceptronError",
    "Trial",
    "UpdateError",
    "VerificationError",
    "__version__",
    "load",
    "save",
    "sweep",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY_IMPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
