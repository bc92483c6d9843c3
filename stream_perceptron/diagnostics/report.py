"""The report on models: one page of HTML without scripts or network access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stream_perceptron.data.notices import format_scale
from stream_perceptron.diagnostics.diagnosis import collect_findings
from stream_perceptron.diagnostics.mistakes import (
    describe_training,
    find_misleading_features,
    find_mistakes,
)
from stream_perceptron.diagnostics.plots import (
    NEGATIVE_COLOR,
    POSITIVE_COLOR,
    Line,
    draw_lines,
    draw_pixels,
    draw_weights,
)
from stream_perceptron.diagnostics.strongest_features import find_strongest_features
from stream_perceptron.live.metrics import format_kappa
from stream_perceptron.live.model import LiveModel
from stream_perceptron.model.arrays import Array
from stream_perceptron.model.class_weights import format_class_weight
from stream_perceptron.model.rates import format_lr

if TYPE_CHECKING:
    from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import Source

_MAX_CLASSES = 30  # in the matrix, the table of classes, and the pictures or features
# The characters of a name above a column of the matrix; longer ones are numbered.
_MAX_HEADER_LENGTH = 4
_N_STRONGEST_FEATURES = 10  # of each class
_FOLDER = Path(__file__).parent
_COLORS = f".perceptron {{ --for: rgb{POSITIVE_COLOR}; --against: rgb{NEGATIVE_COLOR} }}\n"


def render_report(
    models: Mapping[str, LiveModel],
    examples: Source | None = None,
    read_options: ReadOptions | None = None,
) -> str:
    """Render the report on one model, or on several side by side, as HTML.

    Every name is escaped.

    Parameters
    ----------
    models
        The models by title, such as the name of a model's file.
    examples
        Labeled samples; the page shows the most confident mistakes of a single model on them.
    read_options
        How to read the examples; None for the model's read options.

    Raises
    ------
    SourceError
        If the examples have no labels.

    """
    (first, *others) = models.values()
    details = {} if others else _describe_details(first)
    return _render(
        "report.html",
        **_describe_models(models),
        details=details,
        examples=None if examples is None else _describe_mistakes(first, examples, read_options),
    )


def _render(template: str, **values: object) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style = Markup(_COLORS + (_FOLDER / "report.css").read_text())
    return environment.get_template(template).render(values, style=style)


def _describe_models(models: Mapping[str, LiveModel]) -> dict[str, object]:
    """Return the key figures and the learning curves of models."""
    from markupsafe import Markup

    lines, marks = list(_build_lines(models)), []
    if len(models) == 1:
        (live,) = models.values()
        marks = [event.sample for event in live.progress.events if event.is_drop]
    n_samples = max(float(line.x[-1]) for line in lines) if lines else 0.0
    return {
        "names": list(models),
        "models": [
            {
                "figures": dict(_list_key_figures(live)),
                "settings": dict(_list_settings(live)),
                "entries": live.history.format_lines(),
                "findings": collect_findings(live),
                "is_measured": live.progress.samples > 0,
                "events": live.progress.events,
            }
            for live in models.values()
        ],
        "lines": lines,
        "has_drops": bool(marks),
        "curve": Markup(draw_lines(lines, n_samples, marks)) if lines else None,
    }


def _list_key_figures(live: LiveModel) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each key figure."""
    progress, classes = live.progress, live.model.classes_
    if progress.accuracy is not None:
        figures = progress.compute_figures(classes)
        yield "accuracy", f"{progress.accuracy:.1%}"
        yield "majority class", f"{figures['majority_share']:.1%} ({figures['majority_class']})"
        yield "balanced accuracy", f"{figures['balanced_accuracy']:.1%}"
        yield "kappa", format_kappa(figures["cohen_kappa"])
    yield "samples", f"{live.model.n_seen:,}"
    yield "classes", f"{len(classes):,}"
    yield "features", f"{len(live.model.features_):,}"


