"""The arithmetic of learning from one sample."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from stream_perceptron.data.batch import Batch
from stream_perceptron.model import kernel
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.results import TrainOptions
from stream_perceptron.model.rows import Samples
from stream_perceptron.perceptron import SGDPerceptron


@dataclass
class WorkedSample:
    """The arithmetic of one labeled sample; arrays of shape (k,) have one number per output."""

    label: Hashable  # the sample's label
    classes: list[Hashable]  # the class of each output
    x: dict[Hashable, float]  # the nonzero features, by name
    net: Array  # W x + b, before the update
    y: Array  # f(net)
    d: Array  # the targets for y
    error: float  # half the sum of (d - y)^2
    delta: Array  # (d - y) f'(net)
    rate: float  # the learning rate times the sample weight and the class weight
    updated: bool  # whether error >= epsilon and rate * delta * x was added to the weights
    bias_change: Array  # the change of each bias
    weight_change: Array  # the largest change among the weights of each output

    @classmethod
    def from_batch(
        cls, before: SGDPerceptron, after: SGDPerceptron, batch: Batch
    ) -> WorkedSample | None:
        """Compute the arithmetic of a batch of one row; return None if the row has no label."""
        label = batch.labels[0] if batch.labels else None
        if label is None:
            return None
        lr = after.lr if isinstance(after.lr, float) else after.lr.get(before.n_updates)
        class_weights = copy.deepcopy(before.network.class_weights)
        # Train with lr=0 to add the row's new labels and features without changing weights.
        samples = Samples(batch.features, batch.labels, batch.weights)
        result = before.network.train(samples, 0.0, before.epsilon, TrainOptions())
        net = before.network.compute_nets(batch.features)[0]
        target = before.classes_.index(label)
        activation = before.network.activation
        y, slopes = kernel.compute_outputs(activation, net)
        d = np.full_like(net, activation.low)
        d[target] = activation.high
        weight = float(batch.weights[0])
        if class_weights is not None:
            weight *= class_weights.compute_factor(target, label)
        changes = after.weights - before.weights
        highest, lowest = changes.max(axis=1, initial=0.0), changes.min(axis=1, initial=0.0)
        return cls(
            label=label,
            classes=before.classes_,
            x={name: value for name, value in next(batch.features.dicts()).items() if value},
            net=net,
            y=y,
            d=d,
            error=0.5 * float((d - y) @ (d - y)),
            delta=(d - y) * slopes,
            rate=float(lr) * weight,
            updated=after.n_updates > before.n_updates - int(result.updated[0]),
            bias_change=after.biases - before.biases,
            weight_change=np.where(highest >= -lowest, highest, lowest),
        )
