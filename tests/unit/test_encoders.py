"""The features of strings, dates, and other Python values."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_perceptron import RecordEncoder
from stream_perceptron.encoders import encode_string
from stream_perceptron.errors import SampleError

DATES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2199, 1, 1))
NULLS = (None, "", " ", pandas.NA, pandas.NaT, np.float64("nan"), np.datetime64("NaT"))
DATE_FORMATS = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H%M%SZ", "%Y-%m-%d %H+05:30")


@given(DATES, st.sampled_from(DATE_FORMATS))
def test_date_yields_hour_weekday_month_and_day_features(when, date_format):
    """A date without a time has no hour."""
    expected = {
        f"at.hour={when.hour}": 1.0,
        f"at.weekday={when:%A}".lower(): 1.0,
        f"at.month={when.month}": 1.0,
        "at.days": (when.date() - dt.date(2020, 1, 1)).days / 365,
    }
    encoder = RecordEncoder()
    assert encode_string("at", when.strftime(date_format)) == expected
    assert encoder.transform_one({"at": when}) == expected
    assert encoder.transform_one({"at": np.datetime64(when, "us")}) == expected
    del expected[f"at.hour={when.hour}"]
    assert encode_string("at", f"{when:%Y-%m-%d}") == expected
    assert encoder.transform_one({"at": when.date()}) == expected


@pytest.mark.parametrize(
    "text",
    ["2024", "2024-3-5", "2024-0305", "2024-02-30", "2024-03-05T24:00", "2024-03-05T7:00",
     "5.3.2024", "20240305", "1709640000", "2024-0\u0663-05"],
)  # fmt: skip
def test_other_dates_are_categories_or_words(text):
    assert "at.days" not in encode_string("at", text)


def test_string_is_one_name():
    encoder = RecordEncoder(categorical="zip", ignore="id", missing="NA")

    assert encoder.transform_one({"zip": 7, "z": 1, "i": 2, "id": 3, "t": "NA", "n": "N"}) == {
        "zip=7": 1.0, "z": 1.0, "i": 2.0, "n=N": 1.0
    }  # fmt: skip


@pytest.mark.parametrize("value", [*NULLS, [], [None], [1, "NA"][1:], {}, "NA"])
def test_missing_value_yields_no_features(value):
    assert RecordEncoder(missing=["NA"]).transform_one({"at": value}) == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(7), {"a": 14.0}),
        (Decimal("1.5"), {"a": 3.0}),
        (True, {"a": 2.0}),
        (np.bool_(False), {"a": 0.0}),
        ("7", {"a=7": 1.0}),
        (np.array(["a b", "b", "b"]), {"a=a b": 1.0, "a=b": 1.0}),
        ((1, "x", None, 2.0), {"a=1": 1.0, "a=x": 1.0, "a=2": 1.0}),
        ([[1, 2], [3, None]], {"a0": 2.0, "a1": 4.0, "a2": 6.0}),
        (np.arange(2), {"a0": 0.0, "a1": 2.0}),
        (b"\x01\x02", {"a0": 2.0, "a1": 4.0}),
        ([[1, 2], "x"], {}),
        ({"b": {"c": "x"}, "d": [1, 2]}, {"a.b.c=x": 1.0, "a.d=1": 1.0, "a.d=2": 1.0}),
    ],
)
def test_values_have_these_features_with_a_scale_of_two(value, expected):
    assert RecordEncoder(scale=2).transform_one({"a": value}) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"x": [1, 2]}, {"x0": 1.0, "x1": 2.0}),
        ({"x": [1, 2], "b": None}, {"x0": 1.0, "x1": 2.0}),
        ({"x": [1, 2], "b": 0}, {"x=1": 1.0, "x=2": 1.0, "b": 0.0}),
        ({"x": [1.0, 2, None], "b": 0}, {"x0": 1.0, "x1": 2.0, "b": 0.0}),
        ({"x": [1], "y": [2.5]}, {"x=1": 1.0, "y0": 2.5}),
        ({"x": [1], " pixels": [2], "b": 0}, {"pixel0": 2.0}),
        ({"x": b"\x01", "b": 0}, {"x0": 1 / 255}),
    ],
)
def test_list_of_numbers_is_a_vector_or_has_features_of_its_own(record, expected):
    assert RecordEncoder().transform_one(record) == expected


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"a": float("inf")}, "feature 'a' is inf, not finite"),
        ({"a": 10**400}, "feature 'a' is 1000.*, not finite"),
        ({"a": 1e200}, "feature 'a' is 1e.200, not finite"),
        ({"a": object()}, "'a' is <object .*, a object"),
        ({"a.b": 1, "a": {"b": 1}}, "it has 'a.b' twice"),
        ({" a": 1, "a ": 1}, "it has 'a' twice"),
        ({"a=x": 2, "a": "x"}, "it has two values for feature 'a=x'"),
        ({"image": [1], "pixels": [2]}, "lists 'image', 'pixels' could each be the features"),
    ],
)
def test_error_names_the_value_that_cannot_be_used(record, reason):
    with pytest.raises(SampleError, match=reason):
        RecordEncoder(scale=1e200).transform_one(record)
