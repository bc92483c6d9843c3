"""Objects survive JSON, and forged ones are refused."""

from __future__ import annotations

import datetime as dt
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import preprocessing, stats
from river.optim import losses, schedulers

from stream_perceptron import CheckpointError
from stream_perceptron.checkpoint.objects import decode, decode_lr, encode, encode_lr

SCALARS = (
    st.none() | st.text() | st.booleans() | st.integers() | st.floats() | st.binary() | st.dates()
)  # fmt: skip
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text())
PLAIN = st.recursive(
    SCALARS | st.sampled_from([int, float, str, bool]) | st.sets(KEYS),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.tuples(parts, parts)
        | st.dictionaries(KEYS, parts, max_size=3)
    ),
    max_leaves=8,
)


def there_and_back(value):
    return decode(json.loads(json.dumps(encode(value), allow_nan=False)))


@given(PLAIN)
def test_plain_data_comes_back_with_its_types(value):
    back = there_and_back(value)

    if isinstance(value, set):
        assert back == value
    else:
        assert encode(back) == encode(value)
        assert type(value) is type(back)


@given(st.lists(st.floats(-1e9, 1e9)), st.integers(0, 3))
def test_a_statistic_goes_on_where_it_was(numbers, ddof):
    here = stats.Var(ddof)
    for number in numbers:
        here.update(number)
    there = there_and_back(here)

    for number in (*numbers, 1.5):
        here.update(number)
        there.update(number)
        assert there.get() == here.get()


@pytest.mark.parametrize("value", [1j, frozenset(), dt.time(1), print, slice(3), dict], ids=repr)
def test_other_values_are_refused_by_their_type(value):
    with pytest.raises(CheckpointError, match=f"{type(value).__name__} cannot be saved: use "):
        encode([value])


SCHEDULES = [
    schedulers.Constant(0.5),
    schedulers.InverseScaling(0.1, power=0.3),
    schedulers.Optimal(losses.Log(), alpha=1e-3),
]


@pytest.mark.parametrize("lr", [0.1, 3, *SCHEDULES], ids=repr)
def test_rates_come_back(lr):
    back = decode_lr(json.loads(json.dumps(encode_lr(lr))))

    if isinstance(lr, int | float):
        assert (back, type(back)) == (float(lr), float)
    else:
        assert [back.get(t) for t in range(1, 9)] == [lr.get(t) for t in range(1, 9)]


def changed(value, path, new):
    """Return saved JSON with one part changed."""
    saved = encode(value)
    *before, last = path
    part = saved
    for key in before:
        part = part[key]
    if new is ...:
        del part[last]
    else:
        part[last] = new
    return saved


def scaler():
    made = preprocessing.MinMaxScaler()
    made.learn_one({"a": 1.0})
    return made


FORGED = {
    "a module": lambda: {"class": "os.system", "state": {}},
    "a class that is not on the list": lambda: {"class": "compose.FuncTransformer", "state": {}},
    "a private module": lambda: {"class": "preprocessing.scale.MinMaxScaler", "state": {}},
    "no state": lambda: {"class": "stats.Mean"},
    "more beside it": lambda: encode(stats.Mean()) | {"more": 1},
    "an attribute that it has not": lambda: changed(stats.Mean(), ["state", "other"], 1),
    "a method": lambda: changed(stats.Mean(), ["state", "get"], 1),
    "its class": lambda: changed(stats.Mean(), ["state", "__class__"], {"type": "int"}),
    "text for a number": lambda: changed(stats.Mean(), ["state", "n"], "1"),
    "another statistic": lambda: changed(
        scaler(), ["state", "min", "dict", 0, 1], encode(stats.Mean())
    ),
    "a number for a table": lambda: changed(scaler(), ["state", "max"], 1),
    "text for a parameter": lambda: changed(
        preprocessing.FeatureHasher(), ["state", "seed"], "seed"
    ),
    "functions": lambda: changed(scaler(), ["state", "processing_steps"], []),
    "a type that is no plain one": lambda: {"type": "SGDPerceptron"},
    "an unknown tag": lambda: {"frozenset": [1]},
    "a list as a key": lambda: {"dict": [[[1], 2]]},
    "a dict of one": lambda: {"dict": [[1]]},
    "lists in a set": lambda: {"set": [[1]]},
    "another number": lambda: {"float": "1e5"},
    "nothing": dict,
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_objects_are_refused(name):
    with pytest.raises(CheckpointError) as caught:
        decode(FORGED[name]())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [None, "0.1", -1, math.inf, encode(stats.Mean()), encode(losses.Log()),
     changed(schedulers.Constant(1), ["state", "learning_rate"], "a"),
     changed(schedulers.Constant(1), ["state", "learning_rate"], ...),
     changed(schedulers.Optimal(losses.Log()), ["state", "loss"], 1)],
    ids=str,
)  # fmt: skip
def test_forged_rates_are_refused(value):
    with pytest.raises(CheckpointError):
        decode_lr(value)
