"""The learning curve of the report."""

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
def learned(tmp_path, rng):
    """Learn n rows of three classes, none of them declared."""

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


def heights(drawing, kind):
    """Return the values of a line or dot, read against the axis's numbers."""
    ticks = re.findall(r'd="M0 ([\d.]+)h\d+"/><text x="-8"[^>]*>([\d.]+)%?<', drawing)
    (bottom, low), (top, high) = ((float(y), float(value)) for y, value in (ticks[0], ticks[-1]))
    points = re.search(rf'<polyline class="{kind}" points="([^"]*)"', drawing)
    dot = re.search(rf'<circle class="dot {kind}"[^>]*cy="([\d.]+)"', drawing)
    places = [each.split(",")[1] for each in points[1].split()] if points else [dot[1]]
    return [low + (bottom - float(y)) / (bottom - top) * (high - low) for y in places]


@pytest.mark.parametrize("n", [2, 30, 150, 999, 5000])
@pytest.mark.parametrize("width", ["broad", "narrow"])
def test_lines_end_where_the_figures_of_the_run_are(n, width, learned):
    """This holds with an untested first sample, and with too few samples for a window."""
    live = learned(n)
    progress, (panel, *_) = live.progress, draw_learning_curve(live)["panels"]
    drawing = panel["drawings"][width]
    scores = progress.scores(3)

    assert progress.confusion.tested == n - 1
    # Coordinates have one decimal, finer than a tenth of a percent.
    assert heights(drawing, "sofar")[-1] == pytest.approx(100 * progress.accuracy, abs=0.1)
    assert heights(drawing, "base") == pytest.approx([100 * scores.baseline] * 2, abs=0.1)
    assert heights(drawing, "window")
    assert all(0 <= y <= 100.1 for y in heights(drawing, "window"))


@pytest.mark.parametrize("n", [99, 100, 150, 999, 2001, 5000])
def test_no_window_has_few_samples(n, learned):
    shown = draw_learning_curve(learned(n))
    sizes = re.match(r"From the first ([\d,]+) samples to the last ([\d,]+):", shown["summary"])

    assert (sizes is None) == (n <= 100)
    for size in sizes.groups() if sizes else ():
        assert 100 <= int(size.replace(",", "")) <= n


def test_an_axis_begins_at_0_or_says_where(learned):
    live = learned(1000)
    progress = live.progress
    (panel, *_) = draw_learning_curve(live)["panels"]
    assert panel["start"] == 0
    assert "cut" not in panel["drawings"]["broad"]

    # Pretend that all had one label, and nearly all were right.
    pairs = np.array([[0, 0, progress.progressive.tested]])
    progress.progressive.confusion = Confusion.from_saved(pairs)
    progress.curve.sums[:, 1] = progress.curve.sums[:, 0]
    progress.curve.sums[[20, 30], 1] -= 1
    (panel, *_) = draw_learning_curve(live)["panels"]
    assert 0.9 <= panel["start"] < 1
    assert all('class="cut"' in drawing for drawing in panel["drawings"].values())


def test_drops_of_accuracy_are_marked_and_all_events_described(learned):
    live = learned(1000)
    live.progress.events += [
        DriftEvent(EventKind.DROP, 501, 500, 600, 0.8, 0.3),
        DriftEvent(EventKind.RECOVERY, 700, 699, 700, 0.3, 0.8),
        DriftEvent(EventKind.DROP, 901, 900, 950, 0.9, 0.1, label=0),
    ]
    shown = draw_learning_curve(live)

    assert "Accuracy dropped from 80.0% to 30.0% near row 501." in shown["summary"]
    assert "Accuracy recovered from 30.0% to 80.0% near row 700." in shown["summary"]
    assert " dropped from 90.0% to 10.0% near row 901." in shown["summary"]
    for panel in shown["panels"]:
        for drawing in panel["drawings"].values():
            assert drawing.count('class="drop"') == 1


def test_errors_as_large_as_numbers_are(learned):
    live = learned(500)
    live.progress.curve.sums[-3:, 2] = [1.7e308, 1.7e308, 5e-324]
    _, panel, *_ = draw_learning_curve(live)["panels"]

    assert not re.search("nan|inf", panel["drawings"]["broad"])
