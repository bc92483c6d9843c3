"""The kernel in use: the arithmetic of forward pass and update, and nothing else.

The compiled one, unless it was not built or the environment has STREAM_PERCEPTRON_KERNEL=numpy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from stream_perceptron.model.kernel.types import (
    Block,
    BlockResult,
    Counters,
    Done,
    Outcome,
    Rule,
)

__all__ = [
    "NAME",
    "Block",
    "BlockResult",
    "Counters",
    "Done",
    "Outcome",
    "Rule",
    "fill",
    "learn",
    "learn_one",
    "net_one",
    "predict_one",
    "probabilities",
]

try:
    if os.environ.get("STREAM_PERCEPTRON_KERNEL") == "numpy":
        raise ImportError
    _kernel = import_module("stream_perceptron.model.kernel._compiled")
except ImportError:
    _kernel = import_module("stream_perceptron.model.kernel.numpy_kernel")

NAME: str = _kernel.NAME
learn: Callable[..., Done] = _kernel.learn
probabilities: Callable[..., NDArray[Any]] = _kernel.probabilities
# Short ways for a single dict, which only the compiled kernel has.
learn_one: Callable[..., Outcome] = _kernel.learn_one
net_one: Callable[..., NDArray[Any] | None] = _kernel.net_one
predict_one: Callable[..., int] = _kernel.predict_one
fill: Callable[..., bool] = _kernel.fill
