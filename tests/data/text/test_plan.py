"""Decoders are functions of selection, schema and record."""

from __future__ import annotations

import json
import random

import pytest

from stream_perceptron.data import Request, Selection, open_source
from stream_perceptron.data.text import scanning
from stream_perceptron.data.text.csv import CsvDecoder
from stream_perceptron.data.text.jsonl import JsonDecoder
from stream_perceptron.data.text.libsvm import LibsvmDecoder

DECODERS = {"csv": CsvDecoder, "jsonl": JsonDecoder, "libsvm": LibsvmDecoder}


def text_of(form, rng):
    """Return rows; later ones add to the schema."""
    rows = [{"a": rng.random(), "b": rng.choice([None, 1, 2]), "t": rng.choice([None, "red"]),
             "y": rng.choice(["u", "v", None])} for _ in range(40)]  # fmt: skip
    if form == "jsonl":
        rows = [dict(rng.sample(list(row.items()), rng.randrange(2, 5))) for row in rows]
        return "".join(json.dumps(row) + "\n" for row in rows)
    if form == "csv":
        cells = [["" if value is None else value for value in row.values()] for row in rows]
        return "a,b,t,y\n" + "".join(",".join(map(str, row)) + "\n" for row in cells)
    return "".join(f"{row['y'] or ''} {rng.randrange(9)}:{row['a']} w:1\n" for row in rows)


@pytest.mark.parametrize("form", DECODERS)
@pytest.mark.parametrize("compiled", [True, False])
def test_no_attribute_of_a_decoder_changes_after_it_was_made(form, compiled, tmp_path, monkeypatch):
    kind, made = DECODERS[form], []
    make = kind.__init__

    def init(self, *args):
        make(self, *args)
        made.append((self, dict(vars(self))))
        kind.__setattr__ = refuse

    def refuse(self, name, value):
        if any(self is one for one, _ in made):
            raise AssertionError(f"{name} is assigned")
        object.__setattr__(self, name, value)

    monkeypatch.setattr(kind, "__init__", init)
    monkeypatch.setattr(kind, "__setattr__", object.__setattr__)
    if not compiled:
        monkeypatch.setattr(scanning, "compiled", None)
    rng, path = random.Random(0), tmp_path / "rows"
    for seed in range(20):
        rng.seed(seed)
        path.write_text(text_of(form, rng))
        selection = Selection(one_hot=("t",) if form != "libsvm" and seed % 2 else ())
        list(open_source(str(path), form).batches(Request(selection)))

    assert len(made) > 20
    assert all(vars(one) == before for one, before in made)


@pytest.mark.parametrize("form", DECODERS)
def test_a_record_is_read_alike_whatever_was_read_before(form, tmp_path):
    """Only the present schema counts."""
    rng, path = random.Random(1), tmp_path / "rows"
    path.write_text(text_of(form, rng))
    source = open_source(str(path), form)
    schema, n = Request().schema, 0
    for batch in source.batches(Request()):
        for i in range(len(batch)):
            alone = next(source.batches(Request(schema=schema, start=n)))[:1]
            assert list(alone.features.dicts()) == list(batch[i : i + 1].features.dicts())
            assert (alone.labels, alone.rejected) == (batch[i : i + 1].labels,
                                                      batch[i : i + 1].rejected)  # fmt: skip
            n += 1
            schema = alone.schema if alone.tells else schema

    assert 40 == n
