"""The compiled and the Python scanner give bit-identical samples of text."""

from __future__ import annotations

import json
import random
import re

import numpy as np
import pytest
from helpers import CASE_FACTOR

from stream_perceptron.data import open_source
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.data.source import Knowledge, Request, read_batches
from stream_perceptron.data.text import scanning
from stream_perceptron.live.metrics import Progress

pytestmark = pytest.mark.skipif(
    scanning.compiled is None, reason="there is no compiler: install gcc"
)

NUMBER_NOTATIONS = (
    "0 -0 0.0 -0.0 1 -1 +1 01 1. .5 1.5 1e5 1E-5 1e+22 1e23 1e-22 1e-23 9007199254740992 0.1 "
    "9007199254740993 0.30000000000000004 123456789012345678 1234567890123456789012 5e-324 1e-400 "
    "2.2250738585072011e-308 1e308 1.8e308 1e999 3.14159265358979323846 8.5e-17 0x1 1_0 nan inf "
    "true null 1e 1e+ --1 -.5 +7. 1.e5 .5e3 . -. .e1 12345678901234567890123."
)
NUMBERS = [*NUMBER_NOTATIONS.split(), "", " ", " 2 ", "2 3", "9" * 200]


def read_source(path, read_options, compiled):
    """Return all samples, rejections, notices and the schema, comparable bit by bit."""
    original_compiled, scanning.compiled = (
        scanning.compiled,
        scanning.compiled if compiled else None,
    )
    rows, rejected, labels, weights, schema = [], {}, [], [], None
    progress, knowledge = Progress(), Knowledge()
    notices, passthrough = set(), []
    try:
        for batch in read_batches(open_source(str(path)), Request(read_options)):
            for x in batch.features.dicts():
                rows.append({name: np.float64(v).tobytes() for name, v in x.items()})
            labels += batch.labels
            weights += batch.weights.tolist()
            notices |= {*batch.notices}
            passthrough += batch.passthrough
            rejected |= {batch.first_row + i: reason for i, reason in batch.rejected.items()}
            knowledge.adopt(batch.inferred)
            progress.count_missing(batch.missing, knowledge)
            schema = batch.inferred.schema
    finally:
        scanning.compiled = original_compiled
    return rows, labels, rejected, weights, progress.missing, notices, passthrough, schema


def require_identical_samples(path, read_options=None):
    """Check that both scanners give the same result for a file; return the result."""
    results = [
        read_source(path, read_options or ReadOptions(), compiled) for compiled in (True, False)
    ]
    for compiled_result, python_result in zip(*results, strict=True):
        assert compiled_result == python_result
    return results[0]


@pytest.mark.parametrize("form", ["csv", "json", "list", "libsvm"])
def test_numbers_in_every_notation_give_identical_samples(form, tmp_path):
    rng = random.Random(0)
    texts = NUMBERS + [repr(rng.uniform(-1, 1) * 10 ** rng.randint(-30, 30)) for _ in range(500)]
    texts += [str(rng.randint(-(2**60), 2**60)) for _ in range(100)]
    lines = []
    for i, text in enumerate(["1", "2", *texts]):
        lines.append(
            {
                "csv": f"{i % 2},{text},1",
                "json": f'{{"y": {i % 2}, "a": {text or "?"}, "b": 1}}',
                "list": f'{{"x": [{text or "?"}, 1], "y": {i % 2}}}',
                "libsvm": f"{i % 2} 1:{text or '?'} 2:1",
            }[form]
        )
    path = tmp_path / "s"
    path.write_text("\n".join((["y,a,b"] if form == "csv" else []) + lines) + "\n")
    rows, *_ = require_identical_samples(path)
    assert len(rows) > 500


WORDS = ["left", "right", "a, b", "NA", "", " ", "caf\u00e9", "-9", "x"]
ODD_BYTES = b'" "" , : \t \r x 1 - . e [ ] { } \xff \0 # null true 1.5 \\u0041'
BYTES_TO_INSERT = [b"", b" ", *ODD_BYTES.split(b" ")]
N_MUTATED = 2_500 * CASE_FACTOR  # records of each form


