"""The report of a run: one page of HTML without scripts or network access."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stream_perceptron.checkpoint.codec import encode_class_weight
from stream_perceptron.diagnostics.curve import classes_over_time, curve_of
from stream_perceptron.diagnostics.diagnosis import findings_in
from stream_perceptron.diagnostics.mistakes import misleading, mistakes_in, training_on
from stream_perceptron.diagnostics.plots import (
    AGAINST,
    FOR,
    Dot,
    confusion_png,
    ink_png,
    precision_recall_svg,
    weights_png,
)
from stream_perceptron.live.lineage import shown_class_weight, shown_lr
from stream_perceptron.live.ranking import compute_figures
from stream_perceptron.model.vocabulary import natural_order

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.model import LiveModel
    from stream_perceptron.live.ranking import Ranking

_MOST = 20  # classes in the matrix and in the drawings of weights
_MOST_PAIRS = 15
_MOST_CLASSES = 100  # in the table of classes
_MIRRORED = 0.05  # of the largest weight: the most that two mirrored weights may differ by
_THRESHOLDS = (0.2, 0.5, 0.8)  # shown in drawings of precision and recall
_MOST_POINTS = 300  # of such a drawing
_STRONGEST = 8  # weights of a class
_CHARACTERS = 72  # the largest width of the matrix

_FOLDER = Path(__file__).parent
_COLOURS = f":root {{ --for: rgb{FOR}; --against: rgb{AGAINST} }}\n"


def report(
    live: LiveModel, name: str, examples: Source | None = None, saved: datetime | None = None
) -> str:
    """Return the report of a run as HTML, in which every name is escaped.

    Parameters
    ----------
    live
        The run.
    name
        The title, such as the name of the model's file.
    examples
        Labelled samples; the page shows the most confident mistakes on them.
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
    n_classes = len(live.model.classes_)
    is_tested = live.progress.tally.tested > 0
    return environment.get_template("report.html").render(
        name=name,
        live=live,
        version=__version__,
        saved=saved,
        style=Markup(_COLOURS + (_FOLDER / "report.css").read_text()),
        curve=curve_of(live),
        over_time=classes_over_time(live),
        events=_events(live),
        findings=list(findings_in(live)),
        scores=live.progress.scores(n_classes) if is_tested else None,
        lineage=live.lineage.lines(),
        matrix=_matrix(live) if is_tested and n_classes <= _MOST else None,
        heat=_heat(live) if is_tested and _MOST < n_classes <= _MOST_CLASSES else None,
        pairs=_pairs(live) if is_tested and n_classes > _MOST else None,
        classes=_classes(live) if is_tested else None,
        weights=_weights(live) if live.model.weights.size else None,
        examples=None if examples is None else _examples(live, examples),
        hyperparameters=list(_hyperparameters(live)),
    )


def _names(live: LiveModel) -> list[str]:
    return [str(name) for name in live.model.classes_]


def _matrix(live: LiveModel) -> dict[str, Any]:
    """Return the confusion matrix: counts, or percent of each label if counts are too wide."""
    names = _names(live)
    counts = live.progress.tally.confusion.matrix(range(len(names)))
    is_wide = len(names) * (len(f"{counts.max():,}") + 2) > _CHARACTERS
    rows = []
    for i, name in enumerate(names):
        n = max(int(counts[i].sum()), 1)
        cells = [
            _cell(prediction, count, count / n, i == j, is_wide)
            for j, (prediction, count) in enumerate(zip(names, counts[i].tolist(), strict=True))
        ]
        rows.append({"name": name, "cells": cells})
    is_numbered = len(names) * max(map(len, names)) > _CHARACTERS
    return {"names": names, "rows": rows, "is_wide": is_wide, "is_numbered": is_numbered}


def _cell(prediction: str, n: int, share: float, is_hit: bool, is_wide: bool) -> dict[str, Any]:
    is_little = is_wide and 0 < share < 0.005
    shown = f"{100 * share:.0f}" if is_wide else f"{n:,}"
    return {
        "prediction": prediction,
        "shown": "" if not n else "<1" if is_little else shown,
        "kind": ("hit" if is_hit else "miss") + " little" * is_little,
        # Colour mistakes more strongly, so that small shares are visible.
        "strength": 0.4 * share if is_hit else min(3 * share, 0.7),
    }


def _heat(live: LiveModel) -> dict[str, Any]:
    """Return the confusion matrix as a picture with a pixel for each pair of classes."""
    order = [live.model.classes_.index(name) for name in natural_order(live.model.classes_)]
    names = [str(live.model.classes_[i]) for i in order]
    counts = live.progress.tally.confusion.matrix(order)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return {"data": confusion_png(shares), "n": len(names), "first": names[0], "last": names[-1]}


def _events(live: LiveModel) -> list[str]:
    """Return the drift events as text."""
    texts = [event.describe(live.model.classes_) for event in live.progress.events]
    return [text[:1].upper() + text[1:] for text in texts]


