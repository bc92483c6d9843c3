"""The rule in plain Python, as on paper."""

from __future__ import annotations

import math

ACTIVATIONS = {
    "sigmoid": (0, 1, lambda n: 1 / (1 + math.exp(-n)), lambda n, y: y * (1 - y)),
    "tanh": (-1, 1, math.tanh, lambda n, y: 1 - y * y),
    "arctan": (-math.pi / 2, math.pi / 2, math.atan, lambda n, y: 1 / (1 + n * n)),
    "identity": (0, 1, lambda n: n, lambda n, y: 1),
}


def step(w, b, x, label, lr, epsilon, activation):
    """Update w and b in place for one sample; return its net inputs and its error."""
    low, high, f, df = ACTIVATIONS[activation]
    net = [b[j] + sum(w[j][i] * x[i] for i in range(len(x))) for j in range(len(b))]
    y = [f(n) for n in net]
    d = [high if j == label else low for j in range(len(b))]
    eps = sum((d[j] - y[j]) ** 2 for j in range(len(b))) / 2
    if eps >= epsilon:
        for j in range(len(b)):
            delta = (d[j] - y[j]) * df(net[j], y[j])
            b[j] += lr * delta
            for i in range(len(x)):
                w[j][i] += lr * delta * x[i]
    return net, eps
