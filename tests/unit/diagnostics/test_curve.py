"""Drawing of the learning curve in the report."""

from __future__ import annotations

import re

import numpy as np
import pytest

from stream_perceptron import LiveModel
from stream_perceptron.data.opening import open_source
from stream_perceptron.diagnostics.curve import draw_learning_curve
from stream_perceptron.live.drift import DriftEvent, EventKind
from stream_perceptron.live.metrics import Confusion


@pytest.fixture
def learn_rows(tmp_path, rng):
    """A function that learns n rows of three undeclared classes and returns the live model."""

    def learn(n):
        labels, noise = rng.integers(3, size=n), rng.normal(size=(n, 3))
        rows = 1.5 * np.eye(3)[labels] + noise
        lines = [",".join([f"c{i}", *map(str, row)]) for i, row in zip(labels, rows, strict=True)]
        (tmp_path / "s.csv").write_text("\n".join(["label,a,b,c", *lines]))
        sources = [open_source(str(tmp_path / "s.csv"))]
        live = LiveModel.start(sources, lr=0.1, seed=0)
        for _ in live.run(sources):
            pass
        return live

    return learn


def read_values(drawing, kind):
    """Return the values of a line or dot, converted with the ticks of the axis."""
    ticks = re.findall(r'd="M0 ([\d.]+)h\d+"/><text x="-8"[^>]*>([\d.]+)%?<', drawing)
    (bottom, low), (top, high) = ((float(y), float(value)) for y, value in (ticks[0], ticks[-1]))
    points = re.search(rf'<polyline class="{kind}" points="([^"]*)"', drawing)
    dot = re.search(rf'<circle class="dot {kind}"[^>]*cy="([\d.]+)"', drawing)
    y_coordinates = [point.split(",")[1] for point in points[1].split()] if points else [dot[1]]
    return [low + (bottom - float(y)) / (bottom - top) * (high - low) for y in y_coordinates]


@pytest.mark.parametrize("n", [2, 30, 150, 999, 5000])
@pytest.mark.parametrize("width", ["broad", "narrow"])
def test_curve_ends_at_the_accuracy_of_the_run(n, width, learn_rows):
    """The first sample is untested, and there may be too few samples for a window."""
    live = learn_rows(n)
    progress, (panel, *_) = live.progress, draw_learning_curve(live)["panels"]
    drawing = panel["drawings"][width]
    metrics = progress.compute_metrics(3)

    assert progress.confusion.tested == n - 1
    # Coordinates have one decimal, finer than a tenth of a percent.
    assert read_values(drawing, "sofar")[-1] == pytest.approx(100 * progress.accuracy, abs=0.1)
    assert read_values(drawing, "base") == pytest.approx([100 * metrics.baseline] * 2, abs=0.1)
    assert read_values(drawing, "window")
    assert all(0 <= y <= 100.1 for y in read_values(drawing, "window"))


@pytest.mark.parametrize("n", [99, 100, 150, 999, 2001, 5000])
def test_windows_have_at_least_100_samples(n, learn_rows):
    curve = draw_learning_curve(learn_rows(n))
    sizes = re.match(r"From the first ([\d,]+) samples to the last ([\d,]+):", curve["summary"])

    assert (sizes is None) == (n <= 100)
    for size in sizes.groups() if sizes else ():
        assert 100 <= int(size.replace(",", "")) <= n


def test_axis_that_starts_above_0_is_marked(learn_rows):
    live = learn_rows(1000)
    progress = live.progress
    (panel, *_) = draw_learning_curve(live)["panels"]
    assert panel["start"] == 0
    assert "cut" not in panel["drawings"]["broad"]

    # Pretend that all samples have one label and nearly all predictions are right.
    pairs = np.array([[0, 0, progress.confusion.tested]])
    progress.confusion = Confusion.from_saved(pairs)
    progress.curve.sums[:, 1] = progress.curve.sums[:, 0]
    progress.curve.sums[[20, 30], 1] -= 1
    (panel, *_) = draw_learning_curve(live)["panels"]
    assert 0.9 <= panel["start"] < 1
    assert all('class="cut"' in drawing for drawing in panel["drawings"].values())


def test_drops_are_marked_and_all_events_are_described(learn_rows):
    live = learn_rows(1000)
    live.progress.events += [
        DriftEvent(EventKind.DROP, 501, 500, 600, 0.8, 0.3),
        DriftEvent(EventKind.RECOVERY, 700, 699, 700, 0.3, 0.8),
        DriftEvent(EventKind.DROP, 901, 900, 950, 0.9, 0.1, label=0),
    ]
    curve = draw_learning_curve(live)

    assert "Accuracy dropped from 80.0% to 30.0% near row 501." in curve["summary"]
    assert "Accuracy recovered from 30.0% to 80.0% near row 700." in curve["summary"]
    assert " dropped from 90.0% to 10.0% near row 901." in curve["summary"]
    for panel in curve["panels"]:
        for drawing in panel["drawings"].values():
            assert drawing.count('class="drop"') == 1


def test_extreme_errors_have_finite_coordinates(learn_rows):
    live = learn_rows(500)
    live.progress.curve.sums[-3:, 2] = [1.7e308, 1.7e308, 5e-324]
    _, panel, *_ = draw_learning_curve(live)["panels"]

    assert not re.search("nan|inf", panel["drawings"]["broad"])
