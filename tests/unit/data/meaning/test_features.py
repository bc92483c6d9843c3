"""The features of rows, and the columns whose strings have added them."""

from __future__ import annotations

from helpers import write_jsonl

from stream_perceptron.data import ReadRequest, open_source
from stream_perceptron.data.meaning.features import Features


def test_counts_go_on_from_those_of_the_model():
    counts = {"s": 2}
    features = Features(("a",), counts)
    features.add_block(["s=x", "s=y"], [(0, "s", 1), (3, "s", 1), (3, "t", 0)])

    assert features.names == ["a", "s=x", "s=y"]
    assert features.string_columns == {"s": 4, "t": 0}
    assert features.added_strings == [(0, "s", 3), (3, "s", 4), (3, "t", 0)]

    features.add_block(["b"], [])
    assert features.names == ["a", "s=x", "s=y", "b"]
    assert not features.added_strings
    assert counts == {"s": 2}


def test_batch_tells_which_row_has_added_strings_of_which_column(tmp_path):
    """A date adds no name that counts, but its column has had a string."""
    rows = [{"a": 1, "y": "u"}, {"s": "v", "y": "u"}, {"s": "w", "d": "2024-03-05", "y": "u"}]
    path = write_jsonl(tmp_path / "f.jsonl", [*rows, rows[1], {"s": "x"}])
    batches = open_source(str(path)).batches(ReadRequest(string_columns={"s": 7}))
    batch = next(batch for batch in batches if batch is not None and len(batch))

    assert sorted(batch.added_strings) == [(1, "s", 8), (2, "d", 0), (2, "s", 9)]
    assert [batch[2:].added_strings, batch[:2].added_strings] == [
        ((0, "d", 0), (0, "s", 9)), ((1, "s", 8),),
    ]  # fmt: skip
