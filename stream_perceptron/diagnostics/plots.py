"""Drawings for the report: lines as SVG in the page's colors, pixels as transparent PNG."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor, hypot, inf, isnan, log10
from typing import NamedTuple

import numpy as np

from stream_perceptron.model.arrays import Array

# For positive and negative weights; color-blind people can distinguish green from purple.
POSITIVE_COLOR, NEGATIVE_COLOR = (0x1A, 0x8F, 0x50), (0xA0, 0x50, 0xC8)

_LEFT, _RIGHT, _TOP = 44, 24, 8  # pixels around a panel
_BOTTOM, _AXIS_BOTTOM = 8, 36  # pixels below a panel, without and with an x axis
_SQUARE_SIDE = 220  # side of a drawing of precision and recall, in pixels
_CHARACTER_WIDTH, _TEXT_HEIGHT, _TEXT_STEP = 7, 11, 4  # pixels, of the labels of points
_UNIT_HEIGHT = 90  # pixels per unit of a panel's height


class Line(NamedTuple):
    """A line plotted over samples; `kind` is its CSS class."""

    name: str
    kind: str
    x: Array
    y: Array


@dataclass(frozen=True)
class Panel:
    """Lines plotted over the same samples, and the range that the y axis must include."""

    lines: Sequence[Line]
    low: float
    high: float
    height: int = 1
    is_share: bool = False  # shown as percentages

    @property
    def ticks(self) -> list[float]:
        """Round numbers from one end of the y axis to the other."""
        return _choose_ticks(self.low, self.high, 2 + 2 * self.height)


def draw_lines(
    panel: Panel, end: float, width: int, marks: Mapping[float, str], is_last: bool
) -> str:
    """Draw a panel as SVG over samples 0 to `end`, with a labeled vertical line at each mark."""
    inner, height, ticks = width - _LEFT - _RIGHT, _UNIT_HEIGHT * panel.height, panel.ticks
    low, high = ticks[0], ticks[-1]
    total_height = _TOP + height + (_AXIS_BOTTOM if is_last else _BOTTOM)
    parts = [f'<svg viewBox="{-_LEFT} {-_TOP} {width} {total_height}" aria-hidden="true">']
    for tick in ticks:
        y = height * ((high - tick) / (high - low))
        shown = f"{100 * tick:.4g}%" if panel.is_share else f"{tick:.4g}"
        parts.append(f'<path class="grid" d="M0 {y:.1f}h{inner}"/>')
        parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
    if low > 0:  # show that the axis does not begin at 0
        parts.append(f'<path class="cut" d="M0 {height}l-4 -3 8 -4 -8 -4 4 -3"/>')
    for mark, text in marks.items():
        x = inner * mark / end
        parts.append(f'<path class="drop" d="M{x:.1f} 0v{height}"/>')
        anchor, step = ("end", -4) if x > inner / 2 else ("start", 4)
        position = f'x="{x + step:.1f}" y="{height - 6}" text-anchor="{anchor}"'
        parts.append(f'<text class="value" {position}>{text}</text>')
    for line in panel.lines:
        xs, ys = inner * line.x / end, height * ((high - line.y) / (high - low))
        parts.append(_draw_path(line.kind, xs.tolist(), ys.tolist()))
    if is_last:
        ticks = [
            tick for tick in _choose_ticks(0, end, width // 120) if tick <= end and tick % 1 == 0
        ]
        captions = [(tick / end, 16, f"{tick:,.0f}") for tick in ticks] + [(0.5, 32, "samples")]
        for share, below, text in captions:
            position = f'x="{inner * share:.1f}" y="{height + below}"'
            parts.append(f'<text {position} text-anchor="middle">{text}</text>')
    return "".join([*parts, "</svg>"])


def _draw_path(kind: str, x: Sequence[float], y: Sequence[float]) -> str:
    """Return SVG polylines through the points, with a gap wherever y is NaN.

    A point between two gaps becomes a circle.
    """
    drawn = []
    for is_gap, pairs in groupby(zip(x, y, strict=True), key=lambda pair: isnan(pair[1])):
        points = [] if is_gap else [(f"{a:.1f}", f"{b:.1f}") for a, b in pairs]
        if len(points) == 1:
            cx, cy = points[0]
            drawn.append(f'<circle class="dot {kind}" cx="{cx}" cy="{cy}" r="3"/>')
        elif points:
            path = " ".join(map(",".join, points))
            drawn.append(f'<polyline class="{kind}" points="{path}"/>')
    return "".join(drawn)


def _choose_ticks(low: float, high: float, n: int) -> list[float]:
    """Return about n round numbers, equally spaced, that span the range from low to high."""
    min_step = (high - low) / n
    power = 10.0 ** floor(log10(min_step))
    step = next(power * i for i in (1, 2, 5, 10, 20) if power * i >= (1 - 1e-9) * min_step)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [step * i for i in range(first, last + 1)]


class Dot(NamedTuple):
    """A labeled point in a drawing."""

    x: float
    y: float
    text: str

    def is_apart_from(self, other: Dot) -> bool:
        """Whether the labels of two points are clear of each other."""
        return abs(self.y - other.y) > 0.07 or abs(self.x - other.x) > 0.4


def draw_precision_recall(recall: Array, precision: Array, dots: Sequence[Dot]) -> str:
    """Draw precision against recall, both from 0 to 1, as SVG with labeled points."""
    width = height = _SQUARE_SIDE
    view_box = f"{-_LEFT} {-_TOP} {width + _LEFT + _RIGHT} {height + _TOP + _AXIS_BOTTOM}"
    parts = [f'<svg viewBox="{view_box}" aria-hidden="true">']
    for share in (0.0, 0.5, 1.0):
        y, x = height * (1 - share), width * share
        parts.append(f'<path class="grid" d="M0 {y:.1f}h{width}"/>')
        parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{100 * share:.0f}%</text>')
        parts.append(
            f'<text x="{x:.1f}" y="{height + 16}" text-anchor="middle">{100 * share:.0f}%</text>'
        )
    parts.append(f'<text x="{width / 2}" y="{height + 32}" text-anchor="middle">recall</text>')
    xs, ys = width * recall, height * (1 - precision)
    parts.append(_draw_path("window", xs.tolist(), ys.tolist()))
    # The curve between its points, so that labels can avoid it.
    steps = np.linspace(0, len(xs) - 1, 10 * _SQUARE_SIDE)
    xs, ys = (np.interp(steps, np.arange(len(z)), z) for z in (xs, ys))
    for dot in dots:
        x, y = width * dot.x, height * (1 - dot.y)
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        left, baseline = _place_text(x, y, dot.text, xs, ys)
        # Later labels avoid this one.
        inside = np.linspace(left, left + _CHARACTER_WIDTH * len(dot.text), 20)
        xs, ys = np.append(xs, inside), np.append(ys, np.full(20, baseline - _TEXT_HEIGHT / 2))
        position = f'x="{left:.1f}" y="{baseline:.1f}"'
        parts.append(f'<text class="value" {position}>{dot.text}</text>')
    return "".join([*parts, "</svg>"])


def _place_text(x: float, y: float, text: str, xs: Array, ys: Array) -> tuple[float, float]:
    """Return the left end and the baseline of the label of a point at (x, y) on a curve.

    Of the places inside the square that overlap no point of the curve, the label gets the nearest
    one.
    """
    width, best = _CHARACTER_WIDTH * len(text), (inf, 0.0, 0.0)
    for left in range(0, max(1, int(_SQUARE_SIDE - width)), _TEXT_STEP):
        for baseline in range(_TEXT_HEIGHT, _SQUARE_SIDE, _TEXT_STEP):
            is_near = (xs > left - 3) & (xs < left + width + 3)
            is_hit = (is_near & (ys > baseline - _TEXT_HEIGHT - 1) & (ys < baseline + 3)).any()
            gaps = (
                max(left - x, x - left - width, 0),
                max(baseline - _TEXT_HEIGHT - y, y - baseline, 0),
            )
            distance = hypot(*gaps) + _SQUARE_SIDE * bool(is_hit)
            best = min(best, (distance, float(left), float(baseline)))
    return best[1], best[2]


def draw_weights(weights: Array, reach: float) -> str:
    """Draw weights (side, side) as a PNG, transparent at 0; return its data URI."""
    pixels = np.empty((*weights.shape, 4), np.uint8)
    pixels[..., :3] = np.where(weights[..., None] > 0, POSITIVE_COLOR, NEGATIVE_COLOR)
    pixels[..., 3] = np.rint(255 * np.minimum(np.abs(weights) / reach, 1.0))
    return _encode_png(pixels)


def draw_ink(values: Array) -> str:
    """Draw values (side, side) as a black PNG, transparent at the minimum; return its data URI."""
    low, high = float(values.min()), float(values.max())
    pixels = np.zeros((*values.shape, 4), np.uint8)
    pixels[..., 3] = np.rint(255 * (values - low) / (high - low or 1.0))
    return _encode_png(pixels)


def _encode_png(pixels: Array) -> str:
    """Encode RGBA pixels (height, width, 4) as the data URI of a PNG."""
    height, width, _ = pixels.shape
    # In a PNG, each row begins with the number of its filter; 0 means no filter.
    rows = np.pad(pixels.reshape(height, 4 * width), ((0, 0), (1, 0)))
    chunks = (
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 6, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
