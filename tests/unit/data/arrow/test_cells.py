"""The contents of text columns, whichever way they are encoded."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from stream_perceptron.data.arrow.cells import ArrowScanner
from stream_perceptron.data.arrow.types import describe_type

TEXTS = (b"", b"up", b"down", "übel".encode(), b"seven77", b"eight888", b"a text of many bytes")


def draw_column(rng, texts):
    """Return a slice of a column that repeats some texts, and some nulls."""
    n = int(rng.choice([1, 5, 300]))
    values = [texts[i] for i in rng.integers(len(texts), size=n)]
    if rng.random() < 0.5:
        values = [None if rng.random() < 0.2 else value for value in values]
    column = pa.array(values, pa.binary()).view(pa.string())
    start = int(rng.integers(n))
    return column[start : start + int(rng.integers(1, n + 1))]


def scan(column):
    """Return the contents of a column, their encoding for some rows, and the errors."""
    batch = pa.record_batch({"t": column})
    types = {field.name: describe_type(field.type) for field in batch.schema}
    cells = ArrowScanner(types, {"t"}).scan(batch)
    rows = np.arange(len(column))[::2]
    codes, contents = cells.contents.encode(rows)
    encoded = [contents[code] for code in codes.tolist()]
    return cells.contents.get_all(np.arange(len(column))), encoded, cells.errors


@pytest.mark.parametrize("seed", range(40))
def test_texts_are_those_that_arrow_returns(seed):
    rng = np.random.default_rng(seed)
    repeated = [TEXTS[i] for i in rng.permutation(len(TEXTS))[: rng.integers(1, 4)]]
    distinct = [f"text {i}".encode() for i in range(300)]
    column = draw_column(rng, repeated if rng.random() < 0.7 else distinct)
    if (kind := rng.choice(["string", "large_string", "dictionary"])) == "dictionary":
        column = column.dictionary_encode()
    else:
        column = column.cast(kind)

    contents, encoded, errors = scan(column)

    assert contents == column.to_pylist()
    assert encoded == column.to_pylist()[::2]
    assert errors == {}


@pytest.mark.parametrize("seed", range(10))
def test_invalid_texts_are_found(seed):
    column = draw_column(np.random.default_rng(seed), [b"up", b"\xff", b"down"])

    errors = scan(column)[2]
    invalid = [i for i, text in enumerate(column.view(pa.binary()).to_pylist()) if text == b"\xff"]
    assert list(errors) == invalid
    assert all("is not UTF-8" in reason for reason in errors.values())
