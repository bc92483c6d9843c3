"""The layout cache interprets records as the interpreter does."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from stream_perceptron.data.interpreter import Context, interpret
from stream_perceptron.data.interpreter.layout_cache import LayoutCache
from stream_perceptron.data.interpreter.name_roles import NameRoles
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.data.text.records import RawLines
from stream_perceptron.data.text.scanning import CsvScanner, JsonScanner, LibsvmScanner

COLUMNS = ("label", "a", "b", "text", "id")
ODD_VALUES = [None, True, "", "\u00a0", "NA", "x", 1e400, 1e300, -0.0, 2**60, [1], {"u": 1}]


def draw_record(rng, form, labels, odd_values, odd_percentage):
    """Return the members of a random record: mostly plain numbers, texts and a label."""

    def draw(usual_values):
        return (
            rng.choice(usual_values)
            if rng.random() > odd_percentage / 100
            else rng.choice(odd_values)
        )

    features = {"a": draw([0.5, -2.0, 3]), "b": draw([1, 255, 256])}
    if form in ("flat", "object") and rng.random() < odd_percentage / 100:
        features = {}
    others, label = {"text": draw(["red", "blue"]), "id": draw([7, "k"])}, draw(labels)
    if form == "object":
        return {"features": features, **others, "label": label}
    if form == "pairs":
        pairs = {name: value for name, value in features.items() if rng.random() < 0.8}
        label = "" if rng.random() < odd_percentage / 100 else label
        new = {f"new{rng.random()}": 1} if rng.random() < 0.1 else {}
        return {"label": label, **pairs, **new}
    if form == "list":
        length = rng.choice([1, 3]) if rng.random() < odd_percentage / 50 else 2
        return {"label": label, "values": [*features.values(), 2.5][:length], **others}
    members = {"label": label, **features, **others}
    if form == "flat" and rng.random() < odd_percentage / 100:
        members["c"] = 1
    if form == "flat" and features and rng.random() < odd_percentage / 50:
        members["a"], members["b"] = members.pop("b"), members.pop("a")
    return members


def draw_records(rng, form, n):
    labels, odd_values = rng.choice([["up", "down"], ["up", "7", 7]]), rng.sample(ODD_VALUES, 2)
    odd_percentage = rng.choice([3, 3, 30])
    return [draw_record(rng, form, labels, odd_values, odd_percentage) for _ in range(n)]


def scan(form, records, draw_size):
    """Write and scan records in blocks of the drawn sizes; return the cells of each block."""
    if form == "csv":
        scanner = CsvScanner(tuple(records[0]))
        texts = [
            ",".join("" if value is None else str(value) for value in record.values())
            for record in records
        ]
    elif form == "pairs":
        scanner = LibsvmScanner()
        texts = [
            " ".join([str(record["label"]), *(f"{n}:{v}" for n, v in [*record.items()][1:])])
            for record in records
        ]
    else:
        scanner, texts = JsonScanner(), list(map(json.dumps, records))
    lines, blocks = [text.encode() + b"\n" for text in texts], []
    while lines:
        size = draw_size()
        block, lines = lines[:size], lines[size:]
        blocks.append(scanner.scan(RawLines(b"".join(block), np.cumsum(list(map(len, block))))))
    return blocks


def draw_context(rng, form):
    read_options = ReadOptions(
        label="label" if form == "csv" else rng.choice([None, "label"]),
        scale=rng.choice([None, None, 0.5, 1e200]),
        ignore=rng.choice([(), ("id",), ("text",), ("id", "text")]),
        missing=rng.choice([(), (), (), ("NA", "3")]),
        weight=rng.choice([None, None, None, "b"]),
        keep=rng.choice([(), (), (), ("a",)]),
        one_hot=rng.choice([(), (), (), ("text",)]),
    )
    is_csv = form == "csv"
    return Context(
        read_options,
        is_text=form in ("csv", "pairs"),
        columns=COLUMNS if is_csv else None,
        has_column_names=is_csv,
        has_pairs=form == "pairs",
    )


def summarize_batch(batch):
    return (
        [{name: np.float64(v).tobytes() for name, v in x.items()} for x in batch.features.dicts()],
        list(map(repr, batch.labels)),
        batch.weights.tolist(),
        batch.rows.tolist(),
        batch.inferred,
        batch.rejected,
        batch.missing,
        batch.passthrough,
    )


def interpret_blocks(context, blocks, n_learned):
    """Learn the first blocks and predict the others; return the number of cache hits."""
    layout_cache, name_roles, n_cache_hits = LayoutCache(), NameRoles(), 0
    fields = {"source": "rows", "first_row": 1}
    for i, cells in enumerate(blocks):
        if i == n_learned:
            context = replace(context, learns=False)
        expected = interpret(context, cells)
        actual = layout_cache.interpret(context, cells, name_roles, fields)
        if actual is None:
            layout_cache.store(context, cells, interpret(context, cells, name_roles))
        else:
            assert summarize_batch(actual) == summarize_batch(expected)
            n_cache_hits += 1
        inferred = expected.inferred
        if context.learns:
            context.vocabulary.extend(inferred.names)
            if inferred.schema is not context.schema:
                context = replace(context, schema=inferred.schema)
    return n_cache_hits


@pytest.mark.parametrize("form", ["csv", "flat", "object", "list", "pairs"])
@pytest.mark.parametrize("seed", range(150))
def test_layout_cache_interprets_records_as_the_interpreter_does(form, seed):
    rng = random.Random(seed)
    context, sizes = draw_context(rng, form), rng.choice([[1], [2], [1, 1, 2, 3, 5]])
    blocks = scan(form, draw_records(rng, form, 60), lambda: rng.choice(sizes))

    interpret_blocks(context, blocks, rng.choice([10, 60]))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("form", ["csv", "flat", "object", "list", "pairs"])
def test_records_of_numbers_and_a_label_hit_the_cache(form, size):
    members = {"a": 0.5, "b": 256, "text": "red", "id": 7, "label": "up"}
    if form == "object":
        members = {"features": {"a": 0.5, "b": 256}, "id": 7, "label": "up"}
    if form == "list":
        members = {"values": [0.5, True, 256], "id": 7, "label": "up"}
    if form == "pairs":
        members = {"label": "up", "a": 0.5, "b": 256}
    context = draw_context(random.Random(0), form)
    context = replace(context, read_options=ReadOptions(label="label", ignore=("id",)))

    n_cache_hits = interpret_blocks(context, scan(form, [members] * 50 * size, lambda: size), 25)

    assert n_cache_hits > 40


@pytest.mark.parametrize("form", ["csv", "flat", "list"])
@pytest.mark.parametrize(("n_pixels", "size"), [(60, 1), (60, 2), (100, 1), (100, 2)])
def test_records_of_pixels_hit_the_cache(form, n_pixels, size):
    rng = random.Random(0)
    columns = ("label", *(f"pixel{i}" for i in range(n_pixels)))
    values = [rng.choices(range(256), k=n_pixels) for _ in range(20 * size)]
    pixels = [dict(zip(columns, ["up", *row], strict=True)) for row in values]
    if form == "list":
        pixels = [{"label": "up", "pixels": row} for row in values]
    is_csv = form == "csv"
    context = Context(
        ReadOptions(label="label", scale=1 / 255),
        is_text=is_csv, columns=columns if is_csv else None, has_column_names=is_csv,
    )  # fmt: skip

    assert interpret_blocks(context, scan(form, pixels, lambda: size), 10) > 15