def draw_numbers(rng):
    """Return features as text: integers, or any numbers."""
    if rng.random() < 0.5:
        return [str(rng.choice([0, 0, 0, 1, 7, 12, 200, 255])) for _ in range(4)]
    return [rng.choice([repr(rng.gauss(0, 1)), str(round(rng.gauss(0, 9), 2)), "256", "-0", "0"])
            for _ in range(4)]  # fmt: skip


def draw_csv_record(rng, y, word):
    cells = [*draw_numbers(rng), y, word, "2"]
    if rng.random() < 0.1:
        cells[rng.randrange(4)] = rng.choice(["", "NA", "true", " 1 ", "-9"])
    quoted = [rng.random() < 0.1 or "," in cell for cell in cells]
    return ",".join(f'"{cell}"' if q else cell for cell, q in zip(cells, quoted, strict=True))


def draw_json_members(rng, y, word, names=("a", "b", "c", "d")):
    members = zip(names, draw_numbers(rng), strict=True)
    return ", ".join(f"{json.dumps(name)}: {value}" for name, value in members)


def draw_flat_record(rng, y, word):
    members = draw_json_members(rng, y, word)
    return f'{{{members}, "label": "{y}", "t": {json.dumps(word, ensure_ascii=False)}, "w": 2}}'


def draw_sparse_record(rng, y, word):
    names = rng.sample(["a", "b", "c", "d", "caf\u00e9", *map(str, range(30))], 4)
    return f'{{"label": "{y}", {draw_json_members(rng, y, word, names)}}}'


def draw_nested_record(rng, y, word):
    names = rng.sample([*"abcd", *map(str, range(9))], 4) if rng.random() < 0.3 else "abcd"
    return f'{{"label":"{y}","features":{{{draw_json_members(rng, y, word, names)}}},"w":1.5}}'


def draw_list_record(rng, y, word):
    return f'{{"label": "{y}", "t": "word", "x": [{", ".join(draw_numbers(rng))}]}}'


def draw_matrix_record(rng, y, word):
    a, b, c, d = draw_numbers(rng)
    return f'{{"x":[[{a},{b}],[{c},{rng.choice([d, d, d, "null"])}]],"label":"{y}"}}'


def draw_bare_list_record(rng, y, word):
    return f"[{','.join(draw_numbers(rng))}]"


def draw_libsvm_record(rng, y, word):
    names = sorted(rng.sample([*range(40), "word", "007"], 4), key=str)
    return f"{y} " + " ".join(f"{n}:{v}" for n, v in zip(names, draw_numbers(rng), strict=True))


FORMS = {
    "csv": draw_csv_record,
    "flat": draw_flat_record,
    "some": draw_sparse_record,
    "nested": draw_nested_record,
    "list": draw_list_record,
    "matrix": draw_matrix_record,
    "bare": draw_bare_list_record,
    "libsvm": draw_libsvm_record,
}
COLUMNS = {
    "csv": ("a", "b", "t", "label", "w"),
    "flat": ("a", "b", "t", "label", "w"),
    "some": ("a", "b", "label"),
    "nested": ("w", "label"),
    "list": ("t", "label"),
    "matrix": ("label",),
}
MISSING = ["NA", "x", "-9", "0", "7", "12", "99", "255", "1", "1.5"]


def draw_options(rng, form):
    """Return random read options for records of a form."""
    columns = COLUMNS.get(form, ())
    options = {"scale": rng.choice([None, None, 0.5, 1 / 255, -1e300])}
    if rng.random() < 0.5:
        options["missing"] = tuple(rng.sample(MISSING, rng.randrange(1, 3)))
    if "w" in columns and rng.random() < 0.3:
        options["weight"] = "w"
    if form in ("csv", "flat", "some") and rng.random() < 0.3:
        options["ignore"] = (rng.choice(["b", "w" if "weight" not in options else "b"]),)
    if "t" in columns and form != "list" and rng.random() < 0.4:
        options["one_hot"] = (rng.choice(["t", "a"]),)
    if columns and rng.random() < 0.5:
        options["keep"] = tuple(rng.sample(columns, rng.randrange(1, len(columns) + 1)))
    return options


