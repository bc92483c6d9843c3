"""Dates and words as features."""

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
    WordCounter,
    count_words,
    encode_date,
    is_date,
)
from stream_perceptron.errors import SampleError

TOKENS = re.compile(r"[^\W_]+").findall
CHARACTERS = st.one_of(st.sampled_from("aAbB1 _-ÄßΣİ\u0301"), st.characters())
DATES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2199, 1, 1))
FORMS = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S.%f", "%Y%m%dT%H%M%SZ", "%Y-%m-%dT%H:%M:%S+05:30")


@given(st.text(CHARACTERS, max_size=80))
def test_words_are_counted_as_river_counts_the_same_tokens(text):
    bag = BagOfWords(lowercase=False, strip_accents=False, tokenizer=TOKENS)
    expected = {f"note={word}": count for word, count in bag.transform_one(text.lower()).items()}

    assert count_words("note", text) == expected


def test_a_text_has_at_most_200_features():
    words = [f"w{i}" for i in range(300)]

    assert count_words("note", " ".join([*words, *words])) == {
        f"note=w{i}": 2.0 for i in range(200)
    }


@given(DATES, st.sampled_from(FORMS))
def test_a_date_has_the_same_features_however_it_is_written(when, form):
    assert encode_date("at", when.strftime(form)) == encode_date("at", when)


@given(DATES)
def test_a_date_has_features_for_hour_weekday_month_and_days(when):
    assert encode_date("at", when) == {
        f"at_hour_{when.hour}": 1.0,
        f"at_weekday_{when:%A}".lower(): 1.0,
        f"at_month_{when.month}": 1.0,
        "at_days": (when - dt.datetime(2020, 1, 1)).days / 365,
    }


@given(DATES)
def test_a_date_without_a_time_has_no_hour(when):
    features = encode_date("at", when)
    del features[f"at_hour_{when.hour}"]

    assert encode_date("at", f"{when:%Y-%m-%d}") == features
    assert encode_date("at", when.date()) == features


@pytest.mark.parametrize(
    "text",
    ["", "2024", "2024-3-5", "2024-0305", "2024-02-30", "2024-03-05T24:00", "2024-03-05T7:00",
     "5.3.2024", "20240305123", "2024-03-05 noon", "1709640000", "2024-0\u0663-05"],
)  # fmt: skip
def test_other_texts_are_no_dates(text):
    assert not is_date(text)
    with pytest.raises(ValueError, match="is not a date such as 2024-03-05"):
        encode_date("at", text)


@pytest.mark.parametrize("encoder", [DateEncoder("at"), WordCounter("at")])
@pytest.mark.parametrize("sample", [{}, {"at": None}, {"at": ""}, {"other": 3.0}])
def test_a_sample_without_the_column_has_no_features(encoder, sample):
    assert encoder.transform_one(sample) == {}


def test_an_encoder_names_the_column_that_is_no_date():
    with pytest.raises(SampleError, match="'at': 'today' is not a date such as 2024-03-05"):
        DateEncoder("at").transform_one({"at": "today"})


@pytest.mark.parametrize("value", [pandas.NA, pandas.NaT, np.float64("nan"), np.datetime64("NaT")])
def test_missing_values_of_libraries_have_no_features(value):
    for encoder in (DateEncoder("at"), WordCounter("at")):
        assert encoder.transform_one({"at": value}) == {}


def test_values_of_numpy_have_the_features_of_those_of_python():
    counter, dates = WordCounter("at"), DateEncoder("at")

    assert counter.transform_one({"at": np.array(["a b", "b"])}) == {"at=a": 1.0, "at=b": 2.0}
    assert counter.transform_one({"at": np.int64(7)}) == counter.transform_one({"at": 7})
    for text in ("2024-03-05", "2024-03-05T13:45"):
        when = dt.datetime.fromisoformat(text)
        expected = dates.transform_one({"at": when})
        assert dates.transform_one({"at": np.datetime64(when, "ns")}) == expected
    expected = dates.transform_one({"at": dt.date(2024, 3, 5)})
    assert dates.transform_one({"at": np.datetime64("2024-03-05")}) == expected


@pytest.mark.parametrize("value", [np.array([1, 2]), np.float32(3)])
def test_an_encoder_names_the_column_that_has_no_text(value):
    with pytest.raises(SampleError, match="'at' is .*, not a text with a date"):
        DateEncoder("at").transform_one({"at": value})
