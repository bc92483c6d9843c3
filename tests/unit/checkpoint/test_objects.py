"""Objects survive a JSON round trip, and forged ones cannot name other classes."""

from __future__ import annotations

import datetime as dt
import json
import math

import numpy as np
import pytest
from helpers import STATED_REASON
from hypothesis import given
from hypothesis import strategies as st
from river import compose, stats
from river.optim import losses, schedulers

from stream_perceptron import CheckpointError
from stream_perceptron.checkpoint.objects import decode, decode_lr, encode, encode_lr

SCALARS = (
    st.none() | st.text() | st.booleans() | st.integers() | st.floats() | st.binary() | st.dates()
    | st.datetimes().map(lambda moment: moment.replace(fold=0))
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


def round_trip(value):
    return decode(json.loads(json.dumps(encode(value), allow_nan=False)))


@given(PLAIN)
def test_plain_data_keeps_its_types_in_a_round_trip(value):
    decoded = round_trip(value)

    assert encode(decoded) == encode(value)
    assert type(decoded) is type(value)


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
def test_numpy_scalars_are_saved_as_python_numbers(number, real):
    assert [number, real] == encode([np.int64(number), np.float64(real)])


@given(st.lists(st.floats(-1e9, 1e9)), st.integers(0, 3))
def test_decoded_statistic_continues_identically(numbers, ddof):
    original = stats.Var(ddof)
    for number in numbers:
        original.update(number)
    decoded = round_trip(original)

    for number in (*numbers, 1.5):
        original.update(number)
        decoded.update(number)
        assert decoded.get() == original.get()


def test_names_of_selected_columns_keep_their_order():
    """River yields features in the order of a set, which depends on how the set was made."""
    originals = [compose.Select(f"a{i}", f"b{i}") for i in range(500)]
    loaded = round_trip(originals)

    assert [list(each.keys) for each in loaded] == [list(each.keys) for each in originals]


@pytest.mark.parametrize("value", [1j, frozenset(), dt.time(1), print, slice(3)], ids=repr)
def test_unsupported_values_are_rejected_with_their_type(value):
    with pytest.raises(CheckpointError, match=f"{type(value).__name__} cannot be saved: use "):
        encode([value])


SCHEDULES = [
    schedulers.Constant(0.5),
    schedulers.InverseScaling(0.1, power=0.3),
    schedulers.Optimal(losses.Log(), alpha=1e-3),
    schedulers.Optimal(losses.Squared()),
]


@pytest.mark.parametrize("lr", [0.1, 3, *SCHEDULES], ids=repr)
def test_learning_rates_survive_a_round_trip(lr):
    decoded = decode_lr(json.loads(json.dumps(encode_lr(lr))))

    if isinstance(lr, int | float):
        assert (decoded, type(decoded)) == (float(lr), float)
    else:
        assert [decoded.get(t) for t in range(1, 9)] == [lr.get(t) for t in range(1, 9)]


@pytest.mark.parametrize("value", [None, "0.1", -1, math.inf], ids=str)
def test_forged_learning_rates_are_rejected(value):
    with pytest.raises(CheckpointError, match=STATED_REASON):
        decode_lr(value)


@pytest.mark.parametrize(
    "name",
    ["os.system", "compose.FuncTransformer", "preprocessing.scale.MinMaxScaler", "stats.Quantile"],
)
def test_forged_objects_cannot_name_other_classes(name):
    for forged in ({"class": name}, {"objects": [name, [], []]}):
        with pytest.raises(CheckpointError, match=r"is not a class that can be saved"):
            decode(forged)
