"""Records of CSV: their samples and rejections."""

from __future__ import annotations

import pytest

from stream_perceptron.data.opening import open_source
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.source import Knowledge, Request, read_batches
from stream_perceptron.live.metrics import Progress


@pytest.mark.parametrize(
    ("text", "features", "labels"),
    [
        ("a,label,b\n1,x,2\n", [{"a": 1, "b": 2}], ["x"]),
        ("a;y\n1.5;0\n", [{"a": 1.5}], [0]),
        ("a\ty\n1.5\t0\n", [{"a": 1.5}], [0]),
        ('name,a,label\n"Smith, J",1,"x"\n', [{"a": 1}], ["x"]),
        ("3,1,2\n4,5,6\n", [{"x0": 1, "x1": 2}, {"x0": 5, "x1": 6}], [3, 4]),
        ("0,1,label\n7,8,9\n", [{"0": 7, "1": 8}], [9]),
        ("label,a\n\n1,2\n\r\n\n3,4", [{"a": 2}, {"a": 4}], [1, 3]),
        ("label,a10,a9\n1,2,3\n", [{"a9": 3, "a10": 2}], [1]),
        ("label,a,b\n1,true,2\n1,False,1\n1,0,TRUE\n",
         [{"a": 1, "b": 2}, {"a": 0, "b": 1}, {"a": 0, "b": 1}], [1, 1, 1]),
        ("label,a\n1,2\n1,true\n0,3\n", [{"a": 2}, {"a": 1}, {"a": 3}], [1, 1, 0]),
        ("label,a\n, 2 \n", [{"a": 2}], [None]),
        ("label,a\n1,.5\n1,5.\n0,-.5e1\n", [{"a": 0.5}, {"a": 5}, {"a": -5}], [1, 1, 0]),
        ("\N{BYTE ORDER MARK}1 0:5\n", [{"0": 5}], [1]),
    ],
)  # fmt: skip
def test_what_lines_say(text, features, labels, require_said):
    require_said(text, features, labels)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("label,a\n1,2\n1,2,3\n", "it has 3 fields, not 2"),
        ("label,a\n1,2\n1,x\n", "column 'a' is 'x', not a number"),
        ("label,a\n1,2\n1,nan\n", "column 'a' is 'nan', not a number"),
        ("label,a\n1,2\n1,1e999\n", "column 'a' is 1e999, not finite"),
        ("label,a\n1,true\n1,x\n", "column 'a' is 'x', not a number"),
        ("label,a\n1,2\nA,3\n", "label 'A' is not a whole number, but the labels are"),
        ("label,a\n1,2\n2.5,3\n", "label '2.5' is not a whole number, but the labels are"),
        ('label,a\n1,2\n"3,4\n', "it has an open quote"),
    ],
)
def test_what_is_wrong_with_lines(text, reason, require_wrong):
    require_wrong(text, reason)


@pytest.mark.parametrize("missing", ["0", "7", "99", "-9"])
def test_numbers_may_mean_a_missing_value(missing, tmp_path):
    """This holds in the first row too, and in blocks."""
    cells = [missing, "1", "2.5", missing, "3"] * 40
    path = tmp_path / "s.csv"
    path.write_text("a,b,c,d,e,y\n" + "".join(f"{c},{c},{c},{c},{c},u\n" for c in cells))
    batches = list(read_batches(open_source(str(path)), Request(ReadOptions(missing=(missing,)))))
    dicts = [x for batch in batches for x in batch.features.dicts()]

    assert [{} if c == missing else dict.fromkeys("abcde", float(c)) for c in cells] == dicts
    progress, knowledge = Progress(), Knowledge()
    for batch in batches:
        knowledge.adopt(batch.inferred)
        progress.count_missing(batch.missing, knowledge)
    assert progress.missing == 80 * 5


def test_a_header_that_leaves_a_quote_open_takes_the_line_that_closes_it(read):
    assert read('label,"a\nb"\n') == ([], [], {})


def test_lines_between_quotes_are_one_record_only_if_it_has_all_its_fields(read):
    """Otherwise each line is a record."""
    features, labels, rejected = read('a,t,y\n1,"x,0\n5,6,y",1,0\n3,z,1\n4,"two\nlines",0\n')

    assert (features, labels) == ([{"a": 3}, {"a": 4}], [1, 0])
    assert sorted(rejected) == [0, 1]
    assert rejected[0].startswith("it has an open quote")
