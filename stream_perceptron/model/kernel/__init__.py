"""The kernel in use: the arithmetic of the forward pass and the update.

It is the compiled kernel, unless the extension was not built or STREAM_PERCEPTRON_KERNEL is set to
numpy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module

from stream_perceptron.model.arrays import Array

try:
    if os.environ.get("STREAM_PERCEPTRON_KERNEL") == "numpy":
        raise ImportError
    _kernel = import_module("stream_perceptron.model.kernel._compiled")
except ImportError:
    _kernel = import_module("stream_perceptron.model.kernel.numpy_kernel")

NAME: str = _kernel.NAME
learn: Callable[..., int] = _kernel.learn
compute_scores: Callable[..., Array] = _kernel.compute_scores
# Fast paths for a single dict. The NumPy kernel has none: the substitutes decline every dict.
learn_one: Callable[..., int] = getattr(_kernel, "learn_one", lambda *_: -1)
compute_net_one: Callable[..., Array | None] = getattr(_kernel, "compute_net_one", lambda *_: None)
predict_one: Callable[..., int] = getattr(_kernel, "predict_one", lambda *_: -1)
