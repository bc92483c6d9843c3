"""The report of a run: one page of HTML without scripts or network access."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stream_perceptron.data.notices import format_scale
from stream_perceptron.diagnostics.curve import draw_learning_curve
from stream_perceptron.diagnostics.diagnosis import collect_findings
from stream_perceptron.diagnostics.mistakes import (
    describe_training,
    find_misleading_features,
    find_mistakes,
)
from stream_perceptron.diagnostics.plots import (
    NEGATIVE_COLOR,
    POSITIVE_COLOR,
    draw_ink,
    draw_weights,
)
from stream_perceptron.live.history import format_lr
from stream_perceptron.model.class_weights import format_class_weight

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.model import LiveModel

_MAX_CLASSES = 20  # in the matrix and in the drawings of weights
_MAX_PAIRS = 15
_MAX_TABLE_ROWS = 100  # in the table of classes
_MIRROR_TOLERANCE = 0.05  # share of the largest weight by which two mirrored weights may differ
_MAX_BARS = 8  # the strongest weights of a class
_MAX_MATRIX_WIDTH = 72

_FOLDER = Path(__file__).parent
_COLORS = f":root {{ --for: rgb{POSITIVE_COLOR}; --against: rgb{NEGATIVE_COLOR} }}\n"


def report(
    live: LiveModel, name: str, examples: Source | None = None, saved: datetime | None = None
) -> str:
    """Render the report of a run as HTML; every name is escaped.

    Parameters
    ----------
    live
        The live model of the run.
    name
        The title, such as the name of the model's file.
    examples
        Labeled samples; the page shows the model's most confident mistakes on them.
    saved
        When the model was saved.

    Raises
    ------
    SourceError
        If the examples have no labels.

    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    n_classes = len(live.model.classes_)
    is_tested = live.progress.confusion.tested > 0
    return environment.get_template("report.html").render(
        name=name,
        live=live,
        version=version("stream-perceptron"),
        saved=saved,
        style=Markup(_COLORS + (_FOLDER / "report.css").read_text()),
        curve=draw_learning_curve(live),
        events=_describe_events(live),
        findings=list(collect_findings(live)),
        metrics=live.progress.compute_metrics(n_classes) if is_tested else None,
        entries=live.history.format_lines(),
        matrix=_build_matrix(live) if is_tested and n_classes <= _MAX_CLASSES else None,
        pairs=_find_confused_pairs(live) if is_tested and n_classes > _MAX_CLASSES else None,
        classes=_build_class_table(live) if is_tested else None,
        weights=_build_weight_drawings(live) if live.model.weights.size else None,
        examples=None if examples is None else _describe_mistakes(live, examples),
        hyperparameters=list(_list_hyperparameters(live)),
    )


def _get_class_names(live: LiveModel) -> list[str]:
    return [str(name) for name in live.model.classes_]


def _build_matrix(live: LiveModel) -> dict[str, object]:
    """Return the confusion matrix as counts, or as shares of each label if counts are too wide."""
    names = _get_class_names(live)
    counts = live.progress.confusion.matrix(range(len(names)))
    is_wide = len(names) * (len(f"{counts.max():,}") + 2) > _MAX_MATRIX_WIDTH
    rows = []
    for i, name in enumerate(names):
        n = max(int(counts[i].sum()), 1)
        cells = [
            _build_cell(count, count / n, i == j, is_wide)
            for j, count in enumerate(counts[i].tolist())
        ]
        rows.append({"name": name, "cells": cells})
    is_numbered = len(names) * max(map(len, names)) > _MAX_MATRIX_WIDTH
    return {"names": names, "rows": rows, "is_wide": is_wide, "is_numbered": is_numbered}


def _build_cell(n: int, share: float, is_hit: bool, is_wide: bool) -> dict[str, object]:
    """Return the text, CSS classes and color strength of a cell of the confusion matrix."""
    is_tiny = is_wide and 0 < share < 0.005
    text = f"{100 * share:.0f}" if is_wide else f"{n:,}"
    return {
        "shown": "" if not n else "<1" if is_tiny else text,
        "kind": "hit" if is_hit else "miss",
        # Color mistakes more strongly, so that small shares are visible.
        "strength": 0.4 * share if is_hit else min(3 * share, 0.7),
    }


def _describe_events(live: LiveModel) -> list[str]:
    """Return the drift events as text."""
    texts = [event.describe(live.model.classes_) for event in live.progress.events]
    return [text[:1].upper() + text[1:] for text in texts]


def _find_confused_pairs(live: LiveModel) -> list[dict[str, object]]:
    """Return the most frequent pairs of a label and a wrong prediction."""
    names = _get_class_names(live)
    confusion = live.progress.confusion
    seen = confusion.compute_metrics(len(names)).seen
    wrong = sorted((-n, i, j) for i, j, n in confusion.pairs.tolist() if i != j)
    return [
        {"label": names[i], "prediction": names[j], "n": -n, "share": -n / seen[i]}
        for n, i, j in wrong[:_MAX_PAIRS]
    ]


