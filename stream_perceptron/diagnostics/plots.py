"""Drawings for the report: curves as SVG in the page's colors, pixels as transparent PNG."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from stream_perceptron.model.arrays import Array

# For positive and negative weights; color-blind people can distinguish green from purple.
POSITIVE_COLOR, NEGATIVE_COLOR = (0x1A, 0x8F, 0x50), (0xA0, 0x50, 0xC8)

_WIDTH, _HEIGHT = 440, 200  # of the area between the axes, in units of the view box
_VIEW_BOX = f"-40 -10 {_WIDTH + 60} {_HEIGHT + 35}"


class Line(NamedTuple):
    """A line of shares from 0 to 1 over samples."""

    name: str
    css_class: str
    x: Array
    y: Array


def draw_lines(
    lines: Sequence[Line], n_samples: float, marked_samples: Iterable[float] = ()
) -> str:
    """Draw lines over samples 0 to `n_samples` as SVG, with a vertical line at each mark."""
    parts = [f'<svg viewBox="{_VIEW_BOX}" aria-hidden="true">']
    for tick in range(0, 101, 25):
        top = _HEIGHT * (100 - tick) // 100
        parts.append(f'<path class="grid" d="M0 {top}h{_WIDTH}"/>')
        parts.append(f'<text x="-6" y="{top + 4}" text-anchor="end">{tick}%</text>')
    for share, anchor, unit in ((0, "start", ""), (0.5, "middle", ""), (1, "end", " samples")):
        position = f'x="{_WIDTH * share:g}" y="{_HEIGHT + 18}" text-anchor="{anchor}"'
        parts.append(f"<text {position}>{n_samples * share:,.0f}{unit}</text>")
    for mark in marked_samples:
        parts.append(f'<path class="drop" d="M{_WIDTH * mark / n_samples:.1f} 0v{_HEIGHT}"/>')
    for line in lines:
        is_known = ~np.isnan(line.y)
        x, y = _WIDTH * line.x[is_known] / n_samples, _HEIGHT * (1 - line.y[is_known])
        points = [f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        # The first point is repeated, so that a single point is drawn as a dot.
        path = f"M{points[0]}L{' '.join(points)}" if points else ""
        parts.append(f'<path class="{line.css_class}" d="{path}"/>')
    return "".join([*parts, "</svg>"])


def draw_weights(weights: Array, max_abs_weight: float) -> str:
    """Draw weights (side, side) as a PNG, transparent at 0; return its data URI."""
    pixels = np.empty((*weights.shape, 4), np.uint8)
    pixels[..., :3] = np.where(weights[..., None] > 0, POSITIVE_COLOR, NEGATIVE_COLOR)
    pixels[..., 3] = np.rint(255 * np.minimum(np.abs(weights) / max_abs_weight, 1.0))
    return _encode_png(pixels)


def draw_pixels(values: Array) -> str:
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
