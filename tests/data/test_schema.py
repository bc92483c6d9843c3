"""Schemas are immutable values."""

from __future__ import annotations

import copy
import pickle
import random

import pytest

from stream_perceptron.data.schema import KnownNames, Schema, Selection


def test_names_that_are_known_are_those_of_a_set_whatever_was_added_since():
    """Names are added to, looked up in and copied from any schema, in any order."""
    rng = random.Random(0)
    made = [(KnownNames(), [])]
    for _ in range(2000):
        names, model = rng.choice(made)
        what = rng.randrange(4)
        if what == 0:
            added = [rng.choice("abcdefghij") * rng.randrange(1, 4) for _ in range(3)]
            made.append((names.with_names(added), [*model, *added]))
        elif what == 1:
            assert model == list(names)
            assert len(model) == len(names)
        elif what == 2:
            made.append((rng.choice([copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])(
                names), model))  # fmt: skip
        else:
            name = rng.choice("abcdefghij") * rng.randrange(1, 4)
            assert (name in model) == (name in names)


@pytest.mark.parametrize("value", [Schema(), Selection()])
def test_nothing_is_assigned(value):
    with pytest.raises(AttributeError):
        value.label = "y"


def test_schemas_are_equal_whatever_numbers_rows_brought():
    """So a batch need not end at a row with a new feature."""
    assert Schema(texts=()) == Schema(texts=()).with_numbers(["a"])
