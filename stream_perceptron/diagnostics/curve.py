"""The learning curve of a report: accuracy and error over windows of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stream_perceptron.diagnostics.plots import Line, Panel, draw_lines
from stream_perceptron.model.arrays import Array

if TYPE_CHECKING:
    from stream_perceptron.live.model import LiveModel


_MIN_WINDOW_SAMPLES = 100  # the accuracy over fewer samples is mostly noise
_MAX_DRAWN = 1e300  # errors of a diverging run can overflow
_MAX_MARKS = 8  # drops in accuracy that are marked


def draw_learning_curve(live: LiveModel) -> dict[str, object] | None:
    """Draw the learning curve and summarize it in words; return None if there are no samples."""
    from markupsafe import Markup

    progress = live.progress
    samples = progress.curve.column("samples")
    if not len(samples):
        return None
    begin, end = _find_rolling_windows(samples)
    n = _sum_windows(samples, begin, end)
    errors = _sum_windows(progress.curve.column("errors"), begin, end) / n
    updated = _sum_windows(progress.curve.column("updates"), begin, end) / n
    last, at = float(samples.sum()), samples.cumsum()[end - 1]
    panels = [
        _build_accuracy_panel(live, begin, end),
        Panel([Line("mean error", "error", at, errors)], 0.0, _choose_axis_end(errors)),
    ]
    is_varied = float(np.ptp(updated)) >= 0.001
    if is_varied:
        line = Line("samples that changed the weights", "window", at, updated)
        panels.append(Panel([line], 0.0, _choose_axis_end(updated), is_share=True))
    drops = [event for event in progress.events if event.is_drop and event.is_overall]
    marks = {float(event.sample): f"row {event.row:,}" for event in drops[-_MAX_MARKS:]}
    blank_marks = dict.fromkeys(marks, "")
    drawn = [
        {
            "keys": [(line.kind, line.name) for line in panel.lines[::-1]],
            "start": panel.ticks[0],
            "drawing": Markup(
                draw_lines(
                    panel,
                    last,
                    marks if panel is panels[0] else blank_marks,
                    panel is panels[-1],
                )
            ),
        }
        for panel in panels
    ]
    ranges = [("accuracy", panels[0].lines[-1].y, ".1%"), ("mean error", errors, ".3g")]
    ranges += [("the share of samples that changed the weights", updated, ".1%")] * is_varied
    known = [(name, y[~np.isnan(y)], form) for name, y, form in ranges]
    parts = [f"{name} from {y[0]:{form}} to {y[-1]:{form}}" for name, y, form in known if len(y)]
    n_new = progress.confusion.tested + progress.n_untested
    summary = ["Rows learned again are included."] if n_new < progress.samples else []
    texts = [event.describe(live.model.classes_) for event in progress.events]
    summary += [f"{text[:1].upper()}{text[1:]}." for text in texts]
    if len(n) > 1:
        windows = f"From the first {int(n[0]):,} samples to the last {int(n[-1]):,}"
        summary.insert(0, f"{windows}: {', '.join(parts)}.")
    return {"summary": " ".join(summary), "panels": drawn, "has_drops": bool(marks)}


def _build_accuracy_panel(live: LiveModel, begin: Array, end: Array) -> Panel:
    """Build the panel with the accuracy over windows, the accuracy so far, and the baseline."""
    progress = live.progress
    samples, right = progress.curve.column("samples"), progress.curve.column("right")
    at = samples.cumsum()
    # The first samples came before any label was known, so they are untested.
    untested = progress.n_untested
    tested = np.diff(np.maximum(at - untested, right.cumsum()), prepend=0)
    baseline = progress.compute_metrics(len(live.model.classes_)).baseline
    size = int(np.median(_sum_windows(samples, begin, end)))
    # Windows that consist of one bin each do not overlap.
    preposition = "per" if (end - begin == 1)[:-1].all() else "over"
    shares = (
        (f"accuracy {preposition} {size:,} samples", "window", at[end - 1],
         _sum_windows(right, begin, end), _sum_windows(tested, begin, end)),
        ("accuracy so far", "sofar", at, right.cumsum(), tested.cumsum()),
    )  # fmt: skip
    lines = []
    if baseline:
        lines.append(Line("majority class", "base", np.array([0, at[-1]]), np.full(2, baseline)))
    for name, kind, x, hits, total in shares[::-1]:
        lines.append(Line(name, kind, x, _compute_shares(hits, total)))
    lowest = min(float(np.nanmin([1.0, *line.y])) for line in lines)
    low = 0.0 if lowest < 0.5 else min(lowest, 0.98)
    return Panel(lines, low, 1.0, height=2, is_share=True)


def _compute_shares(hits: Array, total: Array) -> Array:
    """Return hits / total, or NaN where there are no samples."""
    return np.where(total > 0, hits / np.maximum(total, 1), np.nan)


def _find_rolling_windows(samples: Array) -> tuple[Array, Array]:
    """Return the starts and exclusive ends, in bins, of the shortest windows of sufficient size."""
    at = samples.cumsum()
    n_required = min(_MIN_WINDOW_SAMPLES, at[-1])
    end = np.flatnonzero(at >= n_required) + 1
    begin = np.searchsorted(at - samples, at[end - 1] - n_required, side="right") - 1
    return begin, end


def _sum_windows(column: Array, begin: Array, end: Array) -> Array:
    with np.errstate(over="ignore"):
        sums = [column[i:j].sum() for i, j in zip(begin, end, strict=True)]
    return np.minimum(sums, _MAX_DRAWN)


def _choose_axis_end(y: Array) -> float:
    """Return the end of an axis that begins at 0: the largest value, or 1 if all are tiny."""
    reach = float(y.max())
    return reach if reach > 1e-200 else 1.0
