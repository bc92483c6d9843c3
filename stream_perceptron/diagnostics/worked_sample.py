"""The arithmetic of learning from one sample."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from stream_perceptron.model import kernel
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.rates import FallingRate, compute_rates_of_next_samples
from stream_perceptron.model.validation import as_row
from stream_perceptron.perceptron import SGDPerceptron

_MAX_FEATURES = 6  # features shown


@dataclass
class WorkedSample:
    """The arithmetic of one labeled sample; arrays of shape (k,) have one number per output."""

    label: Hashable  # the sample's label
    classes: list[Hashable]  # the class of each output
    x: dict[Hashable, float]  # the nonzero features, by name
    activation: str  # the activation f
    epsilon: float
    net: Array  # W x + b, before the update
    y: Array  # f(net)
    d: Array  # the targets for y
    error: float  # half the sum of (d - y)^2
    delta: Array  # (d - y) f'(net)
    # The learning rates of the biases and of each feature in x, times the weights of the sample.
    rates: Array
    updated: bool  # whether error >= epsilon and rates * delta * x was added to the weights
    bias_change: Array  # the change of each bias
    weight_change: Array  # the largest change among the weights of each output

    def __str__(self) -> str:
        """Return the arithmetic as a table with a line for each output."""
        bias_rate, *rates = self.rates.tolist()
        x = _format_features(self.x)
        rate = f"rate {bias_rate:g}"
        if any(other != bias_rate for other in rates):
            by_feature = _format_features(dict(zip(self.x, rates, strict=True)))
            rate = f"rates: bias {bias_rate:.4g}, {by_feature}"
        outcome = f">= epsilon {self.epsilon:g}: learned with {rate}"
        if not self.updated:
            outcome = f"< epsilon {self.epsilon:g}: the weights stay as they are"
        names = ["output", *map(str, self.classes)]
        width = max(map(len, names))
        head = f"{names[0]:<{width}} {'net':>9} {'y=f(net)':>9} {'d':>9} {'d-y':>9} {'delta':>9}"
        lines = [f"label {self.label}; x: {x}", f"{head} {'bias by':>10} {'weight by':>10}"]
        columns = self.net, self.y, self.d, self.d - self.y, self.delta
        changes = zip(self.bias_change, self.weight_change, strict=True)
        for name, *cells, change in zip(names[1:], *columns, changes, strict=True):
            numbers = " ".join([f"{cell:9.4f}" for cell in cells])
            lines.append(f"{name:<{width}} {numbers} {change[0]:+10.6f} {change[1]:+10.6f}")
        lines.append(f"f = {self.activation}; error = {self.error:.6f} {outcome}")
        return "\n".join(lines)


def _format_features(values: Mapping[Hashable, float]) -> str:
    """Return the values of the first features as text."""
    pairs = [f"{name} {value:.4g}" for name, value in islice(values.items(), _MAX_FEATURES)]
    n_more = len(values) - len(pairs)
    return ", ".join(pairs) + (f" and {n_more:,} more" if n_more else "")


def work_sample(
    model: SGDPerceptron, x: Mapping[Hashable, object], y: Hashable, w: float = 1.0
) -> WorkedSample:
    """Return the arithmetic by which a model would learn from a sample; the model is unchanged.

    Parameters
    ----------
    model
        The perceptron.
    x, y, w
        The features, the label and the sample weight, as in `SGDPerceptron.learn_one`.

    Raises
    ------
    SampleError, DivergedError
        If the model could not learn from the sample.

    Examples
    --------
    >>> from stream_perceptron import SGDPerceptron
    >>> model = SGDPerceptron(lr=0.5, init_range=0, classes=["left", "right"], seed=0)
    >>> print(work_sample(model, {"a": 0.5, "b": -1.0}, "left"))
    label left; x: a 0.5, b -1
    output       net  y=f(net)         d       d-y     delta    bias by  weight by
    left      0.0000    0.5000    1.0000    0.5000    0.1250  +0.062500  -0.062500
    right     0.0000    0.5000    0.0000   -0.5000   -0.1250  -0.062500  +0.062500
    f = sigmoid; error = 0.250000 >= epsilon 3e-06: learned with rate 0.5

    The rate of a new feature is higher than that of one that has been learned:

    >>> model = SGDPerceptron(init_range=0, classes=["left", "right"], seed=0)
    >>> for _ in range(90):
    ...     model.learn_one({"a": 0.5}, "left")
    >>> print(str(work_sample(model, {"a": 0.5, "b": -1.0}, "right")).splitlines()[-1])
    f = sigmoid; error = 0.732476 >= epsilon 3e-06: learned with rates: bias 0.25, a 0.25, b 0.5

    """
    before, after = copy.deepcopy(model), copy.deepcopy(model)
    after.learn_one(x, y, w)
    before.learn_one(x, y, 0.0)  # adds the new label and features, whose weights are drawn
    row = as_row(x)
    net = before.network.compute_net_inputs(row)[0]
    target = before.classes_.index(y)
    activation = before.network.activation
    outputs, slopes = kernel.compute_outputs(activation, net)
    d = np.full_like(net, activation.low)
    d[target] = activation.high
    values = {name: value for name, value in next(row.dicts()).items() if value}
    if isinstance(model.lr_, FallingRate):
        bias_count, *counts = model.network.snapshot().update_counts.tolist()
        count_by_feature = dict(zip(model.features_, counts, strict=True))
        rates = model.lr_.compute_rates(
            [bias_count, *(count_by_feature.get(name, 0.0) for name in values)]
        )
    else:
        rates = compute_rates_of_next_samples(model.lr_, model.n_updates, 1).repeat(1 + len(values))
    factor, class_weights = 1.0, before.network.class_weights
    if class_weights is not None:
        if class_weights.counts is not None:
            class_weights.counts[target] -= 1  # the sample has been counted
        factor = class_weights.compute_factor(target)
    changes = after.weights - before.weights
    highest, lowest = changes.max(axis=1, initial=0.0), changes.min(axis=1, initial=0.0)
    return WorkedSample(
        label=y,
        classes=before.classes_,
        x=values,
        activation=activation.name,
        epsilon=float(model.epsilon),
        net=net,
        y=outputs,
        d=d,
        error=0.5 * float((d - outputs) @ (d - outputs)),
        delta=(d - outputs) * slopes,
        rates=rates * float(w) * factor,
        updated=after.n_updates > model.n_updates,
        bias_change=after.biases - before.biases,
        weight_change=np.where(highest >= -lowest, highest, lowest),
    )
