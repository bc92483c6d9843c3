"""The learning rule in plain Python, with the symbols of the textbook."""

from __future__ import annotations

import math

ACTIVATIONS = {
    "sigmoid": (0, 1, lambda n: 1 / (1 + math.exp(-n)), lambda n, y: y * (1 - y)),
    "tanh": (-1, 1, math.tanh, lambda n, y: 1 - y * y),
    "arctan": (-math.pi / 2, math.pi / 2, math.atan, lambda n, y: 1 / (1 + n * n)),
    "identity": (0, 1, lambda n: n, lambda n, y: 1),
}


def compute_rate(lr, n):
    """Return the learning rate after n updates; a falling rate is a pair of its start and end."""
    if not isinstance(lr, tuple):
        return lr
    start, end = lr
    return max(end, start / math.sqrt(1 + n / 30)) if n < count_falling(lr) else end


def count_falling(lr):
    """Return the number of updates after which a learning rate is constant."""
    return math.ceil(30 * ((lr[0] / lr[1]) ** 2 - 1)) if isinstance(lr, tuple) else 0


def update_weights(w, b, x, label, rates, epsilon, activation):
    """Update w and b in place for one sample; return its net inputs and its error.

    `rates` are the learning rates of the bias and of each feature.
    """
    low, high, f, df = ACTIVATIONS[activation]
    net = [b[j] + sum(w[j][i] * x[i] for i in range(len(x))) for j in range(len(b))]
    y = [f(n) for n in net]
    d = [high if j == label else low for j in range(len(b))]
    error = sum((d[j] - y[j]) ** 2 for j in range(len(b))) / 2
    if error >= epsilon:
        for j in range(len(b)):
            delta = (d[j] - y[j]) * df(net[j], y[j])
            b[j] += rates[0] * delta
            for i in range(len(x)):
                w[j][i] += rates[1 + i] * delta * x[i]
    return net, error


class Model:
    """A growing model: `draw` returns initial weights until a sample is learned, then they are 0.

    `draw(j, name)` is the weight of label j and a feature; the name of the bias is None.
    """

    def __init__(self, classes, draw):
        self.labels, self.features, self.draw, self.n_seen = [], [], draw, 0
        self.w, self.b = [], []
        self.counts = [0]  # the updates of the bias and of each feature, with a falling rate
        for label in classes:
            self.add_label(label)

    def add_label(self, label):
        j = len(self.labels)
        self.labels.append(label)
        self.b.append(0.0 if self.n_seen else self.draw(j, None))
        self.w.append([0.0 if self.n_seen else self.draw(j, name) for name in self.features])

    def add_feature(self, name):
        self.features.append(name)
        self.counts.append(0)
        for j, row in enumerate(self.w):
            row.append(0.0 if self.n_seen else self.draw(j, name))

    def compute_nets(self, x):
        values = [x.get(name, 0.0) for name in self.features]
        return [
            b + sum(wi * v for wi, v in zip(w, values, strict=True))
            for w, b in zip(self.w, self.b, strict=True)
        ]

    def predict(self, x):
        """Return the label with the largest net input; None without labels."""
        nets = self.compute_nets(x)
        return self.labels[nets.index(max(nets))] if nets else None

    def compute_scores(self, x, activation):
        """Return the outputs minus the low target, or the lowest, scaled to a sum of 1."""
        low, _, f, _ = ACTIVATIONS[activation]
        y = [f(net) - low for net in self.compute_nets(x)]
        y = [value - min([0, *y]) for value in y]
        shares = [value / sum(y) if sum(y) else 1 / len(y) for value in y]
        return dict(zip(self.labels, shares, strict=True))

    def learn(self, x, label, lr, epsilon, activation, weight=1.0):
        """Learn a sample; return its error."""
        if label not in self.labels:
            self.add_label(label)
        for name in x:
            if name not in self.features:
                self.add_feature(name)
        values = [x.get(name, 0.0) for name in self.features]
        target = self.labels.index(label)
        rates = [weight * compute_rate(lr, n) for n in self.counts]
        _, error = update_weights(self.w, self.b, values, target, rates, epsilon, activation)
        for i, value in enumerate([1.0, *values]):
            is_counted = error >= epsilon and value != 0 and self.counts[i] < count_falling(lr)
            self.counts[i] += is_counted
        self.n_seen += 1
        return error