def replace_value_by_null(rng, record):
    """Replace a value of a record by a null, mostly in a valid notation."""
    values = list(re.finditer(rb"(?<=[ :,\[])-?[0-9.]+(?=[,}\]])", record))
    if not values:
        return record
    value = rng.choice(values)
    null = rng.choice([b"null", b'""', b'"NA"', b'"-9"', b"7", b"99", b'"0"', b"", b"NA"])
    return record[: value.start()] + null + record[value.end() :]


@pytest.mark.parametrize("form", FORMS)
def test_mutated_records_give_identical_samples(form, tmp_path):
    """Records with changed, deleted or duplicated bytes, or nulls, are mixed with valid ones."""
    rng, path, n = random.Random(form), tmp_path / "s", 250
    n_rows = n_rejected = 0
    for _ in range(N_MUTATED // n):
        options, lines = draw_options(rng, form), []
        for i in range(n):
            y = rng.choice(["left", "right", "right", ""] if i > 5 else ["left", "right"])
            record = FORMS[form](rng, y, rng.choice(WORDS)).encode()
            if rng.random() < 0.2 and i > 5:
                record = replace_value_by_null(rng, record)
            for _ in range(rng.choice([0, 0, 0, 0, 0, 1, 2]) if i > 5 else 0):
                index = rng.randrange(len(record))
                record = (
                    record[:index]
                    + rng.choice(BYTES_TO_INSERT)
                    + record[index + rng.choice([0, 1, 1, 2]) :]
                )
            lines.append(record)
        header = [b"a,b,c,d,label,t,w"] if form == "csv" else []
        path.write_bytes(b"\n".join([*header, *lines]) + b"\n")
        rows, _, rejected, *_ = require_identical_samples(path, ReadOptions(**options))
        n_rows, n_rejected = n_rows + len(rows), n_rejected + len(rejected)
    assert n_rows > N_MUTATED // 4
    assert n_rejected > N_MUTATED // 50


def draw_small_integer_record(rng):
    names = sorted(rng.sample(range(0, 1200, 2), rng.randrange(5)))
    if rng.random() < 0.1:
        names = rng.choice([names[::-1], ["007", *names], [*names, 3, 3], ["w"], [5, *names]])
    values = [rng.choice([*range(1, 256), 0, "7", "007", "255"]) for _ in names]
    pairs = [f"{name}:{value}" for name, value in zip(names, values, strict=True)]
    separator = rng.choice([" ", " ", " ", " ", "  ", "\t"])
    return separator.join([*rng.choice([["left"], ["right"], []]), *pairs])


@pytest.mark.slow
def test_mutated_records_of_small_integers_give_identical_samples(tmp_path):
    """Each file begins with a row of all features, so that the schema has them."""
    rng, n_read = random.Random(0), 0
    n, path = 8, tmp_path / "s"
    first = "left " + " ".join(f"{name}:1" for name in ("007", 3, *range(0, 1200, 2)))
    for _ in range(N_MUTATED // n):
        lines = [first.encode()] * 2 + [b"left 1:"]
        for _ in range(n):
            record = draw_small_integer_record(rng).encode()
            if rng.random() < 0.1:
                index = rng.randrange(len(record) + 1)
                record = (
                    record[:index]
                    + rng.choice(BYTES_TO_INSERT)
                    + record[index + rng.choice([0, 1, 2]) :]
                )
            lines.append(record + rng.choice([b"", b"", b"", b" ", b"\r"]))
        path.write_bytes(b"\n".join(lines) + b"\n")
        read_options = ReadOptions(scale=rng.choice([None, 1 / 255]), ignore=("4", "6"))
        n_read += len(require_identical_samples(path, read_options)[0])
    assert n_read > N_MUTATED // 4


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        (b"y,a\n" + b"u,1\nv,\xff\n" * 3, {"missing": ("\udcff",)}),
        (b'{"y": 1, "a": 2}\n{"y": 0, "b": 2, "a": 1}\n' * 3, {"missing": ("\udcff",)}),
        (b"1 1:2\n0 1:3 2:1\n" * 3, {"ignore": ("\udcff", "2")}),
        (b"t\nblue\nred,1\nblue\n" * 2, {"one_hot": ("t",)}),
        (b'{"a": null, "b": 1}\n{"a": "x", "b": 2}\n{"a": 1, "b": 2}\n', {}),
        (b'{"Label": 1, "a": 2}\n{"a": 3, "Label": 0, "label": 1}\n' * 3, {"label": "label"}),
        (b'{"a": 1, "b": 2}\n{"b": 1, "a": 0}\n' * 3, {"label": "2"}),
        (b'{"y": 1, "b": 2}\n{"y": 0, "a": 1}\n' * 3, {"one_hot": ("a",)}),
        (b"1 1:2\n0 2:1\n" * 3, {"missing": ("1",)}),
        (b'a,y\n1,u\n2,v\n "5",u\n 5,v\n5 ,u\n' * 3, {}),
        (b'{"y": 1, "a": -18446744073709551616}\n' * 3, {}),
        (b"y,w,a\nu,1,2\nv,-1,3\nu,x,1\n" * 3, {"weight": "w"}),
    ],
    ids=[
        "csv",
        "json",
        "libsvm",
        "one column",
        "null in the first row",
        "label name in another case",
        "label by position",
        "one-hot column in a later row",
        "label that means null",
        "spaces around values",
        "large number",
        "weights",
    ],
)
def test_unusual_options_and_records_give_identical_samples(lines, options, tmp_path):
    path = tmp_path / "s"
    path.write_bytes(lines)
    require_identical_samples(path, ReadOptions(**options))


