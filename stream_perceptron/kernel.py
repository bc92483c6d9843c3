"""The kernel in use: the arithmetic of forward pass and update, and nothing else.

The compiled one, unless it was not built or the environment has STREAM_PERCEPTRON_KERNEL=numpy.
"""

from __future__ import annotations

import os
from contextlib import suppress

from stream_perceptron import _numpy_kernel
from stream_perceptron._numpy_kernel import Block, Rule

__all__ = ["NAME", "Block", "Rule", "forward", "learn_rows", "learn_sparse", "wants_dense"]

_kernel = _numpy_kernel
if os.environ.get("STREAM_PERCEPTRON_KERNEL") != "numpy":
    with suppress(ImportError):
        from stream_perceptron import _kernel  # type: ignore[attr-defined, no-redef]

NAME: str = _kernel.NAME
forward = _kernel.forward
learn_rows = _kernel.learn_rows
learn_sparse = _kernel.learn_sparse
wants_dense = _kernel.wants_dense
