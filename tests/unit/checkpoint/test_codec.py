"""Names, rates and dataclasses survive JSON, and forged ones are refused."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_perceptron import CheckpointError
from stream_perceptron.checkpoint.codec import (
    decode_name,
    decode_names,
    encode_name,
    from_json,
    to_json,
)

PLAIN = st.text() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.recursive(
    PLAIN | st.binary() | st.dates() | st.datetimes().map(lambda moment: moment.replace(fold=0)),
    lambda names: st.lists(names, max_size=3).map(tuple),
    max_leaves=5,
)


@given(NAMES)
def test_a_name_comes_back_with_its_type(name):
    back = decode_name(json.loads(json.dumps(encode_name(name))))

    assert (repr(back), type(back)) == (repr(name), type(name))


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
def test_scalars_of_numpy_are_saved_as_pythons(number, real):
    assert (number, real) == (encode_name(np.int64(number)), encode_name(np.float64(real)))


@pytest.mark.parametrize(
    "name", [math.nan, math.inf, None, 1j, frozenset(), dt.time(1), [1]], ids=repr
)
def test_other_names_are_refused_by_name(name):
    with pytest.raises(CheckpointError, match="cannot be saved: use strings"):
        encode_name(name)


def nested(depth):
    name = "a"
    for _ in range(depth):
        name = (name,)
    return name


def test_tuples_are_saved_to_a_depth():
    assert nested(8) == decode_name(encode_name(nested(8)))
    with pytest.raises(CheckpointError, match="cannot be saved"):
        encode_name(nested(9))
    forged = "a"
    for _ in range(9):
        forged = {"tuple": [forged]}
    with pytest.raises(CheckpointError, match="not a saved name"):
        decode_name(forged)


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"bytes": "0g"}, {"bytes": 1}, {"date": "2020-13-01"}, {"datetime": 5},
     {"tuple": "ab"}, {"time": "01:00"}, {"bytes": "00", "date": "2020-01-01"}, math.inf],
    ids=repr,
)  # fmt: skip
def test_forged_names_are_refused(value):
    with pytest.raises(CheckpointError, match="not a saved name"):
        decode_name(value)


def test_a_name_that_stands_twice_is_refused():
    assert decode_names(["a", 1, {"tuple": [1]}]) == ["a", 1, (1,)]
    for twice in (["a", "b", "a"], [1, True], [{"bytes": "61"}, {"bytes": "61"}]):
        with pytest.raises(CheckpointError, match="a name twice"):
            decode_names(twice)


@dataclass
class Part:
    at: dict[tuple[str, ...], int]
    lr: float | None = None


@dataclass
class Whole:
    name: str
    parts: tuple[Part, ...]
    n: int = field(metadata={"least": -1, "below": 10})
    kind: str = field(default="rows", metadata={"one_of": ("rows", "draws")})
    more: int = field(default=0, metadata={"optional": True})
    hidden: int = field(default=7, metadata={"saved": False})


PARTS = st.builds(
    Part,
    st.dictionaries(
        st.lists(st.text(max_size=3), max_size=2).map(tuple), st.integers(-(2**63), 2**63 - 1),
        max_size=3,
    ),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
WHOLES = st.builds(
    Whole,
    st.text(),
    st.lists(PARTS, max_size=3).map(tuple),
    st.integers(-1, 9),
    st.sampled_from(["rows", "draws"]),
    st.integers(0, 2**62 - 1),
)


@given(WHOLES)
def test_a_dataclass_comes_back(whole):
    written = json.loads(json.dumps(to_json(whole)))

    assert whole == from_json(Whole, written, "whole")
    assert ("more" in written) == (whole.more != 0)
    assert "hidden" not in written


def paths_in(value, path=()):
    """Yield the path of each part of JSON."""
    yield path
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_in(part, (*path, key))


def changed(value, path, to):
    """Return JSON with another part at a path."""
    if not path:
        return to
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], to)
    return copy


@given(WHOLES, st.data())
def test_a_part_of_another_type_is_refused_or_a_possible_one(whole, data):
    """Accepted JSON is written again unchanged."""
    written = json.loads(json.dumps(to_json(whole)))
    path = data.draw(st.sampled_from(sorted(paths_in(written), key=str)))
    to = data.draw(
        st.sampled_from([None, True, 3, -2, 2**62, 1.5, "rows", "x", [], [1], {}, [[1]]])
    )
    forged = changed(written, path, to)
    try:
        read = from_json(Whole, forged, "whole")
    except CheckpointError:
        return
    again = to_json(read)
    for part in forged["parts"]:
        part["at"].sort()  # a forged key may stand anywhere
    assert again | {"more": read.more} == forged | {"more": forged.get("more", 0)}
    assert [type(again[name]) for name in again] == [type(forged[name]) for name in again]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"n": 10}, "whole.n has an invalid value"),
        ({"n": True}, "whole.n has an invalid value"),
        ({"kind": "rounds"}, "whole.kind has an invalid value"),
        ({"more": -1}, "whole.more has an invalid value"),
        ({"hidden": 1}, "an unknown field 'hidden'"),
        ({"parts": [{"at": [], "lr": 1}]}, "whole.parts.lr has an invalid value"),
        (
            {"parts": [{"at": [[["a"], 1], [["a"], 2]], "lr": None}]},
            "parts.at has an invalid",
        ),
        ({"parts": [{"at": []}]}, "'lr'"),
        ({"parts": {}}, "whole.parts has an invalid value"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(change, why):
    value = to_json(Whole("a", (), 1)) | change
    with pytest.raises(CheckpointError, match=why):
        from_json(Whole, value, "whole")
