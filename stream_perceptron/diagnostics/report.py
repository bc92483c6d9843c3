"""A run as one page of HTML that needs nothing else: no network, no scripts."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from html import escape
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.diagnostics.diagnosis import diagnose
from stream_perceptron.diagnostics.mistakes import mistakes_in

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.model import LiveModel

Array = NDArray[Any]

_MOST_CLASSES = 40  # in the confusion matrix, as pictures
_STRONGEST = 8
_INK = "#010203"  # becomes the page's colour of text

_STYLE = Path(__file__).with_suffix(".css")


def report(live: LiveModel, name: str, examples: Source | None = None) -> str:
    """Return a page about a run.

    Returns
    -------
    HTML in which every name is escaped.

    """
    title = f"Report on {name}"
    sections = [
        _figures(live),
        _findings(live),
        _curve(live),
        _confusion(live),
        _classes(live),
        _weights(live),
        "" if examples is None else _examples(live, examples),
        _lineage(live),
        _parameters(live),
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title><style>{_STYLE.read_text()}</style></head>",
            f"<body><header><h1>{escape(title)}</h1></header><main>",
            *filter(None, sections),
            "</main></body></html>",
            "",
        ]
    )


def _section(title: str, *content: str) -> str:
    return "\n".join([f"<section><h2>{escape(title)}</h2>", *content, "</section>"])


def _table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], styles: Any = None
) -> str:
    """Return a table whose first column names its rows."""
    lines = [f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>']
    lines += [f'<th scope="col">{escape(cell)}</th>' for cell in header]
    lines.append("</tr></thead><tbody>")
    for i, (first, *rest) in enumerate(rows):
        cells = [
            f"<td{styles(i, j) if styles else ''}>{escape(cell)}</td>"
            for j, cell in enumerate(rest)
        ]
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{"".join(cells)}</tr>')
    lines.append("</tbody></table></div>")
    return "\n".join(lines)


def _list(values: Iterable[tuple[str, str]]) -> str:
    items = [f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in values]
    return '<dl class="figures">' + "".join(items) + "</dl>"


def _figures(live: LiveModel) -> str:
    progress = live.progress
    values = [
        ("samples", f"{progress.samples:,}"),
        ("accuracy", f"{progress.accuracy:.1%}"),
        ("over the last 1,000", f"{progress.window_accuracy:.1%}"),
        ("mean eps", f"{progress.mean_epsilon:.4g}"),
        ("updated", f"{progress.updated_share:.1%}"),
    ]
    note = (
        "Accuracy is progressive: every sample was predicted before it was learned. eps is half "
        "the squared error of a sample, summed over the outputs."
    )
    return f'{_list(values)}<p class="note">{note}</p>'


def _findings(live: LiveModel) -> str:
    items = [
        f"<li><strong>{escape(found.name)}</strong>: {escape(found.evidence)}. "
        f"{escape(found.suggestion[:1].upper() + found.suggestion[1:])}.</li>"
        for found in diagnose(live)
    ]
    content = f'<ul class="findings">{"".join(items)}</ul>'
    return _section("Diagnosis", content if items else "<p>Nothing unusual was found.</p>")


def _lineage(live: LiveModel) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in live.lineage.lines())
    return _section(
        "Learned from", f'<ol class="lineage">{lines}</ol>' if lines else "<p>Nothing.</p>"
    )


def _curve(live: LiveModel) -> str:
    curve = live.progress.curve
    samples = curve.column("samples")
    if not len(samples):
        return _section("Learning curve", "<p>No labelled sample is on record.</p>")
    at = samples.cumsum()
    overall = curve.column("right").cumsum() / at
    each = curve.column("right") / samples
    eps = curve.column("eps") / samples
    updated = curve.column("updates") / samples
    summary = (
        f"Over {int(at[-1]):,} samples accuracy went from {each[0]:.1%} in the first "
        f"{int(samples[0]):,} to {each[-1]:.1%} in the last {int(samples[-1]):,}, "
        f"{overall[-1]:.1%} in all. Mean eps went from {eps[0]:.3g} to {eps[-1]:.3g}, and the "
        f"share of samples that changed the weights from {updated[0]:.1%} to {updated[-1]:.1%}."
    )
    lines = (
        [
            ("accuracy so far", at, overall, "#2a7f62"),
            (f"of each {curve.bin:,} samples", at, each, "#8fb8a8"),
        ],
        [("mean eps", at, eps, "#c8553d")],
        [("share updated", at, updated, "#4a6fa5")],
    )
    return _section("Learning curve", f"<p>{escape(summary)}</p>", _plot(lines, summary))


def _plot(panels: Iterable[Sequence[tuple[str, Array, Array, str]]], summary: str) -> str:
    """Return lines over samples as SVG, in the page's colours."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    panels = list(panels)
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "report",
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(8, 6), layout="constrained")
        axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=[2, 1, 1])
        for axis, lines in zip(axes, panels, strict=True):
            for label, x, y, colour in reversed(list(lines)):
                axis.plot(x, y, color=colour, label=label, linewidth=1.5)
            axis.grid(color=_INK, alpha=0.12)
            axis.legend(frameon=False, loc="best")
        axes[0].yaxis.set_major_formatter(PercentFormatter(1, 0))
        axes[-1].yaxis.set_major_formatter(PercentFormatter(1, 1))
        axes[-1].set_xlabel("samples")
        axes[-1].xaxis.set_major_formatter("{x:,.0f}")
        target = io.StringIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    svg = target.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    # The drawing's own title and creator would be read aloud.
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(summary)}"', 1)


