"""Drawings of a report: lines as SVG in the page's colours, pixels as PNG without a background."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_INK = "#010203"  # becomes the page's colour of text
_FOR, _AGAINST = (0xB2, 0x18, 0x2B), (0x21, 0x66, 0xAC)  # red and blue, legible on light and dark


@dataclass
class Panel:
    """Lines above each other over the same samples."""

    lines: Sequence[tuple[str, Array, Array, str]]  # label, x, y, colour
    height: int = 1
    is_share: bool = False  # from 0 to 1, shown in percent


def curves(panels: Sequence[Panel], marks: Sequence[float] = ()) -> str:
    """Return panels over samples as SVG, with an upright line at each mark."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "report",
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "font.family": "sans-serif",
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    heights = [panel.height for panel in panels]
    with mpl.rc_context(style):
        figure = Figure(figsize=(5.4, 0.6 + 1.15 * sum(heights)), layout="constrained")
        axes = np.atleast_1d(figure.subplots(len(panels), sharex=True, height_ratios=heights))
        for axis, panel in zip(axes, panels, strict=True):
            for label, x, y, colour in panel.lines:
                marker = "o" if len(x) == 1 else None
                axis.plot(x, y, marker=marker, color=colour, label=label, linewidth=1.3)
            for mark in marks:
                axis.axvline(mark, color=_INK, linestyle=":", linewidth=1)
            axis.grid(color=_INK, alpha=0.12)
            axis.legend(
                loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderpad=0,
                borderaxespad=0.2, reverse=True,
            )  # fmt: skip
            axis.set_ylim(*_limits(panel))
            if panel.is_share:
                axis.yaxis.set_major_formatter(PercentFormatter(1))
        axes[-1].set_xlim(0, max(float(x[-1]) for _, x, _, _ in panels[0].lines))
        axes[-1].set_xlabel("samples")
        axes[-1].xaxis.set_major_formatter("{x:,.0f}")
        target = io.StringIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    svg = target.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    # The drawing's own title and creator would be read aloud.
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)


def _limits(panel: Panel) -> tuple[float, float]:
    """Return the ends of a y axis: a first bin that is far off does not squeeze the others."""
    later = [y[1:] if len(y) > 2 else y for _, _, y, _ in panel.lines]
    low, high = (float(end([end(y) for y in later])) for end in (min, max))
    room = 0.05 * (high - low) or 0.05 * (abs(high) or 1.0)
    if panel.is_share:
        return max(0.0, low - room), min(1.005, high + room)
    return 0.0 if low >= 0 else low - room, high + room


def weights_png(weights: Array, reach: float) -> str:
    """Return weights (side, side) as a data URI: red for, blue against, transparent at 0."""
    pixels = np.empty((*weights.shape, 4), np.uint8)
    pixels[..., :3] = np.where(weights[..., None] > 0, _FOR, _AGAINST)
    pixels[..., 3] = np.rint(255 * np.minimum(np.abs(weights) / reach, 1.0))
    return _png(pixels)


def ink_png(values: Array) -> str:
    """Return values (side, side) as a data URI: black, transparent at the smallest."""
    low, high = float(values.min()), float(values.max())
    pixels = np.zeros((*values.shape, 4), np.uint8)
    pixels[..., 3] = np.rint(255 * (values - low) / (high - low or 1.0))
    return _png(pixels)


def _png(pixels: Array) -> str:
    from matplotlib.image import imsave

    png = io.BytesIO()
    imsave(png, pixels, format="png")
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
