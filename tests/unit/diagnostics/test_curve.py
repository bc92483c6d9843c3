"""Drawing of the learning curve in the report."""

from __future__ import annotations

import re

import numpy as np
import pytest

from stream_perceptron import LiveModel
from stream_perceptron.data.opening import open_source
from stream_perceptron.diagnostics.curve import draw_learning_curve
from stream_perceptron.live.loop import learn


@pytest.fixture
def learn_rows(tmp_path, rng):
    """A function that learns n rows of three undeclared classes and returns the live model."""

    def learn_n(n):
        labels, noise = rng.integers(3, size=n), rng.normal(size=(n, 3))
        rows = 1.5 * np.eye(3)[labels] + noise
        lines = [",".join([f"c{i}", *map(str, row)]) for i, row in zip(labels, rows, strict=True)]
        (tmp_path / "s.csv").write_text("\n".join(["label,a,b,c", *lines]))
        sources = [open_source(str(tmp_path / "s.csv"))]
        live = LiveModel.start(sources, lr=0.1, seed=0)
        for _ in learn(live, sources):
            pass
        return live

    return learn_n


def read_values(drawing, kind):
    """Return the values of a line or dot, converted with the ticks of the axis."""
    ticks = re.findall(r'd="M0 ([\d.]+)h\d+"/><text x="-8"[^>]*>([\d.]+)%?<', drawing)
    (bottom, low), (top, high) = ((float(y), float(value)) for y, value in (ticks[0], ticks[-1]))
    points = re.search(rf'<polyline class="{kind}" points="([^"]*)"', drawing)
    dot = re.search(rf'<circle class="dot {kind}"[^>]*cy="([\d.]+)"', drawing)
    y_coordinates = [point.split(",")[1] for point in points[1].split()] if points else [dot[1]]
    return [low + (bottom - float(y)) / (bottom - top) * (high - low) for y in y_coordinates]


@pytest.mark.parametrize("n", [2, 100, 150, 2001])
def test_curve_ends_at_the_accuracy_of_the_run(n, learn_rows):
    """The first sample is untested, and there may be too few samples for a window of 100."""
    live = learn_rows(n)
    progress, curve = live.progress, draw_learning_curve(live)
    metrics = progress.compute_metrics(3)
    sizes = re.match(r"From the first ([\d,]+) samples to the last ([\d,]+):", curve["summary"])

    assert progress.confusion.tested == n - 1
    drawing = curve["panels"][0]["drawing"]
    # Coordinates have one decimal, finer than a tenth of a percent.
    assert read_values(drawing, "sofar")[-1] == pytest.approx(100 * progress.accuracy, abs=0.1)
    assert read_values(drawing, "base") == pytest.approx([100 * metrics.baseline] * 2, abs=0.1)
    assert read_values(drawing, "window")
    assert all(0 <= y <= 100.1 for y in read_values(drawing, "window"))
    assert (sizes is None) == (n <= 100)
    for size in sizes.groups() if sizes else ():
        assert 100 <= int(size.replace(",", "")) <= n


def test_extreme_errors_have_finite_coordinates(learn_rows):
    live = learn_rows(500)
    live.progress.curve.sums[-3:, 2] = [1.7e308, 1.7e308, 5e-324]
    _, panel, *_ = draw_learning_curve(live)["panels"]

    assert not re.search("nan|inf", panel["drawing"])
