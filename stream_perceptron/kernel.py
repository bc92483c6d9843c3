"""The kernel in use: the arithmetic of forward pass and update, and nothing else."""

from __future__ import annotations

from stream_perceptron._numpy_kernel import (
    NAME,
    Block,
    Rule,
    forward,
    learn_rows,
    learn_sparse,
    wants_dense,
)

__all__ = ["NAME", "Block", "Rule", "forward", "learn_rows", "learn_sparse", "wants_dense"]
