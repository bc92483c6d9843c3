"""Encoding of dates and words as features."""

from __future__ import annotations

import datetime as dt
import re

import numpy as np
import pandas
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from river.feature_extraction import BagOfWords

from stream_perceptron.encoders import (
    DateEncoder,
    WordEncoder,
    encode_date,
    encode_words,
    is_date,
)
from stream_perceptron.errors import SampleError

TOKENS = re.compile(r"[^\W_]+").findall
CHARACTERS = st.one_of(st.sampled_from("aAbB1 _-ÄßΣİ\u0301"), st.characters())
DATES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2199, 1, 1))
NULLS = (None, "", pandas.NA, pandas.NaT, np.float64("nan"), np.datetime64("NaT"))
DATE_FORMATS = (
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y%m%dT%H%M%SZ",
    "%Y-%m-%dT%H:%M:%S+05:30",
)


@given(st.text(CHARACTERS, max_size=80))
@example(" ".join(map(str, range(300))))
def test_words_are_those_of_river_bag_of_words(text):
    bag = BagOfWords(lowercase=False, strip_accents=False, tokenizer=TOKENS)
    expected = {f"note={word}": 1.0 for word in bag.transform_one(text.lower())}

    assert encode_words("note", text) == expected


@given(DATES, st.sampled_from(DATE_FORMATS))
def test_date_yields_hour_weekday_month_and_day_features(when, date_format):
    """A date without a time has no hour."""
    expected = {
        f"at_hour_{when.hour}": 1.0,
        f"at_weekday_{when:%A}".lower(): 1.0,
        f"at_month_{when.month}": 1.0,
        "at_days": (when - dt.datetime(2020, 1, 1)).days / 365,
    }
    assert encode_date("at", when) == encode_date("at", when.strftime(date_format)) == expected
    del expected[f"at_hour_{when.hour}"]
    assert encode_date("at", when.date()) == encode_date("at", f"{when:%Y-%m-%d}") == expected


@pytest.mark.parametrize(
    "text",
    ["", "2024", "2024-3-5", "2024-0305", "2024-02-30", "2024-03-05T24:00", "2024-03-05T7:00",
     "5.3.2024", "20240305123", "2024-03-05 noon", "1709640000", "2024-0\u0663-05"],
)  # fmt: skip
def test_invalid_date_text_is_rejected(text):
    assert not is_date(text)
    with pytest.raises(ValueError, match="is not an ISO 8601 date such as 2024-03-05"):
        encode_date("at", text)


@pytest.mark.parametrize("encoder", [DateEncoder("at"), WordEncoder("at")])
@pytest.mark.parametrize("sample", [{}, {"other": 3.0}, *({"at": null} for null in NULLS)])
def test_missing_or_empty_column_yields_no_features(encoder, sample):
    assert encoder.transform_one(sample) == {}


def test_numpy_and_python_values_yield_equal_features():
    words, dates = WordEncoder("at"), DateEncoder("at")

    assert words.transform_one({"at": np.array(["a b", "b"])}) == {"at=a": 1.0, "at=b": 1.0}
    assert words.transform_one({"at": np.int64(7)}) == words.transform_one({"at": 7})
    for text in ("2024-03-05", "2024-03-05T13:45"):
        when = dt.datetime.fromisoformat(text)
        expected = dates.transform_one({"at": when})
        assert dates.transform_one({"at": np.datetime64(when, "ns")}) == expected
    expected = dates.transform_one({"at": dt.date(2024, 3, 5)})
    assert dates.transform_one({"at": np.datetime64("2024-03-05")}) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("today", "'at': 'today' is not an ISO 8601 date"),
        (np.array([1, 2]), "'at' is .*, not a string with a date"),
        (np.float32(3), "'at' is .*, not a string with a date"),
    ],
)
def test_error_names_the_column_with_an_invalid_date(value, reason):
    with pytest.raises(SampleError, match=reason):
        DateEncoder("at").transform_one({"at": value})