def test_unique_text_in_each_record_gives_identical_samples(tmp_path):
    path, n = tmp_path / "s.csv", 3000
    path.write_text("t,a,label,id\n" + "".join(f"t{i},{i}.5,u,{i}\n" for i in range(n)))
    read_options = ReadOptions(one_hot=("t",), keep=("id",), ignore=("id",))
    rows, *_, passthrough, _ = require_identical_samples(path, read_options)

    assert [set(row) for row in rows] == [{"a", f"t_t{i}"} for i in range(n)]
    assert list(range(n)) == [int(values[0]) for values in passthrough]


@pytest.mark.parametrize(
    ("form", "unlabeled", "labeled"),
    [("csv", b"y,a,b\n,1,\n,2,\n,3,\n", b"u,4,\nv,5,1\n"),
     ("jsonl", b'{"a": 1}\n{"a": 2}\n{"a": 3}\n', b'{"a": 4, "y": "u"}\n{"a": 5, "y": "v"}\n'),
     ("jsonl", b'{"x": [1, 2]}\n' * 3, b'{"x": [3, 4], "y": "u"}\n'),
     ("libsvm", b"1:1\n1:2\n1:3\n", b"u 1:4\nv 2:1\n")],
)  # fmt: skip
def test_first_labeled_row_determines_the_schema(form, unlabeled, labeled, tmp_path, monkeypatch):
    """The label type is known, and the unlabeled rows before it are read in blocks."""
    path, schemas = tmp_path / "s", []
    path.write_bytes(unlabeled + labeled * 3)
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(scanning, "compiled", None)
        request = Request(schema=Schema(label_type="str"))
        batches = read_batches(open_source(str(path), form), request)
        schemas.append([batch.inferred.schema for batch in batches])

    assert schemas[0] == schemas[1]
    assert schemas[0][-1] != Schema(label_type="str")


def test_names_in_a_rejected_record_are_discarded(tmp_path):
    path = tmp_path / "s"
    good = b'{"y": 1, "a": 1}\n'
    path.write_bytes(good * 3 + b'{"y": 1, "zz": 1, "a": oops}\n' + good)
    batches = list(read_batches(open_source(str(path)), Request()))

    assert sum(len(batch.rejected) for batch in batches) == 1
    assert all("zz" not in batch.features.names for batch in batches)