def _confusion(live: LiveModel) -> str:
    names = [str(name) for name in live.model.classes_]
    confusion = live.progress.confusion
    if not confusion.tested:
        return ""
    seen, _, _ = confusion.sums(len(names))
    wrong = [(n, i, j) for i, j, n in confusion.pairs.tolist() if i != j]
    pairs = [
        (names[i], names[j], f"{n:,}", f"{n / seen[i]:.1%}")
        for n, i, j in sorted(wrong, key=lambda pair: -pair[0])[:5]
    ]
    content = []
    if pairs:
        header = ("label", "predicted as", "samples", "of this label")
        content.append(_table("Most common mistakes", header, pairs))
    if len(names) <= _MOST_CLASSES:
        matrix = confusion.matrix(len(names))
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)

        def style(i: int, j: int) -> str:
            colour = "hit" if i == j else "miss"
            strength = shares[i, j] * (0.5 if i == j else 3)
            return f' style="background: rgba(var(--{colour}), {min(strength, 0.7):.2f})"'

        rows = ([name, *(f"{n:,}" for n in row)] for name, row in zip(names, matrix, strict=True))
        caption = "Samples by label (rows) and prediction (columns)"
        content.append(_table(caption, ["", *names], rows, style))
    return _section("Confusion matrix", *content)


def _classes(live: LiveModel) -> str:
    names = live.model.classes_
    if not live.progress.confusion.tested:
        return ""
    scores = live.progress.confusion.scores(len(names))
    rows = [
        (
            str(name),
            f"{n:,}",
            f"{scores.precision[j]:.1%}" if scores.predicted[j] else "never predicted",
            f"{scores.recall[j]:.1%}" if n else "never seen",
        )
        for j, (name, n) in enumerate(zip(names, scores.seen.tolist(), strict=True))
    ]
    caption = "Precision is of those predicted so, recall of those that are so"
    header = ("label", "samples", "precision", "recall")
    return _section("Classes", _table(caption, header, rows))


def _side(live: LiveModel) -> int | None:
    """Return the side of the square picture that the features are, None if they are none."""
    names = [str(name) for name in live.model.features_]
    side = isqrt(len(names))
    if side < 4 or side**2 != len(names) or not all(name[-1:].isdigit() for name in names):
        return None
    return side


