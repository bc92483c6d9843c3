"""A run as one page of HTML that needs nothing else: no network, no scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.diagnostics.diagnosis import findings_in
from stream_perceptron.diagnostics.mistakes import Mistake, mistakes_in
from stream_perceptron.diagnostics.plots import Panel, curves, ink_png, weights_png
from stream_perceptron.live.lineage import shown_lr

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.model import LiveModel

Array = NDArray[Any]

_MOST_IN_MATRIX = 40
_MOST_CLASSES = 200  # in the table of classes
_MOST_DRAWN = 40  # classes whose weights are drawn
_STRONGEST = 8  # weights of a class
_SHOWN_FEATURES = 6  # of a mistake that is no picture

_FOLDER = Path(__file__).parent


def report(
    live: LiveModel, name: str, examples: Source | None = None, saved: datetime | None = None
) -> str:
    """Return a page about a run: HTML in which every name is escaped.

    Parameters
    ----------
    live
        The run.
    name
        What the page is called, such as the name of the model's file.
    examples
        Labelled samples, of which the most confident mistakes are shown.
    saved
        When the model was saved.

    Raises
    ------
    SourceError
        If the examples have no labels.

    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from stream_perceptron import __version__

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    is_tested = live.progress.confusion.tested > 0
    return environment.get_template("report.html").render(
        name=name,
        live=live,
        version=__version__,
        saved=saved,
        style=Markup((_FOLDER / "report.css").read_text()),
        curve=_curve(live),
        findings=list(findings_in(live)),
        scores=live.progress.scores(len(live.model.classes_)),
        lineage=live.lineage.lines(),
        matrix=_matrix(live) if is_tested else None,
        pairs=_pairs(live) if is_tested else [],
        classes=_classes(live) if is_tested else None,
        weights=_weights(live) if live.model.weights.size else None,
        examples=None if examples is None else _examples(live, examples),
        hyperparameters=list(_hyperparameters(live)),
    )


def _names(live: LiveModel) -> list[str]:
    return [str(name) for name in live.model.classes_]


def _curve(live: LiveModel) -> dict[str, Any] | None:
    """Return the drawing of the learning curve, and what it shows in words."""
    from markupsafe import Markup

    curve = live.progress.curve
    samples = curve.column("samples")
    if not len(samples):
        return None
    at = samples.cumsum()
    overall = curve.column("right").cumsum() / at
    # The last bin is no bin until it is full.
    n = len(samples) - (len(samples) > 1 and samples[-1] < curve.bin)
    each, eps, updated = (
        curve.column(name)[:n] / samples[:n] for name in ("right", "eps", "updates")
    )
    panels = [
        Panel(
            [
                (f"accuracy of each {curve.bin:,} samples", at[:n], each, "#8fb8a8"),
                ("accuracy so far", at, overall, "#2a9f77"),
            ],
            height=2,
            is_share=True,
        ),
        Panel([("mean eps", at[:n], eps, "#d9694f")]),
    ]
    moves = float(updated.max() - updated.min()) >= 0.001
    if moves:
        panels.append(Panel([("samples that changed the weights", at[:n], updated, "#5b84c4")],
                            is_share=True))  # fmt: skip
    summary = f"Over {int(at[-1]):,} samples, accuracy is {overall[-1]:.1%}."
    if n > 1:
        summary += (
            f" It went from {each[0]:.1%} in the first {int(samples[0]):,} to {each[-1]:.1%} in "
            f"the last full {int(samples[n - 1]):,}, and mean eps from {eps[0]:.3g} to "
            f"{eps[-1]:.3g}."
        )
    if moves:
        summary += (
            f" The share of samples that changed the weights went from {updated[0]:.1%} to "
            f"{updated[-1]:.1%}."
        )
    changes = live.progress.changes
    marks = [change.sample for change in changes if change.is_fall]
    summary += "".join(f" {str(change).capitalize()}." for change in changes)
    return {"summary": summary, "drawing": Markup(curves(panels, marks))}


def _matrix(live: LiveModel) -> dict[str, Any]:
    """Return the confusion matrix of the classes with most errors, in their order."""
    names = _names(live)
    confusion = live.progress.confusion
    seen, _, right = confusion.sums(len(names))
    worst = np.argsort(right - seen, kind="stable")[:_MOST_IN_MATRIX]
    shown = np.sort(worst).tolist()
    counts = confusion.matrix(shown)
    rows = []
    for place, i in enumerate(shown):
        shares = counts[place] / max(int(seen[i]), 1)
        cells = [
            {
                "n": n,
                "kind": "hit" if place == j else "miss",
                "strength": min(share * (0.5 if place == j else 3), 0.7),
            }
            for j, (n, share) in enumerate(zip(counts[place].tolist(), shares, strict=True))
        ]
        rows.append({"name": names[i], "cells": cells})
    return {"names": [names[i] for i in shown], "rows": rows, "n": len(names)}