def _list_settings(live: LiveModel) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each hyperparameter and read option."""
    model, read_options = live.model, live.read_options
    yield "learning rate", format_lr(model.lr_)
    yield "epsilon", f"{model.epsilon:g}"
    yield "activation", model.activation
    yield "initial weights", f"within ±{model.init_range:g}"
    yield "seed", str(model.seed_)
    if model.class_weight is not None:
        yield "class weights", format_class_weight(model.class_weight)
    if part := live.part_not_in_sources:
        yield "runs", f"only in Python, because of its {part}"
    if label := live.schema.label or read_options.label:
        yield "label column", label
    if read_options.scale not in (None, 1):
        yield "scale", format_scale(read_options.scale)
    if read_options.standardize:
        yield "features", "standardized, except for indicators"
    for name, values in (
        ("categorical columns", read_options.categorical),
        ("ignored columns", read_options.ignore),
        ("missing", read_options.missing),
    ):
        if values:
            yield name, ", ".join(values)


def _build_lines(models: Mapping[str, LiveModel]) -> Iterator[Line]:
    """Yield the accuracy so far of each model and, for one model, that of each bin, too."""
    for i, (name, live) in enumerate(models.items()):
        progress = live.progress
        samples, right = progress.curve.column("samples"), progress.curve.column("right")
        at, hits = samples.cumsum(), right.cumsum()
        if not len(at):
            continue
        # The first samples came before any label was known, so they are untested.
        tested = np.maximum(at - progress.n_untested, hits)
        if len(models) > 1:
            yield Line(name, f"model{i % 6}", at, _compute_shares(hits, tested))
            continue
        baseline = progress.compute_metrics(len(live.model.classes_)).baseline
        if baseline:
            yield Line("majority class", "base", np.array([0, at[-1]]), np.full(2, baseline))
        shares = _compute_shares(right, np.diff(tested, prepend=0))
        yield Line(f"accuracy per {progress.curve.bin:,} samples", "bins", at, shares)
        n_new = progress.confusion.tested + progress.n_untested
        name = "accuracy so far" + ", rows learned again included" * (n_new < progress.samples)
        yield Line(name, "model0", at, _compute_shares(hits, tested))


def _compute_shares(hits: Array, n: Array) -> Array:
    """Return hits / n, or NaN where n is 0."""
    return np.where(n > 0, hits / np.maximum(n, 1), np.nan)


def _describe_details(live: LiveModel) -> dict[str, Any]:
    """Return the confusion matrix, the table of classes and the pictures of weights of a model."""
    model, names = live.model, [str(name) for name in live.model.classes_]
    metrics = live.progress.compute_metrics(len(names))
    frequent = np.sort(np.argsort(-metrics.support, kind="stable")[:_MAX_CLASSES]).tolist()
    rare_first = np.argsort(metrics.recall, kind="stable")[:_MAX_CLASSES].tolist()
    counts = live.progress.confusion.matrix(frequent)
    shares = counts / np.maximum(metrics.support[frequent], 1)[:, None]
    side = _find_image_side(live)
    max_abs_weight = float(np.abs(model.weights).max(initial=0.0)) or 1.0
    return {
        "is_tested": live.progress.accuracy is not None,
        "matrix": [
            (names[j], list(zip(counts[i].tolist(), shares[i].tolist(), strict=True)))
            for i, j in enumerate(frequent)
        ],
        "classes": [
            (
                names[j], int(metrics.label_counts[j]),
                float(metrics.precision[j]) if metrics.predicted[j] else None,
                float(metrics.recall[j]) if metrics.support[j] else None,
            )
            for j in rare_first
        ],
        "n_classes": len(names),
        "is_numbered": any(len(names[j]) > _MAX_HEADER_LENGTH for j in frequent),
        "max_abs_weight": max_abs_weight,
        "strongest_features": [
            (names[j], find_strongest_features(model, j, _N_STRONGEST_FEATURES))
            for j in ([] if side else frequent)
        ],
        "pictures": [
            (names[j], draw_weights(model.weights[j].reshape(side, side), max_abs_weight))
            for j in (frequent if side else [])
        ],
    }  # fmt: skip


def _find_image_side(live: LiveModel) -> int:
    """Return the side length of the image that the features form; 0 if they form no square."""
    names = [str(name) for name in live.model.features_]
    side = isqrt(len(names))
    if side < 4 or side**2 != len(names) or not all(name[-1:].isdigit() for name in names):
        return 0
    return side


def _describe_mistakes(
    live: LiveModel, source: Source, read_options: ReadOptions | None
) -> dict[str, object]:
    """Return the most confident mistakes, as images or with the features that misled the model."""
    mistakes, side = find_mistakes(live, source, read_options), _find_image_side(live)
    confusion = mistakes.evaluation.confusion
    are_images = side > 0 and all(len(mistake.x) == side**2 for mistake in mistakes.worst)
    return {
        "source": source.name,
        "n_rows": mistakes.n_rows,
        "tested": confusion.tested,
        "right": confusion.right,
        "training": describe_training(live, source, mistakes.n_rows),
        "are_images": are_images,
        "mistakes": [
            (
                mistake,
                draw_pixels(np.array([*mistake.x.values()]).reshape(side, side))
                if are_images
                else "",
                [] if are_images else find_misleading_features(live, mistake),
            )
            for mistake in mistakes.worst
        ],
    }
