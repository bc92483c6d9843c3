"""Drawings of the report: lines as SVG in the page's colours, pixels as transparent PNG."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Colours of positive and negative weights; colour-blind people tell green and purple apart.
FOR, AGAINST = (0x1A, 0x8F, 0x50), (0xA0, 0x50, 0xC8)
HIT, MISS = (0x80, 0x88, 0x94), (0xD8, 0x43, 0x3A)  # colours of the confusion matrix

_LEFT, _RIGHT, _TOP = 44, 24, 8  # pixels around a panel
_BELOW, _AXIS = 8, 36  # pixels below a panel, without and with an axis of samples
_SQUARE = 220  # pixels of the side of a drawing of precision and recall
_NARROW = 300  # pixels of the width of a small drawing over samples
_ROW = 90  # pixels per unit of a panel's height


class Line(NamedTuple):
    """A line over samples; `kind` is its CSS class."""

    name: str
    kind: str
    x: Array
    y: Array


@dataclass(frozen=True)
class Panel:
    """Lines over the same samples, and the least range of the y axis."""

    lines: Sequence[Line]
    low: float
    high: float
    height: int = 1
    is_share: bool = False  # shown in percent

    @property
    def ticks(self) -> list[float]:
        """Round numbers; the first and the last are the ends of the y axis."""
        return _ticks(self.low, self.high, 2 + 2 * self.height)


def lines_svg(
    panel: Panel, end: float, width: int, marks: Mapping[float, str], is_last: bool
) -> str:
    """Return a panel as SVG: samples from 0 to `end`, with a named vertical line at each mark."""
    inner, height, ticks = width - _LEFT - _RIGHT, _ROW * panel.height, panel.ticks
    low, high = ticks[0], ticks[-1]
    whole = _TOP + height + (_AXIS if is_last else _BELOW)
    parts = [f'<svg viewBox="{-_LEFT} {-_TOP} {width} {whole}" aria-hidden="true">']
    for tick in ticks:
        y = height * ((high - tick) / (high - low))
        shown = f"{100 * tick:.4g}%" if panel.is_share else f"{tick:.4g}"
        parts.append(f'<path class="grid" d="M0 {y:.1f}h{inner}"/>')
        parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
    if low > 0:  # mark that the axis does not begin at 0
        parts.append(f'<path class="cut" d="M0 {height}l-4 -3 8 -4 -8 -4 4 -3"/>')
    for mark, text in marks.items():
        x = inner * mark / end
        parts.append(f'<path class="drop" d="M{x:.1f} 0v{height}"/>')
        anchor, step = ("end", -4) if x > inner / 2 else ("start", 4)
        place = f'x="{x + step:.1f}" y="{height - 6}" text-anchor="{anchor}"'
        parts.append(f'<text class="value" {place}>{text}</text>')
    for line in panel.lines:
        places = inner * line.x / end, height * ((high - line.y) / (high - low))
        parts.append(_path(line.kind, *(each.tolist() for each in places)))
    if is_last:
        ticks = [tick for tick in _ticks(0, end, width // 120) if tick <= end and tick % 1 == 0]
        named = [(tick / end, 16, f"{tick:,.0f}") for tick in ticks] + [(0.5, 32, "samples")]
        for share, below, shown in named:
            place = f'x="{inner * share:.1f}" y="{height + below}"'
            parts.append(f'<text {place} text-anchor="middle">{shown}</text>')
    return "".join([*parts, "</svg>"])


def _path(kind: str, x: Sequence[float], y: Sequence[float]) -> str:
    if len(x) == 1:
        return f'<circle class="dot {kind}" cx="{x[0]:.1f}" cy="{y[0]:.1f}" r="3"/>'
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline class="{kind}" points="{points}"/>'


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Return about `most` round numbers at equal steps that span low to high."""
    least = (high - low) / most
    power = 10.0 ** floor(log10(least))
    step = next(power * part for part in (1, 2, 5, 10, 20) if power * part >= (1 - 1e-9) * least)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [step * i for i in range(first, last + 1)]


