"""The kernel in use: the arithmetic of forward pass and update, and nothing else.

The compiled one, unless it was not built or the environment has STREAM_PERCEPTRON_KERNEL=numpy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from stream_perceptron.block import Block, Rule

__all__ = [
    "NAME",
    "Block",
    "Rule",
    "fill",
    "forward",
    "learn_rows",
    "learn_sparse",
    "place",
    "wants_dense",
]

try:
    if os.environ.get("STREAM_PERCEPTRON_KERNEL") == "numpy":
        raise ImportError
    _kernel = import_module("stream_perceptron._kernel")
except ImportError:
    _kernel = import_module("stream_perceptron._numpy_kernel")

NAME: str = _kernel.NAME
forward: Callable[..., NDArray[Any]] = _kernel.forward
learn_rows: Callable[..., tuple[int, bool]] = _kernel.learn_rows
learn_sparse: Callable[..., tuple[int, bool]] = _kernel.learn_sparse
wants_dense: Callable[[int, int], bool] = _kernel.wants_dense
# Only the compiled kernel has faster ways to put features in place.
place: Callable[..., tuple[bool, bool]] | None = getattr(_kernel, "place", None)
fill: Callable[..., bool] | None = getattr(_kernel, "fill", None)
