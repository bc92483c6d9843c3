"""Only unusual records of a block are interpreted one by one, which is slow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_records import advance_context

from stream_perceptron.data.interpreter import Context, NameRoles, interpret
from stream_perceptron.data.interpreter.blocks import Interpretation
from stream_perceptron.data.interpreter.vectorized import interpret_block
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.data.text.records import RawLines
from stream_perceptron.data.text.scanning import CsvScanner, JsonScanner, LibsvmScanner

COLUMNS = ("a", "b", "text", "when", "w", "part", "off", "id", "y")
SCANNERS = {
    "csv": lambda: CsvScanner(COLUMNS),
    "flat": JsonScanner,
    "features": JsonScanner,
    "list": JsonScanner,
    "libsvm": LibsvmScanner,
}
OTHER_MEMBERS = (
    '"text": "red", "when": "2024-03-05", "w": 2, "part": "p", "off": %d, "id": "k", "y": "up"'
)
ORDINARY_RECORDS = {
    "csv": "%d,2.5,red,2024-03-05,2,p,%d,k,up",
    "flat": '{"a": %d, "b": 2.5, ' + OTHER_MEMBERS + "}",
    "features": '{"features": {"a": %d, "b": 2.5}, ' + OTHER_MEMBERS + "}",
    "list": '{"x": [%d, 2.5], ' + OTHER_MEMBERS + "}",
    "libsvm": "1 1:%d 2:2.5 %d:1",
}
OPTIONS = {
    "defaults": {},
    "label": {"label": "y"},
    "weight": {"weight": "w"},
    "ignored": {"ignore": ("id", "off")},
    "kept": {"keep": ("id", "text")},
    "one-hot": {"one_hot": ("text",)},
    "dates and words": {"dates": ("when",), "words": ("text",)},
    "missing": {"missing": ("NA", "-9")},
    "scale": {"scale": 0.5},
    "offsets": {"position": ("part", "off")},
    "joined": {"join": "id"},
    "all": {
        "label": "y", "weight": "w", "keep": ("id",), "one_hot": ("text",), "dates": ("when",),
        "missing": ("NA",), "scale": 0.5, "position": ("part", "off"),
    },
}  # fmt: skip
N = 20


def scan_lines(form, lines):
    records = [f"{line}\n".encode() for line in lines]
    return SCANNERS[form]().scan(RawLines(b"".join(records), np.cumsum(list(map(len, records)))))


def find_deferred(form, options, line=None):
    """Return which records of a block are deferred, after a block of two ordinary records.

    The records are ordinary, except that `line` is in the middle of the block.
    """
    lines = [ORDINARY_RECORDS[form] % (i, i + 3) for i in range(2 + N)]
    if line is not None:
        lines[2 + N // 2] = line
    if form == "csv":
        options = {"label": "y"} | options
    context = Context(ReadOptions(**options), is_text=form in ("csv", "libsvm"))
    if form == "csv":
        context = replace(context, columns=COLUMNS, has_column_names=True)
    elif form == "libsvm":
        context = replace(context, has_pairs=True)
    cells = scan_lines(form, lines)
    context = advance_context(context, interpret(context, cells[:2]).inferred)
    block = interpret_block(context, cells[2:], NameRoles())
    return np.flatnonzero(block.is_deferred).tolist()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("form", ORDINARY_RECORDS)
def test_ordinary_records_are_interpreted_in_blocks(form, options):
    if form == "libsvm":
        options = {name: options[name] for name in options.keys() & {"missing", "scale"}}

    assert find_deferred(form, options) == []


@pytest.mark.parametrize(
    ("form", "options", "line"),
    [
        ("csv", {}, ",2.5,red,2024-03-05,2,p,9,k,up"),
        ("csv", {}, "1,2.5,,,,,,,"),
        ("csv", {"missing": ("NA", "-9")}, "NA,-9,red,2024-03-05,2,p,9,k,NA"),
        ("csv", {"weight": "w"}, "1,2.5,red,2024-03-05,,p,9,k,up"),
        ("csv", {"one_hot": ("text",)}, "1,2.5,green,2024-03-05,2,p,9,k,up"),
        ("flat", {}, '{"a": null, "b": 2, "text": "red", "y": "up"}'),
        ("flat", {}, '{"b": 2, "a": true, "y": "up"}'),
        ("flat", {}, '{"a": 1, "y": null}'),
        ("flat", {}, '{"a": 1, "text": "green", "new": 7}'),
        ("flat", {}, '{"a": 1, "c": {"d": 2, "e": null}, "y": "up"}'),
        ("flat", {"missing": ("NA",)}, '{"a": "NA", "b": 2, "y": "up"}'),
        ("flat", {"missing": ("NA",)}, '{"a": 1, "new": "NA", "y": "up"}'),
        ("flat", {"weight": "w"}, '{"a": 1, "w": null, "y": "up"}'),
        ("flat", {"one_hot": ("text",)}, '{"a": 1, "text": "green", "y": "up"}'),
        ("flat", {"one_hot": ("text",)}, '{"a": 1, "text": null, "y": "up"}'),
        ("flat", {"join": "id"}, '{"id": "k", "y": "up"}'),
        ("flat", {"join": "id"}, '{"id": "k", "a": null, "y": "up"}'),
        ("features", {}, '{"features": {"a": null, "new": 7}, "y": "up"}'),
        ("features", {}, '{"y": "up", "features": {"b": false}, "more": [1, {"a": 2}]}'),
        ("features", {"missing": ("NA",)}, '{"features": {"a": "NA", "b": 2}, "y": "up"}'),
        ("features", {"one_hot": ("c",)}, '{"features": {"a": 1}, "text": null, "y": "up"}'),
        ("list", {}, '{"x": [null, 2.5], "y": "up"}'),
        ("list", {}, '{"y": null, "x": [true, 2.5], "more": {"a": 1}}'),
        ("libsvm", {}, "1"),
        ("libsvm", {}, " 1:2"),
    ],
)
def test_incomplete_records_are_interpreted_in_blocks(form, options, line):
    assert find_deferred(form, options, line) == []


@pytest.mark.parametrize(
    ("form", "options", "line"),
    [
        ("csv", {}, "x,2.5,red,2024-03-05,2,p,9,k,up"),
        ("csv", {}, "1e400,2.5,red,2024-03-05,2,p,9,k,up"),
        ("csv", {"weight": "w"}, "1,2.5,red,2024-03-05,-1,p,9,k,up"),
        ("csv", {"dates": ("when",)}, "1,2.5,red,today,2,p,9,k,up"),
        ("csv", {"position": ("part", "off")}, "1,2.5,red,2024-03-05,2,p,x,k,up"),
        ("csv", {}, "1,2.5"),
        ("flat", {}, '{"a": "x", "b": 2, "y": "up"}'),
        ("flat", {}, '{"a": [1], "b": 2, "y": "up"}'),
        ("flat", {}, '{"a": 1, "y": ["up"]}'),
        ("flat", {}, '{"y": "up"}'),
        ("flat", {"weight": "w"}, '{"a": 1, "w": -1, "y": "up"}'),
        ("flat", {"keep": ("id",)}, '{"a": 1, "id": [1], "y": "up"}'),
        ("flat", {"scale": 1e305}, '{"a": 1e9, "y": "up"}'),
        ("features", {}, '{"features": {}, "y": "up"}'),
        ("features", {}, '{"a": 1, "y": "up"}'),
        ("features", {}, '{"features": {"a": {"u": 1}}, "y": "up"}'),
        ("list", {}, '{"x": [1], "y": "up"}'),
        ("list", {}, '{"x": [1, "x"], "y": "up"}'),
        ("list", {}, '{"x": 1, "y": "up"}'),
        ("libsvm", {}, "1 1:1e400"),
        ("libsvm", {}, "1 1:1 1:2"),
    ],
)
def test_an_unusual_record_is_deferred_alone(form, options, line):
    assert find_deferred(form, options, line) == [N // 2]


@pytest.mark.parametrize(
    ("form", "features", "line"),
    [
        ("flat", ("a", "b"), '{"a": 1, "b": 2, "more": %d, "note": "text", "deep": {"c": 2}}'),
        ("features", ("a", "b"), '{"features": {"a": 1, "more": %d, "note": "text"}, "e": 3}'),
        ("libsvm", ("1", "2"), "1 1:1 2:2 more:%d"),
    ],
)
def test_names_that_a_model_of_a_table_does_not_know_are_collected(form, features, line):
    schema = Schema(
        features=features,
        label_type="int",
        texts=(),
        columns=(*features, "y"),
        label="y",
        key="features" if form == "features" else "",
    )
    context = Context(ReadOptions(), schema=schema, is_text=form == "libsvm")
    context = replace(context, has_pairs=form == "libsvm")
    cells = scan_lines(form, [line % i for i in range(N)])
    block = interpret_block(context, cells, NameRoles())
    together = Interpretation(context, cells)
    alone = Interpretation(context, cells[:1])

    assert not block.is_deferred.any()
    assert set(together.unknown_names) == set(alone.unknown_names)
    assert "more" in together.unknown_names
    assert "note" not in together.unknown_names


@pytest.mark.parametrize("form", ["flat", "features"])
def test_other_default_label_names_are_collected(form):
    record = ORDINARY_RECORDS[form].replace('"y": "up"', '"label": "up", "y": 1, "target": null')
    cells = scan_lines(form, [record % (i, i) for i in range(N)])
    context = Context(ReadOptions(label="label"))
    context = advance_context(context, interpret(context, cells[:1]).inferred)

    assert not interpret_block(context, cells, NameRoles()).is_deferred.any()
    assert Interpretation(context, cells).other_labels == {"y", "target"}
    assert Interpretation(context, cells[:1]).other_labels < {"y", "target"}
