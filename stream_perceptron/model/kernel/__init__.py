"""The compiled kernel: the arithmetic of the forward pass and the update."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from stream_perceptron.model.arrays import Array

_kernel: Any = import_module("stream_perceptron.model.kernel._compiled")

learn: Callable[..., int] = _kernel.learn
find_new_names: Callable[..., tuple[list[int], list[int]]] = _kernel.find_new_names
compute_class_factor: Callable[..., float] = _kernel.compute_class_factor
compute_outputs: Callable[..., tuple[Array, Array]] = _kernel.compute_outputs
compute_scores: Callable[..., Array] = _kernel.compute_scores
standardize: Callable[..., Array] = _kernel.standardize
# For a single dict.
learn_one: Callable[..., int] = _kernel.learn_one
compute_net_inputs_one: Callable[..., Array | None] = _kernel.compute_net_inputs_one
