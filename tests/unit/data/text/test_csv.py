"""Samples and rejections of CSV records."""

from __future__ import annotations

import pytest

from stream_perceptron.data.opening import open_source
from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import ReadOptions


@pytest.mark.parametrize("missing", ["0", "7", "99", "-9"])
def test_number_can_mean_a_missing_value(missing, tmp_path):
    """This holds for the first row as well as for blocks of rows."""
    cells = [missing, "1", "2.5", missing, "3"] * 40
    path = tmp_path / "s.csv"
    path.write_text("a,b,c,d,e,y\n" + "".join(f"{c},{c},{c},{c},{c},u\n" for c in cells))
    batches = list(open_source(str(path)).batches(Request(ReadOptions(missing=(missing,)))))
    dicts = [x for batch in batches for x in batch.features.dicts()]

    assert [{} if c == missing else dict.fromkeys("abcde", float(c)) for c in cells] == dicts
    counts = [int(batch.missing.sum()) for batch in batches if batch.missing is not None]
    assert sum(counts) == 79 * 5  # columns have no type before their first value


def test_record_of_several_lines_needs_the_right_number_of_fields(read_text_source):
    """With too many or too few fields, each line is a record by itself."""
    features, labels, rejected = read_text_source(
        'a,t,y\n1,"x,0\n5,6,y",1,0\n3,z,1\n4,"two\nlines",0\n'
    )

    assert (features, labels) == ([{"a": 3}, {"a": 4}], [1, 0])
    assert sorted(rejected) == [0, 1]
    assert rejected[0].startswith("it has an open quote")