def _build_class_table(live: LiveModel) -> dict[str, object]:
    """Return the precision and recall of each class, lowest recall first."""
    names = _get_class_names(live)
    metrics = live.progress.compute_metrics(len(names))
    rows = [
        {
            "name": name,
            "n": int(metrics.seen[j]),
            "precision": float(metrics.precision[j]) if metrics.predicted[j] else None,
            "recall": float(metrics.recall[j]) if metrics.seen[j] else None,
        }
        for j, name in enumerate(names)
    ]
    rows.sort(key=lambda row: -1.0 if row["recall"] is None else row["recall"])
    return {
        "rows": rows[:_MAX_CLASSES],
        "more": rows[_MAX_CLASSES:_MAX_TABLE_ROWS],
        "n": len(names),
    }


def _find_image_side(live: LiveModel) -> int | None:
    """Return the side length of the image that the features form; None if they form no square."""
    names = [str(name) for name in live.model.features_]
    side = isqrt(len(names))
    if side < 4 or side**2 != len(names) or not all(name[-1:].isdigit() for name in names):
        return None
    return side


def _choose_column_count(n: int) -> int:
    """Return the number of images per row that leaves the fewest gaps in the last row."""
    return min((6, 5, 7, 4), key=lambda columns: -n % columns)


def _build_weight_drawings(live: LiveModel) -> dict[str, object]:
    """Draw the weights of each class as an image, or the strongest weights as labeled bars.

    If there are many classes, choose those with the lowest recall.
    """
    model, side, names = live.model, _find_image_side(live), _get_class_names(live)
    recall = live.progress.compute_metrics(len(names)).recall
    shown = np.sort(np.argsort(recall, kind="stable")[:_MAX_CLASSES])
    reach = float(np.abs(model.weights).max()) or 1.0
    mirror = None
    if (
        len(names) == 2
        and np.abs(model.weights.sum(axis=0)).max(initial=0.0) < _MIRROR_TOLERANCE * reach
    ):
        # Initial values aside, the weights of two classes mirror each other: show the rarer class.
        rarer = int(live.progress.compute_metrics(2).counts.argmin())
        shown, mirror = np.array([rarer]), names[1 - rarer]
    n_left_out = 0 if mirror is not None else len(names) - len(shown)
    figures = {"reach": reach, "shown": len(shown), "left_out": n_left_out, "mirror": mirror}
    classes = [(names[j], model.weights[j], model.biases[j]) for j in shown.tolist()]
    if side is not None:
        pictures = [
            {
                "name": name,
                "bias": bias,
                "alt": f"Weights of {name}, from {weights.min():.2f} to {weights.max():.2f}",
                "data": draw_weights(weights.reshape(side, side), reach),
            }
            for name, weights, bias in classes
        ]
        return figures | {
            "pictures": pictures,
            "charts": [],
            "columns": _choose_column_count(len(pictures)),
        }
    features = [str(name) for name in model.features_]
    charts = [
        {
            "name": name,
            "bias": bias,
            "bars": [
                {"name": features[i], "weight": float(weights[i]), "share": abs(weights[i]) / reach}
                for i in np.argsort(-np.abs(weights), kind="stable")[:_MAX_BARS]
            ],
        }
        for name, weights, bias in classes
    ]
    return figures | {"pictures": [], "charts": charts}


def _describe_mistakes(live: LiveModel, source: Source) -> dict[str, object]:
    """Return the most confident mistakes, as images or with the features that misled the model."""
    examples = find_mistakes(live, source)
    side = _find_image_side(live)
    as_pictures = side is not None and all(len(m.x) == side**2 for m in examples.worst)
    rows = [
        {
            "mistake": m,
            "data": draw_ink(np.array(list(m.x.values())).reshape(side, side))
            if as_pictures and side is not None
            else None,
            "features": find_misleading_features(live, m),
        }
        for m in examples.worst
    ]
    return {
        "source": source.name,
        "n_rows": examples.rows,
        "evaluation": examples.evaluation,
        "training": describe_training(live, source, examples.rows),
        "rows": rows,
        "as_pictures": as_pictures,
        "columns": _choose_column_count(len(rows)),
    }


def _list_hyperparameters(live: LiveModel) -> Iterator[tuple[str, str]]:
    """Yield the name and text of each hyperparameter and read option in the report."""
    model, read_options = live.model, live.read_options
    yield "learning rate", format_lr(model.lr)
    yield "epsilon", f"{model.epsilon:g}"
    yield "activation", model.activation
    yield "initial weights", f"within ±{model.init_range:g}"
    yield "seed", str(model.seed_)
    if model.class_weight is not None:
        yield "class weights", format_class_weight(model.class_weight)
    if part := live.python_only_part:
        yield "runs", f"only in Python, because of its {part}"
    yield "label column", read_options.label or "found by its name"
    yield (
        "scale",
        "1/255 for pixels, else 1"
        if read_options.scale is None
        else format_scale(read_options.scale),
    )
    if read_options.standardize:
        yield "features", "standardized, except for indicators"
    if read_options.categorical:
        yield "categorical columns", ", ".join(read_options.categorical)
