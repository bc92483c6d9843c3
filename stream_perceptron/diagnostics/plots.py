"""Drawings for the report: lines as SVG in the page's colors, pixels as transparent PNG."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor, isnan, log10
from typing import NamedTuple

import numpy as np

from stream_perceptron.model.arrays import Array

# For positive and negative weights; color-blind people can distinguish green from purple.
POSITIVE_COLOR, NEGATIVE_COLOR = (0x1A, 0x8F, 0x50), (0xA0, 0x50, 0xC8)

_WIDTH = 600  # pixels, of a panel
_LEFT, _RIGHT, _TOP = 44, 24, 8  # pixels around a panel
_BOTTOM, _AXIS_BOTTOM = 8, 36  # pixels below a panel, without and with an x axis
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


def draw_lines(panel: Panel, end: float, marks: Mapping[float, str], is_last: bool) -> str:
    """Draw a panel as SVG over samples 0 to `end`, with a labeled vertical line at each mark."""
    inner, height, ticks = _WIDTH - _LEFT - _RIGHT, _UNIT_HEIGHT * panel.height, panel.ticks
    low, high = ticks[0], ticks[-1]
    total_height = _TOP + height + (_AXIS_BOTTOM if is_last else _BOTTOM)
    parts = [f'<svg viewBox="{-_LEFT} {-_TOP} {_WIDTH} {total_height}" aria-hidden="true">']
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
            tick for tick in _choose_ticks(0, end, _WIDTH // 120) if tick <= end and tick % 1 == 0
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
