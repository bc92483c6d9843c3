"""Dataclasses survive a JSON round trip, and forged ones are rejected."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_perceptron import CheckpointError
from stream_perceptron.checkpoint.codec import from_json, to_json


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
    more: int = 0
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
def test_dataclass_survives_a_round_trip(whole):
    written = json.loads(json.dumps(to_json(whole)))

    assert whole == from_json(Whole, written, "whole")
    assert "hidden" not in written


def generate_paths(value, path=()):
    """Yield the path of each value in JSON data."""
    yield path
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from generate_paths(part, (*path, key))


def replace_part(value, path, replacement):
    """Return a copy of JSON data with the value at a path replaced."""
    if not path:
        return replacement
    copy = value.copy()
    copy[path[0]] = replace_part(value[path[0]], path[1:], replacement)
    return copy


@given(WHOLES, st.data())
def test_changed_part_is_rejected_or_saved_again_unchanged(whole, data):
    """JSON that is accepted is saved again unchanged."""
    written = json.loads(json.dumps(to_json(whole)))
    path = data.draw(st.sampled_from(sorted(generate_paths(written), key=str)))
    replacement = data.draw(
        st.sampled_from([None, True, 3, -2, 2**62, 1.5, "rows", "x", [], [1], {}, [[1]]])
    )
    forged = replace_part(written, path, replacement)
    try:
        loaded = from_json(Whole, forged, "whole")
    except CheckpointError:
        return
    resaved = to_json(loaded)
    for part in forged["parts"]:
        part["at"].sort()  # forged keys may be in any order
    assert resaved == forged
    assert [type(resaved[name]) for name in resaved] == [type(forged[name]) for name in resaved]


@pytest.mark.parametrize(
    ("change", "reason"),
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
def test_error_names_the_invalid_field(change, reason):
    value = to_json(Whole("a", (), 1)) | change
    with pytest.raises(CheckpointError, match=reason):
        from_json(Whole, value, "whole")
