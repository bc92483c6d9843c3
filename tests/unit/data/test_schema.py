"""Schemas are immutable values."""

from __future__ import annotations

import pytest

from stream_perceptron.data.schema import ReadOptions, Schema


@pytest.mark.parametrize("value", [Schema(), ReadOptions()])
def test_fields_cannot_be_assigned(value):
    with pytest.raises(AttributeError):
        value.label = "y"
