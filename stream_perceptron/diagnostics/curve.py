"""The learning curve of a report: accuracy and error over windows of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.diagnostics.plots import Line, Panel, lines_svg, shares_svg

if TYPE_CHECKING:
    from stream_perceptron.live.model import LiveModel

Array = NDArray[Any]

_WINDOW = 100  # the least samples of a window; the accuracy of fewer is mostly noise
_LARGEST = 1e300  # the largest value drawn; errors of a diverging run can overflow
_MAX_MARKS = 8  # drops of accuracy that are marked
_MOST_POINTS = 25  # of the curves of a class
_WIDTHS = {"broad": 600, "narrow": 340}  # of the drawings for desktops and for phones


def curve_of(live: LiveModel) -> dict[str, Any] | None:
    """Return the drawings of the learning curve and a summary in words, or None without samples."""
    from markupsafe import Markup

    progress = live.progress
    samples = progress.curve.column("samples")
    if not len(samples):
        return None
    begin, end = _windows(samples)
    n = _sums(samples, begin, end)
    errors = _sums(progress.curve.column("errors"), begin, end) / n
    updated = _sums(progress.curve.column("updates"), begin, end) / n
    last, at = float(samples.sum()), samples.cumsum()[end - 1]
    panels = [
        _accuracy(live, begin, end),
        Panel([Line("mean error", "error", at, errors)], 0.0, _reach(errors)),
    ]
    moves = float(np.ptp(updated)) >= 0.001
    if moves:
        line = Line("samples that changed the weights", "window", at, updated)
        panels.append(Panel([line], 0.0, _reach(updated), is_share=True))
    drops = [event for event in progress.events if event.is_drop and event.is_overall]
    marks = {float(event.sample): f"row {event.row:,}" for event in drops[-_MAX_MARKS:]}
    unnamed = dict.fromkeys(marks, "")
    drawn = [
        {
            "keys": [(line.kind, line.name) for line in panel.lines[::-1]],
            "start": panel.ticks[0],
            "drawings": {
                name: Markup(
                    lines_svg(
                        panel,
                        last,
                        width,
                        marks if panel is panels[0] else unnamed,
                        panel is panels[-1],
                    )
                )
                for name, width in _WIDTHS.items()
            },
        }
        for panel in panels
    ]
    went = [("accuracy", panels[0].lines[-1].y, ".1%"), ("mean error", errors, ".3g")]
    went += [("the share of samples that changed the weights", updated, ".1%")] * moves
    parts = [f"{name} from {y[0]:{form}} to {y[-1]:{form}}" for name, y, form in went if len(y)]
    summary = ["Rows learned again count, too."] if progress.training.tested else []
    texts = [event.describe(live.model.classes_) for event in progress.events]
    summary += [f"{text[:1].upper()}{text[1:]}." for text in texts]
    if len(n) > 1:
        each = f"From the first {int(n[0]):,} samples to the last {int(n[-1]):,}"
        summary.insert(0, f"{each}: {', '.join(parts)}.")
    return {"summary": " ".join(summary), "panels": drawn, "has_drops": bool(marks)}


def classes_over_time(live: LiveModel) -> list[dict[str, Any]] | None:
    """Return a drawing of the recall of each class and of its share of the samples.

    None if classes were not counted over time, or for fewer than two bins.
    """
    from markupsafe import Markup

    curve, names = live.progress.curve, live.model.classes_
    counts = curve.class_counts
    if counts is None or len(counts) < 2 or not counts.shape[1]:
        return None
    step = -(-len(counts) // _MOST_POINTS)
    starts = np.arange(0, len(counts), step)
    summed = np.add.reduceat(counts, starts)
    samples = np.add.reduceat(curve.column("samples"), starts)
    at = samples.cumsum()
    drawn = []
    for j, name in enumerate(names[: counts.shape[1] // 2]):
        seen, right = summed[:, 2 * j], summed[:, 2 * j + 1]
        some = seen > 0
        lines = [Line("share", "base", at, seen / samples)]
        if some.any():
            lines.append(Line("recall", "window", at[some], right[some] / seen[some]))
        drawn.append({"name": str(name), "drawing": Markup(shares_svg(lines, float(at[-1])))})
    return drawn


def _accuracy(live: LiveModel, begin: Array, end: Array) -> Panel:
    """Return the panel with the accuracy of windows and of all samples so far, and the baseline."""
    progress = live.progress
    samples, right = progress.curve.column("samples"), progress.curve.column("right")
    at = samples.cumsum()
    # The first samples were learned before any label was known, so they are untested.
    untested = progress.n_untested
    tested = np.diff(np.maximum(at - untested, right.cumsum()), prepend=0)
    baseline = progress.scores(len(live.model.classes_)).baseline
    size = int(np.median(_sums(samples, begin, end)))
    # A window of one bin does not overlap the next.
    each = "of each" if (end - begin == 1)[:-1].all() else "over"
    shares = (
        (f"accuracy {each} {size:,} samples", "window", at[end - 1],
         _sums(right, begin, end), _sums(tested, begin, end)),
        ("accuracy so far", "sofar", at, right.cumsum(), tested.cumsum()),
    )  # fmt: skip
    lines = [Line("largest class", "base", np.array([0, at[-1]]), np.full(2, baseline))]
    for name, kind, x, part, whole in shares[::-1]:
        known = whole > 0
        lines.append(Line(name, kind, x[known], part[known] / whole[known]))
    least = min(float(line.y.min(initial=1.0)) for line in lines)
    low = 0.0 if least < 0.5 else min(least, 0.98)
    return Panel(lines, low, 1.0, height=2, is_share=True)


def _windows(samples: Array) -> tuple[Array, Array]:
    """Return the begins and ends of windows: for each bin, the shortest that has enough samples."""
    at = samples.cumsum()
    need = min(_WINDOW, at[-1])
    end = np.flatnonzero(at >= need) + 1
    begin = np.searchsorted(at - samples, at[end - 1] - need, side="right") - 1
    return begin, end


def _sums(column: Array, begin: Array, end: Array) -> Array:
    with np.errstate(over="ignore"):
        sums = [column[i:j].sum() for i, j in zip(begin, end, strict=True)]
    return np.minimum(sums, _LARGEST)


def _reach(y: Array) -> float:
    """Return the end of an axis from 0, or 1 if all values are nearly 0."""
    reach = float(y.max())
    return reach if reach > 1e-200 else 1.0