def _picture(pixels: Array, low: float, high: float, colours: str, alt: str, text: str) -> str:
    """Return pixels (side, side) as a figure."""
    from matplotlib.image import imsave

    png = io.BytesIO()
    imsave(png, pixels, vmin=low, vmax=high, cmap=colours, format="png")
    data = base64.b64encode(png.getvalue()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _weights(live: LiveModel) -> str:
    model, side = live.model, _side(live)
    names = [str(name) for name in model.classes_[:_MOST_CLASSES]]
    if not model.weights.size:
        return ""
    more = len(model.classes_) - len(names)
    left_out = f" {more:,} more labels are left out." if more else ""
    if side is not None:
        reach = float(np.abs(model.weights).max()) or 1.0
        pictures = [
            _picture(
                weights.reshape(side, side), -reach, reach, "RdBu_r",
                f"Weights of {name}, from {weights.min():.2f} to {weights.max():.2f}",
                f"<strong>{escape(name)}</strong>, bias {bias:+.2f}",
            )
            for name, weights, bias in zip(names, model.weights, model.biases, strict=False)
        ]  # fmt: skip
        note = f"Red speaks for the label, blue against it; full colour is {reach:.3g}.{left_out}"
        return _section(
            "Weights",
            f'<p class="note">{note}</p>',
            f'<div class="pictures">{"".join(pictures)}</div>',
        )
    features = [str(name) for name in model.features_]
    rows = [
        (
            name,
            f"{bias:+.3f}",
            ", ".join(
                f"{features[i]} {weights[i]:+.3f}"
                for i in np.argsort(-np.abs(weights), kind="stable")[:_STRONGEST]
            ),
        )
        for name, weights, bias in zip(names, model.weights, model.biases, strict=False)
    ]
    return _section(
        "Weights",
        _table(f"The strongest of each label.{left_out}", ("label", "bias", "weights"), rows),
    )


def _examples(live: LiveModel, source: Source) -> str:
    mistakes, labelled, right = mistakes_in(live, source)
    side = _side(live)
    text = (
        f"Of {labelled:,} samples in {source.name}, {right:,} ({right / labelled:.1%}) are "
        "predicted correctly. These are the most confident mistakes."
    )
    if side is not None and all(len(mistake.x) == side**2 for mistake in mistakes):
        shown = "".join(
            _picture(
                m.x.reshape(side, side), 0, float(m.x.max()), "gray_r",
                f"Row {m.row}, a {m.label} predicted as {m.prediction}",
                f"row {m.row:,}: <strong>{escape(str(m.label))}</strong> predicted as "
                f"<strong>{escape(str(m.prediction))}</strong>, {m.probability:.0%}",
            )
            for m in mistakes
        )  # fmt: skip
        content = f'<div class="pictures">{shown}</div>'
    else:
        rows = [
            (f"{m.row:,}", str(m.label), str(m.prediction), f"{m.probability:.0%}")
            for m in mistakes
        ]
        content = _table("Mistakes", ("row", "label", "predicted as", "probability"), rows)
    return _section("Mistakes", f"<p>{escape(text)}</p>", content if mistakes else "<p>None.</p>")


def _parameters(live: LiveModel) -> str:
    model, selection = live.model, live.selection
    values = [
        ("activation", model.activation),
        ("learning rate", f"{model.lr:g}" if isinstance(model.lr, float) else repr(model.lr)),
        ("epsilon", f"{model.epsilon:g}"),
        ("initial weights within", f"{model.init_range:g}"),
        ("type", model.dtype),
        ("seed", str(model.seed_)),
        ("labels", f"{len(model.classes_):,}"),
        ("features", f"{len(model.features_):,}"),
        ("label column", selection.label or "by its name"),
        ("scale", "by type" if selection.scale is None else f"{selection.scale:g}"),
        ("skipped rows", f"{live.progress.skipped:,}"),
        ("kernel", live.kernel),
    ]
    return _section("How it was made", _list(values))
