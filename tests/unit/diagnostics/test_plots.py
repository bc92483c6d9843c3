"""Drawings of the report: weights, ink and axes."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stream_perceptron.diagnostics.plots import (
    NEGATIVE_COLOR,
    POSITIVE_COLOR,
    Line,
    Panel,
    draw_ink,
    draw_lines,
    draw_weights,
)  # fmt: skip


def decode_pixels(uri):
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    image = Image.open(io.BytesIO(data))
    image.verify()  # also checks the checksum of each chunk
    return np.asarray(Image.open(io.BytesIO(data)))


def test_weight_signs_set_the_color_and_sizes_the_opacity(rng):
    weights = rng.normal(size=(9, 9))
    pixels = decode_pixels(draw_weights(weights, 2.0))

    for sign, color in ((weights > 0, POSITIVE_COLOR), (weights < 0, NEGATIVE_COLOR)):
        assert (pixels[sign][:, :3] == color).all()
    strength = np.minimum(np.abs(weights) / 2, 1)
    assert pixels[..., 3] == pytest.approx(255 * strength, abs=0.5)


def test_larger_values_have_more_ink(rng):
    values = rng.normal(size=(5, 5))
    order = decode_pixels(draw_ink(values))[..., 3].ravel()[values.ravel().argsort()].astype(int)

    assert (order[0], order[-1]) == (0, 255)
    assert (np.diff(order) >= 0).all()
    assert not decode_pixels(draw_ink(np.ones((4, 4))))[..., 3].any()


@given(
    st.floats(0, 0.98), st.floats(1e-200, 1e300), st.integers(1, 2),
    st.integers(1, 10**12),
)  # fmt: skip
def test_axes_cover_the_values_with_few_ticks(share, high, height, end):
    low = share * high
    line = Line("y", "window", np.array([0, end]), np.array([low, high]))
    panel = Panel([line], low, high, height)
    svg, ticks = draw_lines(panel, end, {end / 2: "row 3"}, True), panel.ticks
    steps = np.diff(ticks)

    assert ticks[0] <= low * (1 + 1e-9)
    assert ticks[-1] >= high * (1 - 1e-9)
    assert 1 <= len(steps) <= 3 + 2 * height
    assert steps == pytest.approx([steps[0]] * len(steps))
    points = re.search(r'points="([^"]*)"', svg)[1].split()
    assert all(-1 <= float(point.split(",")[1]) <= 90 * height + 1 for point in points)
