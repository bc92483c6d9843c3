"""A single-layer perceptron that learns from a stream, one sample at a time.

In River's pipelines and evaluation loops
    SGDPerceptron, FallingRate      the delta rule as a classifier, and its default learning rate
    RecordEncoder, Standardizer     transformers: raw records to features, and their scaling
    stream.iter_source              any file, URI or pipe as pairs of a record and a label
    sweep, Trial                    many settings, compared in one pass over a stream

In files that the command line shares
    save, load, LoadedModel         a perceptron or pipeline, with the data that belongs to it
    LiveModel, open_source          a model with its metrics and history, and a source for
                                    `live.learn` and `live.predict`
    verification.verify             retraining from the history, compared bit by bit

When a model does not learn
    diagnose                        findings with figures and remedies
    diagnostics.work_sample         the arithmetic of one sample, step by step
    diagnostics.check_update        a check of your own update function

Errors are subclasses of StreamPerceptronError, which is a ValueError. The command is
`stream-perceptron --help`.

Examples
--------
>>> from stream_perceptron import RecordEncoder, SGDPerceptron, Standardizer
>>> model = RecordEncoder() | Standardizer() | SGDPerceptron(seed=0)
>>> for i in range(100):
...     model.learn_one({"plan": "pro" if i % 3 else "free", "age": i % 50}, i % 50 > 25)
>>> model.predict_one({"plan": "free", "age": 40})
True

"""

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
    from stream_perceptron.data.opening import open_source
    from stream_perceptron.diagnostics.model_diagnosis import diagnose
    from stream_perceptron.encoders import RecordEncoder
    from stream_perceptron.live.sweep import Trial, sweep
    from stream_perceptron.standardizer import Standardizer

__version__ = "0.1.0"

# Imported on first use, because most programs do not need them.
_LAZY_IMPORTS = {
    "RecordEncoder": "stream_perceptron.encoders",
    "Standardizer": "stream_perceptron.standardizer",
    "Trial": "stream_perceptron.live.sweep",
    "diagnose": "stream_perceptron.diagnostics.model_diagnosis",
    "open_source": "stream_perceptron.data.opening",
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
    "diagnose",
    "load",
    "open_source",
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
