"""Objects survive a JSON round trip, and forged ones are rejected."""

from __future__ import annotations

import datetime as dt
import json
import math

import pytest
from helpers import STATED_REASON
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


def round_trip(value):
    return decode(json.loads(json.dumps(encode(value), allow_nan=False)))


@given(PLAIN)
def test_plain_data_keeps_its_types_in_a_round_trip(value):
    decoded = round_trip(value)

    if isinstance(value, set):
        assert decoded == value
    else:
        assert encode(decoded) == encode(value)
        assert type(value) is type(decoded)


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


@pytest.mark.parametrize("value", [1j, frozenset(), dt.time(1), print, slice(3), dict], ids=repr)
def test_unsupported_values_are_rejected_with_their_type(value):
    with pytest.raises(CheckpointError, match=f"{type(value).__name__} cannot be saved: use "):
        encode([value])


SCHEDULES = [
    schedulers.Constant(0.5),
    schedulers.InverseScaling(0.1, power=0.3),
    schedulers.Optimal(losses.Log(), alpha=1e-3),
]


@pytest.mark.parametrize("lr", [0.1, 3, *SCHEDULES], ids=repr)
def test_learning_rates_survive_a_round_trip(lr):
    decoded = decode_lr(json.loads(json.dumps(encode_lr(lr))))

    if isinstance(lr, int | float):
        assert (decoded, type(decoded)) == (float(lr), float)
    else:
        assert [decoded.get(t) for t in range(1, 9)] == [lr.get(t) for t in range(1, 9)]


def change_encoded(value, path, new):
    """Return an encoded value with one part changed, or deleted if `new` is an ellipsis."""
    saved = encode(value)
    *parent_keys, last_key = path
    part = saved
    for key in parent_keys:
        part = part[key]
    if new is ...:
        del part[last_key]
    else:
        part[last_key] = new
    return saved


def train_scaler(n=1):
    trained = preprocessing.MinMaxScaler()
    trained.learn_one({f"a{i}" if i else "a": 1.0 for i in range(n)})
    return trained


TABLE = ["state", "min", "table"]  # of a scaler with ten features


FORGED = {
    "a module": lambda: {"class": "os.system", "state": {}},
    "an unlisted class": lambda: {"class": "compose.FuncTransformer", "state": {}},
    "a private module": lambda: {"class": "preprocessing.scale.MinMaxScaler", "state": {}},
    "no state": lambda: {"class": "stats.Mean"},
    "an extra key": lambda: encode(stats.Mean()) | {"more": 1},
    "an unknown attribute": lambda: change_encoded(stats.Mean(), ["state", "other"], 1),
    "a method": lambda: change_encoded(stats.Mean(), ["state", "get"], 1),
    "the class attribute": lambda: change_encoded(
        stats.Mean(), ["state", "__class__"], {"type": "int"}
    ),
    "a number for a table": lambda: change_encoded(train_scaler(), ["state", "max"], 1),
    "text for a parameter": lambda: change_encoded(
        preprocessing.FeatureHasher(), ["state", "seed"], "seed"
    ),
    "functions": lambda: change_encoded(train_scaler(), ["state", "processing_steps"], []),
    "a table without a value": lambda: change_encoded(
        train_scaler(10), [*TABLE, 1, "columns", "min", 3], ...
    ),
    "a table of an unlisted class": lambda: change_encoded(
        train_scaler(10), [*TABLE, 1, "class"], "os.system"
    ),
    "a number as a step": lambda: {
        "class": "compose.TransformerUnion",
        "state": {"transformers": {"dict": [["a", 1]]}},
    },
    "an unknown tag": lambda: {"frozenset": [1]},
    "an empty dict": dict,
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_objects_are_rejected(name):
    with pytest.raises(CheckpointError, match=STATED_REASON):
        decode(FORGED[name]())


@pytest.mark.parametrize(
    "value",
    [None, "0.1", -1, math.inf,
     change_encoded(schedulers.Constant(1), ["state", "learning_rate"], "a"),
     change_encoded(schedulers.Constant(1), ["state", "learning_rate"], ...),
     change_encoded(schedulers.Optimal(losses.Log()), ["state", "loss"], 1)],
    ids=str,
)  # fmt: skip
def test_forged_learning_rates_are_rejected(value):
    with pytest.raises(CheckpointError, match=STATED_REASON):
        decode_lr(value)