def _pairs(live: LiveModel) -> list[dict[str, Any]]:
    """Return the most frequent pairs of label and wrong prediction."""
    names = _names(live)
    confusion = live.progress.tally.confusion
    seen, _, _ = confusion.sums(len(names))
    wrong = sorted((-n, i, j) for i, j, n in confusion.pairs.tolist() if i != j)
    return [
        {"label": names[i], "prediction": names[j], "n": -n, "share": -n / seen[i]}
        for n, i, j in wrong[:_MOST_PAIRS]
    ]


def _classes(live: LiveModel) -> dict[str, Any]:
    """Return precision and recall of the classes, worst first."""
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
    return {"rows": rows[:_MOST], "more": rows[_MOST:_MOST_CLASSES], "n": len(names)}


def _side(live: LiveModel) -> int | None:
    """Return the side of the square image that the features form, or None if they form none."""
    names = [str(name) for name in live.model.features_]
    side = isqrt(len(names))
    if side < 4 or side**2 != len(names) or not all(name[-1:].isdigit() for name in names):
        return None
    return side


def _columns(n: int) -> int:
    """Return the number of images per row that leaves the fewest gaps in the last row."""
    return min((6, 5, 7, 4), key=lambda columns: -n % columns)


def _weights(live: LiveModel) -> dict[str, Any]:
    """Return the weights of classes as images, or as bars of the strongest by name.

    If there are many classes, choose those of lowest recall.
    """
    model, side, names = live.model, _side(live), _names(live)
    recall = live.progress.scores(len(names)).recall
    shown = np.sort(np.argsort(recall, kind="stable")[:_MOST])
    reach = float(np.abs(model.weights).max()) or 1.0
    mirror = None
    if len(names) == 2 and np.abs(model.weights.sum(axis=0)).max(initial=0.0) < _MIRRORED * reach:
        # The weights of two classes differ by their initial values only: show the rarer class.
        rarer = int(live.progress.scores(2).counts.argmin())
        shown, mirror = np.array([rarer]), names[1 - rarer]
    n_left_out = 0 if mirror is not None else len(names) - len(shown)
    found = {"reach": reach, "shown": len(shown), "left_out": n_left_out, "mirror": mirror}
    each = [(names[j], model.weights[j], model.biases[j]) for j in shown.tolist()]
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
    """Return the most confident mistakes, as images or with the features that caused them."""
    examples = mistakes_in(live, source)
    side = _side(live)
    as_pictures = side is not None and all(len(m.x) == side**2 for m in examples.worst)
    rows = [
        {
            "mistake": m,
            "data": ink_png(np.array(list(m.x.values())).reshape(side, side))
            if as_pictures and side is not None
            else None,
            "features": misleading(live, m),
        }
        for m in examples.worst
    ]
    return {
        "source": source.name,
        "counts": examples,
        "curves": _curves(live, examples.ranking),
        "training": training_on(live, source, examples.rows),
        "rows": rows,
        "as_pictures": as_pictures,
        "columns": _columns(len(rows)),
    }


def _curves(live: LiveModel, ranking: Ranking) -> list[dict[str, Any]]:
    """Return drawings of precision and recall for up to 20 classes."""
    from markupsafe import Markup

    drawn = []
    names = _names(live) if len(live.model.classes_) <= _MOST else []
    for j, name in enumerate(names):
        curve = ranking.curve(j)
        if curve is None:
            continue
        figures, recall, precision = compute_figures(curve), curve.recall, curve.precision
        some = np.unique(np.linspace(0, len(recall) - 1, _MOST_POINTS).astype(int))
        dots: list[Dot] = []
        for threshold in (figures.best_threshold, *_THRESHOLDS):
            # The last different score that reaches the threshold.
            i = int(np.searchsorted(-curve.thresholds, -threshold, side="right")) - 1
            text = f"{threshold}{'' if dots else ' (best F1)'}"
            dot = Dot(float(recall[i]), float(precision[i]), text)
            if i >= 0 and all(dot.is_apart(other) for other in dots):
                dots.append(dot)
        drawing = precision_recall_svg(recall[some], precision[some], dots)
        drawn.append({"name": name, "figures": figures, "drawing": Markup(drawing)})
    return drawn


def _hyperparameters(live: LiveModel) -> Iterator[tuple[str, str]]:
    model, selection = live.model, live.selection
    yield "learning rate", shown_lr(model.lr)
    yield "epsilon", f"{model.epsilon:g}"
    yield "activation", model.activation
    yield "initial weights", f"within {model.init_range:g}"
    yield "seed", str(model.seed_)
    yield "kernel", live.kernel
    if model.class_weight is not None:
        yield "class weights", shown_class_weight(encode_class_weight(model.class_weight))
    if live.python_step is not None:
        yield "step before it", f"{live.python_step}, which runs only in Python"
    yield "label column", selection.label or "found by name"
    yield "scale", "1/255 for 8-bit, else 1" if selection.scale is None else f"{selection.scale:g}"
    if selection.standardize:
        yield "features", "standardized"
