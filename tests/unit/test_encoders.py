"""Encoding of dates and words as features."""

from __future__ import annotations

import datetime as dt
import re

import numpy as np
import pandas
import pytest
from hypothesis import given
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
DATE_FORMATS = (
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y%m%dT%H%M%SZ",
    "%Y-%m-%dT%H:%M:%S+05:30",
)


@given(st.text(CHARACTERS, max_size=80))
def test_words_are_those_of_river_bag_of_words(text):
    bag = BagOfWords(lowercase=False, strip_accents=False, tokenizer=TOKENS)
    expected = {f"note={word}": 1.0 for word in bag.transform_one(text.lower())}

    assert encode_words("note", text) == expected


def test_all_words_of_a_long_text_are_encoded():
    words = [f"w{i}" for i in range(100_000)]

    assert encode_words("note", " ".join([*words, *words])) == {f"note={w}": 1.0 for w in words}


@given(DATES, st.sampled_from(DATE_FORMATS))
def test_date_features_do_not_depend_on_the_format(when, date_format):
    assert encode_date("at", when.strftime(date_format)) == encode_date("at", when)


@given(DATES)
def test_date_yields_hour_weekday_month_and_day_features(when):
    assert encode_date("at", when) == {
        f"at_hour_{when.hour}": 1.0,
        f"at_weekday_{when:%A}".lower(): 1.0,
        f"at_month_{when.month}": 1.0,
        "at_days": (when - dt.datetime(2020, 1, 1)).days / 365,
    }


@given(DATES)
def test_date_without_time_has_no_hour_feature(when):
    features = encode_date("at", when)
    del features[f"at_hour_{when.hour}"]

    assert encode_date("at", f"{when:%Y-%m-%d}") == features
    assert encode_date("at", when.date()) == features


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
@pytest.mark.parametrize("sample", [{}, {"at": None}, {"at": ""}, {"other": 3.0}])
def test_missing_or_empty_column_yields_no_features(encoder, sample):
    assert encoder.transform_one(sample) == {}


def test_error_names_the_column_with_an_invalid_date():
    with pytest.raises(SampleError, match="'at': 'today' is not an ISO 8601 date"):
        DateEncoder("at").transform_one({"at": "today"})


@pytest.mark.parametrize("value", [pandas.NA, pandas.NaT, np.float64("nan"), np.datetime64("NaT")])
def test_pandas_and_numpy_nulls_yield_no_features(value):
    for encoder in (DateEncoder("at"), WordEncoder("at")):
        assert encoder.transform_one({"at": value}) == {}


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


@pytest.mark.parametrize("value", [np.array([1, 2]), np.float32(3)])
def test_error_names_the_column_with_a_non_text_value(value):
    with pytest.raises(SampleError, match="'at' is .*, not a string with a date"):
        DateEncoder("at").transform_one({"at": value})
