"""The kernel in use: the arithmetic of forward pass and update, and nothing else.

The compiled one, unless it was not built or the environment has STREAM_PERCEPTRON_KERNEL=numpy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal

from numpy.typing import NDArray

from stream_perceptron.model.features import ByteRows
from stream_perceptron.model.kernel.types import Block, Rule

__all__ = [
    "NAME",
    "Block",
    "ByteRows",
    "Rule",
    "fill",
    "forward",
    "forward_one",
    "learn_one",
    "learn_rows",
    "learn_sparse",
    "predict_one",
    "wants_dense",
]

try:
    if os.environ.get("STREAM_PERCEPTRON_KERNEL") == "numpy":
        raise ImportError
    _kernel = import_module("stream_perceptron.model.kernel._compiled")
except ImportError:
    _kernel = import_module("stream_perceptron.model.kernel.numpy_kernel")

NAME: str = _kernel.NAME
forward: Callable[..., NDArray[Any]] = _kernel.forward
learn_rows: Callable[..., tuple[int, bool]] = _kernel.learn_rows
learn_sparse: Callable[..., tuple[int, bool]] = _kernel.learn_sparse
wants_dense: Callable[[int, int], bool] = _kernel.wants_dense
# Only the compiled kernel has short ways for a single dict; otherwise they find none that is plain.
forward_one: Callable[..., NDArray[Any] | None]
predict_one: Callable[..., int | None]
learn_one: Callable[..., tuple[float, bool] | Literal[False] | None]
forward_one = getattr(_kernel, "forward_one", lambda *_: None)
predict_one = getattr(_kernel, "predict_one", lambda *_: None)
learn_one = getattr(_kernel, "learn_one", lambda *_: None)
fill: Callable[..., bool] | None = getattr(_kernel, "fill", None)
