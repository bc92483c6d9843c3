"""A block of records is interpreted as each of its records would be alone."""

from __future__ import annotations

import itertools
import random

import pytest
from random_records import draw_cells

from stream_perceptron.data import Request, open_source, read_batches
from stream_perceptron.data.interpreter import interpret
from stream_perceptron.data.schema import ReadOptions, Schema


def test_interpret_does_not_modify_its_arguments():
    rng = random.Random(0)
    context, cells = draw_cells(rng, "flat", 60)
    twice = [interpret(context, cells) for _ in range(2)]

    assert twice[0].inferred == twice[1].inferred
    assert (context.schema, context.vocabulary.names) == (Schema(), [])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("a,color,color_red,y\n1,red,5,u\n2,red,,v\n", [{"a", "color_red"}] * 2),
        (
            '{"features": {"a": 1, "color": "red"}, "color": "red", "y": "u"}\n',
            [{"a", "color_red"}],
        ),
        ('{"a": 1, "color": "red", "color_red": 5, "y": "u"}\n', [{"a", "color_red"}]),
    ],
)
def test_each_feature_occurs_once_in_a_row(rows, expected, tmp_path):
    """A one-hot feature may have the name of a column, or occur twice in a record."""
    path = tmp_path / "rows"
    path.write_text(rows)
    request = Request(ReadOptions(one_hot=("color",)))
    (batch,) = read_batches(open_source(str(path)), request)
    features = batch.features
    names = [
        [features.names[i] for i in features.value_name_ids[start:end].tolist()]
        for start, end in itertools.pairwise(features.starts.tolist())
    ]

    assert list(map(set, names)) == expected
    assert list(map(len, names)) == list(map(len, expected))