def _pairs(live: LiveModel) -> list[dict[str, Any]]:
    """Return the most common mistakes."""
    names = _names(live)
    confusion = live.progress.confusion
    seen, _, _ = confusion.sums(len(names))
    wrong = sorted((-n, i, j) for i, j, n in confusion.pairs.tolist() if i != j)
    return [
        {"label": names[i], "prediction": names[j], "n": -n, "share": -n / seen[i]}
        for n, i, j in wrong[:5]
    ]


def _classes(live: LiveModel) -> dict[str, Any]:
    """Return precision and recall of the classes, the worst first."""
    names = _names(live)
    scores = live.progress.scores(len(names))
    rows = [
        {
            "name": name,
            "n": int(scores.seen[j]),
            "precision": float(scores.precision[j]) if scores.predicted[j] else None,
            "recall": float(scores.recall[j]) if scores.seen[j] else None,
        }
        for j, name in enumerate(names)
    ]
    rows.sort(key=lambda row: -1.0 if row["recall"] is None else row["recall"])
    return {"rows": rows[:_MOST_CLASSES], "n": len(names)}


def _side(live: LiveModel) -> int | None:
    """Return the side of the square picture that the features are, None if they are none."""
    names = [str(name) for name in live.model.features_]
    side = isqrt(len(names))
    if side < 4 or side**2 != len(names) or not all(name[-1:].isdigit() for name in names):
        return None
    return side


def _columns(n: int) -> int:
    """Return how many of n pictures stand in a row, so that the last row is as full as can be."""
    return min((6, 5, 7, 4), key=lambda columns: -n % columns)


def _weights(live: LiveModel) -> dict[str, Any]:
    """Return the weights of each class: as a picture, or the strongest by name."""
    model, side = live.model, _side(live)
    names = _names(live)[:_MOST_DRAWN]
    reach = float(np.abs(model.weights).max()) or 1.0
    found = {"reach": reach, "left_out": len(model.classes_) - len(names)}
    each = list(zip(names, model.weights, model.biases, strict=False))
    if side is not None:
        pictures = [
            {
                "name": name,
                "bias": bias,
                "alt": f"Weights of {name}, from {weights.min():.2f} to {weights.max():.2f}",
                "data": weights_png(weights.reshape(side, side), reach),
            }
            for name, weights, bias in each
        ]
        return found | {"pictures": pictures, "charts": [], "columns": _columns(len(pictures))}
    features = [str(name) for name in model.features_]
    charts = [
        {
            "name": name,
            "bias": bias,
            "bars": [
                {"name": features[i], "weight": float(weights[i]), "share": abs(weights[i]) / reach}
                for i in np.argsort(-np.abs(weights), kind="stable")[:_STRONGEST]
            ],
        }
        for name, weights, bias in each
    ]
    return found | {"pictures": [], "charts": charts}


def _examples(live: LiveModel, source: Source) -> dict[str, Any]:
    """Return the most confident mistakes: as pictures, or with the features that led astray."""
    mistakes, labelled, right = mistakes_in(live, source)
    side = _side(live)
    as_pictures = side is not None and all(len(mistake.x) == side**2 for mistake in mistakes)
    rows = [
        {
            "row": m.row,
            "label": str(m.label),
            "prediction": str(m.prediction),
            "probability": m.probability,
            "data": ink_png(np.array(list(m.x.values())).reshape(side, side))
            if as_pictures and side is not None
            else None,
            "features": _misleading(live, m),
        }
        for m in mistakes
    ]
    return {
        "source": source.name,
        "labelled": labelled,
        "right": right,
        "rows": rows,
        "as_pictures": as_pictures,
        "columns": _columns(len(rows)),
    }


def _misleading(live: LiveModel, mistake: Mistake) -> Sequence[tuple[str, float]]:
    """Return the features of a mistake that speak most for the prediction and against the label."""
    model = live.model
    numbers = {label: j for j, label in enumerate(model.classes_)}
    toward = model.weights[numbers[mistake.prediction]]
    if mistake.label in numbers:
        toward = toward - model.weights[numbers[mistake.label]]
    columns = {name: i for i, name in enumerate(model.features_)}
    known = [name for name in mistake.x if name in columns]
    at = np.array([columns[name] for name in known], np.intp)
    x = np.array([mistake.x[name] for name in known], np.float64)
    scaler = model.network.scaler
    spoken = toward[at] * (x if scaler is None else scaler.scaled(at, x))
    order = np.argsort(-spoken, kind="stable")[:_SHOWN_FEATURES]
    return [(str(known[i]), float(x[i])) for i in order if spoken[i] > 0]


def _hyperparameters(live: LiveModel) -> Iterator[tuple[str, str]]:
    model, selection = live.model, live.selection
    yield "learning rate", shown_lr(model.lr)
    yield "epsilon", f"{model.epsilon:g}"
    yield "activation", model.activation
    yield "initial weights", f"within {model.init_range:g}"
    yield "seed", str(model.seed_)
    yield "type", model.dtype
    yield "kernel", live.kernel
    yield "label column", selection.label or "found by name"
    yield "scale", "1/255 for 8-bit, else 1" if selection.scale is None else f"{selection.scale:g}"
    if selection.standardize:
        yield "features", "standardized"