class Dot(NamedTuple):
    """A point of a drawing with its text."""

    x: float
    y: float
    text: str

    def is_apart(self, other: Dot) -> bool:
        """Whether the texts of two points do not cover each other."""
        return abs(self.y - other.y) > 0.07 or abs(self.x - other.x) > 0.4


def precision_recall_svg(recall: Array, precision: Array, dots: Sequence[Dot]) -> str:
    """Return precision over recall as SVG, both from 0 to 1, with points that have a text."""
    width = height = _SQUARE
    whole = f"{-_LEFT} {-_TOP} {width + _LEFT + _RIGHT} {height + _TOP + _AXIS}"
    parts = [f'<svg viewBox="{whole}" aria-hidden="true">']
    for share in (0.0, 0.5, 1.0):
        y, x = height * (1 - share), width * share
        parts.append(f'<path class="grid" d="M0 {y:.1f}h{width}"/>')
        parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{100 * share:.0f}%</text>')
        parts.append(
            f'<text x="{x:.1f}" y="{height + 16}" text-anchor="middle">{100 * share:.0f}%</text>'
        )
    parts.append(f'<text x="{width / 2}" y="{height + 32}" text-anchor="middle">recall</text>')
    parts.append(_path("window", (width * recall).tolist(), (height * (1 - precision)).tolist()))
    for dot in dots:
        x, y = width * dot.x, height * (1 - dot.y)
        # Texts stand within the square.
        anchor, step = ("end", -6) if dot.x > 0.5 else ("start", 6)
        below = 12 if dot.y > 0.5 else -6
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        place = f'x="{x + step:.1f}" y="{y + below:.1f}" text-anchor="{anchor}"'
        parts.append(f'<text class="value" {place}>{dot.text}</text>')
    return "".join([*parts, "</svg>"])


def shares_svg(lines: Sequence[Line], end: float) -> str:
    """Return shares over samples as a small SVG without an axis of samples."""
    height, inner = _ROW, _NARROW - _LEFT - _RIGHT
    parts = [
        f'<svg viewBox="{-_LEFT} {-_TOP} {_NARROW} {height + _TOP + _BELOW}" aria-hidden="true">'
    ]
    for share in (0.0, 0.5, 1.0):
        y = height * (1 - share)
        parts.append(f'<path class="grid" d="M0 {y:.1f}h{inner}"/>')
        parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{100 * share:.0f}%</text>')
    for line in lines:
        places = inner * line.x / end, height * (1 - line.y)
        parts.append(_path(line.kind, *(each.tolist() for each in places)))
    return "".join([*parts, "</svg>"])


def confusion_png(shares: Array) -> str:
    """Return a matrix of the shares (k, k) of true classes as the data URI of a PNG.

    Correct predictions are grey and mistakes red, as in the page's matrix; small shares of mistakes
    are visible.
    """
    k = len(shares)
    is_hit = np.eye(k, dtype=bool)
    strength = np.where(is_hit, 0.8 * shares, np.minimum(0.15 + 3 * shares, 1.0) * (shares > 0))
    pixels = np.empty((k, k, 4), np.uint8)
    pixels[..., :3] = np.where(is_hit[..., np.newaxis], HIT, MISS)
    pixels[..., 3] = np.rint(255 * strength)
    return _png(pixels)


def weights_png(weights: Array, reach: float) -> str:
    """Return weights (side, side) as the data URI of a PNG, transparent at 0."""
    pixels = np.empty((*weights.shape, 4), np.uint8)
    pixels[..., :3] = np.where(weights[..., None] > 0, FOR, AGAINST)
    pixels[..., 3] = np.rint(255 * np.minimum(np.abs(weights) / reach, 1.0))
    return _png(pixels)


def ink_png(values: Array) -> str:
    """Return values (side, side) as the data URI of a black PNG, transparent at the smallest."""
    low, high = float(values.min()), float(values.max())
    pixels = np.zeros((*values.shape, 4), np.uint8)
    pixels[..., 3] = np.rint(255 * (values - low) / (high - low or 1.0))
    return _png(pixels)


def _png(pixels: Array) -> str:
    """Return RGBA pixels (height, width, 4) as the data URI of a PNG."""
    height, width, _ = pixels.shape
    # In PNG each row begins with the number of its filter; 0 is none.
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
