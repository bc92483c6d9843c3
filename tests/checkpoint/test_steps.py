"""Pipelines of River are saved with all that they have learned, to paths and to files."""

from __future__ import annotations

import io
import random
import zipfile

import pytest
from river import compose, preprocessing

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron, load, save


def rows(n, seed=0):
    rng = random.Random(seed)
    for _ in range(n):
        x = {
            "colour": rng.choice("abcdefgh"), "size": rng.choice([1, 2, 3]), "u": rng.gauss(5, 2),
            "v": rng.gauss(0, 9), "tags": rng.sample(["x", "y", "z"], rng.randrange(1, 3)),
        }  # fmt: skip
        yield x, x["u"] > 5 or x["colour"] in "ab"


ENCODED = {
    "one-hot": lambda: preprocessing.OneHotEncoder(),
    "one-hot without zeros": lambda: preprocessing.OneHotEncoder(drop_zeros=True),
    "one-hot without the first": lambda: preprocessing.OneHotEncoder(drop_first=True),
    "one-hot of known values": lambda: preprocessing.OneHotEncoder(
        categories={"colour": set("abc"), "size": {1, 2}, "tags": {"x", "z"}}
    ),
}

PIPELINES = {
    "MaxAbsScaler": lambda: compose.Select("u", "v") | preprocessing.MaxAbsScaler(),
    "two scalers": lambda: compose.Discard("colour", "tags")
    | preprocessing.StandardScaler() | preprocessing.MinMaxScaler(),
    **{
        name: lambda encoder=encoder: compose.TransformerUnion(
            compose.Select("colour", "size", "tags") | encoder(),
            compose.Select("u", "v") | preprocessing.StandardScaler(with_std=False),
        )
        for name, encoder in ENCODED.items()
    },
    "named": lambda: compose.TransformerUnion(
        ("texts", compose.Select("colour") | ("encoder", preprocessing.OneHotEncoder())),
        ("numbers", compose.Select("u")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_goes_on_as_if_nothing_had_happened(name, tmp_path):
    here = PIPELINES[name]() | SGDPerceptron(0.1, seed=0)
    for x, y in rows(60):
        here.learn_one(x, y)
    save(here, tmp_path / "m.npz")
    there = load(tmp_path / "m.npz").model

    assert str(here) == str(there)
    for x, y in rows(300, seed=1):
        assert here.predict_proba_one(x) == there.predict_proba_one(x)
        here.learn_one(x, y)
        there.learn_one(x, y)
    for path, model in (("a.npz", here), ("b.npz", there)):
        save(model, tmp_path / path)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_any_binary_file_will_do(tmp_path):
    model = preprocessing.StandardScaler() | SGDPerceptron(0.1, seed=0)
    for i in range(30):
        model.learn_one({"a": i % 7, "b": i % 3}, i % 7 > 3)
    save(model, tmp_path / "m.npz", {"offset": 29})
    whole = (tmp_path / "m.npz").read_bytes()
    memory = io.BytesIO()
    save(model, memory, {"offset": 29})
    path = tmp_path / "state.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("model", "w") as member:
        save(model, member, {"offset": 29})
    memory.seek(0)
    with zipfile.ZipFile(path) as archive, archive.open("model") as member:
        loaded = [load(memory), load(member)]

    assert whole == memory.getvalue()
    for model_there, extra in loaded:
        assert {"offset": 29} == extra
        again = io.BytesIO()
        save(model_there, again, extra)
        assert whole == again.getvalue()


def test_files_that_will_not_do(tmp_path):
    path = tmp_path / "m.npz"
    with (
        path.open("w") as file,
        pytest.raises(CheckpointError, match=r"m\.npz: not open in binary"),
    ):
        save(SGDPerceptron(), file)
    with path.open() as file, pytest.raises(CheckpointError, match=r"m\.npz: not open in binary"):
        load(file)
    with pytest.raises(
        CheckpointError, match="the file: not a stream-perceptron model, or damaged"
    ):
        load(io.BytesIO(b"PK"))


def test_a_table_of_the_command_line_goes_on_in_python_and_is_saved_again(tmp_path, run):
    path, source = tmp_path / "m.npz", tmp_path / "table.csv"
    lines = [f"{x['colour']},{x['u']},{x['v']},{y}" for x, y in rows(200)]
    source.write_text("\n".join(["colour,u,v,label", *lines]) + "\n")
    run("learn", source, "-m", path, "--one-hot", "colour", "--standardize", "--quiet", check=0)
    model = load(path).model
    again = tmp_path / "again.npz"
    save(model, again)
    there = load(again).model

    for x, y in rows(50, seed=2):
        x = {name: x[name] for name in ("colour", "u", "v")}
        assert model.predict_proba_one(x) == there.predict_proba_one(x)
        model.learn_one(x, y)
        there.learn_one(x, y)
    assert LiveModel.load(path).model.classes_ == there["SGDPerceptron"].classes_
