"""The features of strings from all of Unicode, and their limit in a column."""

from __future__ import annotations

import json
import random
import re
import unicodedata

from helpers import write_csv, write_jsonl, write_parquet

from stream_perceptron import LiveModel, RecordEncoder
from stream_perceptron.data import ReadRequest, open_source

# Characters whose case, width or class is unusual: combining marks, a dotted I, sigmas, ligatures,
# digits of other scripts, spaces, controls, and the largest code point.
UNUSUAL = "\u0301\u0307\u0130\u0131\u03a3\u03c3\u03c2\ufb01\u1e9e\u0663\u00b2\u2460"
UNUSUAL += "\u00a0\u3000\x00\x1f\x7f_\U0010ffff"
SURROGATES = "\ud800\udfff"


def draw_string(rng, has_surrogates):
    """Return a few words, each from one kind of characters; some have hundreds of bytes."""
    kinds = [
        lambda: chr(rng.randrange(32, 127)), lambda: chr(rng.randrange(0x80, 0x800)),
        lambda: rng.choice(UNUSUAL), lambda: rng.choice("aA1 "),
        lambda: chr(rng.randrange(0x800, 0xD800)),
        lambda: chr(rng.randrange(0xE000, 0x110000)),
    ]  # fmt: skip
    kinds += [lambda: rng.choice(SURROGATES)] if has_surrogates else []
    words = []
    for _ in range(rng.randrange(7)):
        length, kind = rng.choice([1, 2, 5, 5, 5, 300]), rng.choice([*kinds, None])
        words.append("".join((kind or rng.choice(kinds))() for _ in range(length)))
    return rng.choice([" ", "", "\u2003", "-", ", "]).join(words)


def encode_in_python(name, text):
    """Return the features of a string that is not a date."""
    text = text.strip()
    words = re.findall(r"[^\W_]+", text.lower())
    if len(words) <= 3:
        words = [text] if text else []
    return {f"{name}={word}": 1.0 for word in words}


def test_strings_mean_what_python_says_of_them():
    rng, kinds = random.Random(0), set()
    for _ in range(5000):
        text = draw_string(rng, has_surrogates=True)
        kinds |= {unicodedata.category(character) for character in text}
        assert RecordEncoder().transform_one({"t": text}) == encode_in_python("t", text), repr(text)
    assert len(kinds) > 25


def test_strings_mean_the_same_in_every_format(tmp_path):
    rng = random.Random(1)
    texts = [draw_string(rng, has_surrogates=False) for _ in range(1500)]
    lines = [
        json.dumps({"a": 1, "t": text, "y": "u"}, ensure_ascii=rng.random() < 0.5) for text in texts
    ]
    (tmp_path / "s.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    paths = [tmp_path / "s.jsonl"]
    columns = {"a": [1] * len(texts), "t": texts, "y": ["u"] * len(texts)}
    paths.append(write_parquet(tmp_path / "s.parquet", columns))
    for path in paths:
        rows = [x for batch in open_source(str(path)).batches(ReadRequest()) for x in batch.dicts()]
        for text, row in zip(texts, rows, strict=True):
            assert row == {"a": 1.0, **encode_in_python("t", text)}, repr(text)


def test_each_column_has_its_own_limit(tmp_path, run, monkeypatch):
    """Names such as a=b=c do not tell the column, so models store the counts."""
    path, model = tmp_path / "s.jsonl", tmp_path / "m.npz"
    rows = [{"a": f"b={i}", "a=b": f"{i + 5}x", "n": i, "label": "uv"[i % 2]} for i in range(40)]
    write_jsonl(path, rows)
    run("learn", path, "-m", model, "-q", check=0)

    assert LiveModel.load(model).state.string_columns == {"a": 40, "a=b": 40}
    monkeypatch.setattr("stream_perceptron.data.meaning.reader.MAX_STRING_FEATURES", 45)
    live = LiveModel.load(model)
    write_csv(path, ["a", "a=b", "n", "label"], [(f"c{i}", "x", i, "u") for i in range(10)])
    source = open_source(str(path), "csv")
    for batch in source.batches(live.build_request()):
        assert batch.added_features.names == ["a=c0", "a=b=x", *(f"a=c{i}" for i in range(1, 5))]
        assert batch.added_strings[-1] == (4, "a", 45)
