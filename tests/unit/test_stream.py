"""Reading sources as River streams."""

from __future__ import annotations

import pytest

from stream_perceptron import SampleError, SourceError, stream


def test_iter_source_applies_read_options(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("id,colour,a,w,class\n1,red,2,0.5,x\n2,?,,2,y\n")
    samples = stream.iter_source(
        str(path), path, weight="w", ignore=["id"], scale=10, one_hot=["colour"], missing=["?"]
    )

    expected = [({"colour_red": 1.0, "a": 20.0}, "x", {"w": 0.5}), ({}, "y", {"w": 2.0})]
    assert list(samples) == expected * 2


def test_rows_before_an_invalid_row_are_yielded(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("a,class\n1,x\n2,y\nz,x\n")
    samples = stream.iter_source(path)

    assert [next(samples), next(samples)] == [({"a": 1.0}, "x"), ({"a": 2.0}, "y")]
    with pytest.raises(SampleError, match="row 3: column 'a' is 'z', not a number"):
        next(samples)
    with pytest.raises(SourceError, match="No such file"):
        stream.iter_source(tmp_path / "nothing.csv")
