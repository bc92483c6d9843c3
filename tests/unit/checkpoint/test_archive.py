"""Damaged and forged checkpoints are refused in one line, without a crash, in little memory."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import river.compose
import river.optim
import river.preprocessing  # noqa: F401, so that imports do not count as memory of the reader
from helpers import ROOT, forge, members_of, npy

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron, load, save
from stream_perceptron.checkpoint.archive import FORMAT_VERSION, read_checkpoint


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small checkpoint, with numbers and names of several kinds."""
    path = tmp_path_factory.mktemp("small") / "model.npz"
    model = SGDPerceptron(0.5, classes=["left", 2], seed=7)
    for i in range(20):
        model.learn_one({"a": i % 3, ("b", 1): 1.0}, "left" if i % 3 else 2)
    save(model, path, {"offset": 20})
    return path.read_bytes()


def refused(path, data):
    path.write_bytes(data)
    try:
        load(path)
    except CheckpointError as error:
        return "\n" not in str(error) and str(error).startswith(f"{path}: ")
    return False


def test_every_flipped_bit_is_noticed(small, tmp_path, tell):
    path = tmp_path / "model.npz"
    n = 0
    for byte in range(len(small)):
        for bit in range(8):
            data = bytearray(small)
            data[byte] ^= 1 << bit
            assert refused(path, data), (byte, bit)
            n += 1

    tell(f"flipped bits: {n:,} of {8 * len(small):,}, all refused")
    assert n == 8 * len(small)


def test_every_truncation_and_extension_is_noticed(small, tmp_path, tell):
    path = tmp_path / "model.npz"
    for length in range(len(small)):
        assert refused(path, small[:length]), length
    for more in (b"\0", b"PK\5\6", small):
        assert refused(path, small + more)
        assert refused(path, more + small)

    tell(f"truncations: {len(small):,}, all refused")


def changed(parts, **meta):
    """Change the model's part of the meta data."""
    content = json.loads(parts["meta.json"])
    for name, value in meta.items():
        if name in content:
            content[name] = value
        else:
            content["model"][name] = value
    return {**parts, "meta.json": json.dumps(content)}


FORGERIES = {
    "huge shape": lambda p: {**p, "weights.npy": npy(np.ones(4), shape=(2**40, 2**20))},
    "overflowing shape": lambda p: {**p, "weights.npy": npy(np.ones(4), shape=(2**62, 4))},
    "negative shape": lambda p: {**p, "weights.npy": npy(np.ones(4), shape=(-2, -2))},
    "object array": lambda p: {**p, "weights.npy": npy(np.array([{}, 1], object))},
    "text array": lambda p: {**p, "weights.npy": npy(np.array(["a", "b"]))},
    "complex array": lambda p: {**p, "weights.npy": npy(np.ones((2, 2), complex))},
    "big-endian array": lambda p: {**p, "weights.npy": npy(np.ones((2, 2), ">f8"))},
    "newer header": lambda p: {**p, "weights.npy": npy(np.ones((2, 2))).replace(b"Y\1", b"Y\2")},
    "Fortran order": lambda p: {**p, "weights.npy": npy(np.ones((2, 2)), fortran_order=True)},
    "code in a header": lambda p: {**p, "weights.npy": npy(np.ones(1)).replace(b"False", b"exit")},
    "half a header": lambda p: {**p, "weights.npy": npy(np.ones(1)).replace(b"(1,)", b"((((")},
    "no array": lambda p: {**p, "weights.npy": b"\x93NUMPY\1\0\xff\xff{"},
    "other precision": lambda p: {**p, "weights.npy": npy(np.ones((2, 2), "f4"))},
    "other shape": lambda p: {**p, "weights.npy": npy(np.ones((2, 3)))},
    "NaN weight": lambda p: {**p, "weights.npy": npy(np.array([[1.0, np.nan]] * 2))},
    "infinite bias": lambda p: {**p, "biases.npy": npy(np.array([1.0, np.inf]))},
    "extra member": lambda p: {**p, "extra.npy": npy(np.ones(1)), "virus.py": b"1"},
    "missing weights": lambda p: {n: c for n, c in p.items() if n != "weights.npy"},
    "missing meta": lambda p: {n: c for n, c in p.items() if n != "meta.json"},
    "path in a name": lambda p: {**p, "../weights.npy": npy(np.ones(1))},
    "no JSON": lambda p: {**p, "meta.json": b"{"},
    "no UTF-8": lambda p: {**p, "meta.json": b"\xff"},
    "a list": lambda p: {**p, "meta.json": b"[]"},
    "deep JSON": lambda p: {**p, "meta.json": b"[" * 10**6},
    "deep JSON object": lambda p: {**p, "meta.json": b'{"a":' * 10**6},
    "long integer": lambda p: {**p, "meta.json": b'{"format":' + b"9" * 10**5 + b"}"},
    "NaN in JSON": lambda p: {**p, "meta.json": p["meta.json"].replace(b"0.5", b"NaN")},
    "infinite JSON": lambda p: {**p, "meta.json": p["meta.json"].replace(b"0.5", b"1e999")},
    "newer version": lambda p: changed(p, format_version=FORMAT_VERSION + 1),
    "version zero": lambda p: changed(p, format_version=0),
    "version true": lambda p: changed(p, format_version=True),
    "other format": lambda p: changed(p, format="zip"),
    "no model": lambda p: changed(p, model=None),
    "unknown field": lambda p: changed(p, surprise=1),
    "wrong type": lambda p: changed(p, n_seen="20"),
    "bool for a count": lambda p: changed(p, n_seen=True),
    "negative count": lambda p: changed(p, n_seen=-1),
    "more updates than samples": lambda p: changed(p, n_updates=10**6),
    "label twice": lambda p: changed(p, labels=["left", "left"]),
    "too many labels": lambda p: changed(p, labels=["left", 2, 3]),
    "unhashable label": lambda p: changed(p, labels=["left", {"list": []}]),
    "bad date": lambda p: changed(p, labels=["left", {"date": "31 Feb"}]),
    "unknown activation": lambda p: changed(p, activation="step"),
    "bad lr": lambda p: changed(p, lr=-1.0),
    "code for lr": lambda p: changed(p, lr={"class": "os.system", "state": {}}),
    "private lr": lambda p: changed(p, lr={"class": "__builtins__", "state": {}}),
    "bad scheduler": lambda p: changed(
        p, lr={"class": "optim.schedulers.Constant", "state": {"x": 1}}
    ),
    "unknown part": lambda p: {
        **p,
        "meta.json": p["meta.json"].replace(b'"extra"', b'"more":0,"extra"'),
    },
    "no kernel": lambda p: {**p, "meta.json": p["meta.json"].replace(b'"kernel"', b'"extra"')},
    "steps that are none": lambda p: changed(
        p, steps={"dict": [["a", {"class": "os.system", "state": {}}]]}
    ),
    "extra that is none": lambda p: changed(p, extra=[]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgery_with_a_right_digest_is_refused_in_little_memory(name, small, tmp_path):
    parts = FORGERIES[name](members_of(io.BytesIO(small)))
    path = tmp_path / "model.npz"
    data = forge(parts.items())
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert peak < 10 * len(data) + 2**22


def test_forged_archives_are_refused(small, tmp_path):
    parts = members_of(io.BytesIO(small))
    path = tmp_path / "model.npz"
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = forge([*parts.items(), ("weights.npy", parts["weights.npy"])])
    bomb = forge([*parts.items(), ("bomb.npy", b"\0" * 10**7)], zipfile.ZIP_DEFLATED)
    for data, reason in ((twice, "occurs twice"), (bomb, "is compressed")):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=reason):
            load(path)
    # Two directory entries for the same content, which would be read twice.
    assert len(bomb) < 10**5


def test_unforged_forgery_is_read(small, tmp_path):
    """An unchanged rebuilt archive is accepted, so the forgeries fail by their changes."""
    path = tmp_path / "model.npz"
    path.write_bytes(forge(members_of(io.BytesIO(small)).items()))

    assert load(path).model.n_seen == 20


RUNS = {
    "no pairs in confusion": ("confusion", np.zeros((2, 2), np.int64)),
    "a pair twice": ("confusion", np.array([[0, 0, 1], [0, 0, 1]])),
    "a label that is not known": ("confusion", np.array([[0, 99, 1]])),
    "negative confusion": ("confusion", np.array([[0, 0, -1]])),
    "too much confusion": ("confusion", np.array([[0, 0, 10**6]])),
    "float confusion": ("confusion", np.zeros((2, 3))),
    "long window": ("window", np.zeros(1001, bool)),
    "bools that are neither": ("window", np.full(5, 7, np.uint8).view(bool)),
}


@pytest.mark.parametrize("name", RUNS)
def test_forged_run_is_refused(name, sample, tmp_path):
    from stream_perceptron.data.arrow.parquet import ParquetSource
    from stream_perceptron.data.schema import ReadOptions

    sources = [ParquetSource(str(sample))]
    live = LiveModel.start(sources, ReadOptions(), seed=0)
    list(live.run(sources, limit=100))
    path = tmp_path / "model.npz"
    live.save(path)
    member, array = RUNS[name]
    parts = {**members_of(path), f"{member}.npy": npy(array)}
    path.write_bytes(forge(parts.items()))

    with pytest.raises(CheckpointError, match=r"progress has|bools|the wrong type"):
        LiveModel.load(path)


FREE = ("class_curve", "confusion", "curve", "window")
RESHAPED = {
    "one row less": lambda array: array[1:],
    "one row more": lambda array: np.concatenate([array, array[:1]]),
    "one dimension more": lambda array: array[np.newaxis],
    "another type": lambda array: array.astype("<f4" if array.dtype.kind == "f" else "<i2"),
}


@pytest.mark.parametrize("name", RESHAPED)
def test_each_array_of_another_type_or_shape_is_refused(name, tmp_path, run):
    source, path = tmp_path / "s.jsonl", tmp_path / "m.npz"
    rows = [{"id": 1, "a": 0.5, "b": "x"}, {"id": 2, "a": 1, "b": "y"}, {"id": 1, "label": "left"}]
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    run("learn", source, "--join", "id", "--one-hot", "b", "--standardize", "-m", path, check=0)
    parts = members_of(path)
    arrays = {n: np.load(io.BytesIO(part)) for n, part in parts.items() if n.endswith(".npy")}
    assert len(arrays) == 15
    if "row" in name:  # these may have any number of rows
        arrays = {n: arrays[n] for n in arrays.keys() - {f"{free}.npy" for free in FREE}}
    for member, array in arrays.items():
        changed = RESHAPED[name](array if array.size else np.zeros(2, array.dtype))
        path.write_bytes(forge({**parts, member: npy(changed)}.items()))
        with pytest.raises(CheckpointError) as caught:
            LiveModel.load(path)
        assert "\n" not in str(caught.value)


PLACES = {
    "a label type that is none": (["schema", "label_type"], "date"),
    "a feature that is no text": (["schema", "features"], [1]),
    "rows below none": (["cursor", "row"], -1),
    "rows beyond any file": (["cursor", "read"], 2**80),
    "a count that is text": (["progress", "samples"], "10"),
    "an offset without its part": (["cursor", "offsets"], [[[], 14]]),
    "a bin of nothing": (["curve_bin"], 0),
    "a part that is not known": (["cursor", "surprise"], 1),
    "a place in no source": (["cursor", "sources"], []),
}


@pytest.mark.parametrize("name", PLACES)
def test_forged_place_of_a_run_is_refused(name, tmp_path):
    parts = members_of(ROOT / "tests" / "golden" / "run-1.npz")
    meta = json.loads(parts["meta.json"])
    (*way, last), value = PLACES[name]
    part = meta["run"]
    for step in way:
        part = part[step]
    part[last] = value
    path = tmp_path / "model.npz"
    path.write_bytes(forge({**parts, "meta.json": json.dumps(meta)}.items()))

    with pytest.raises(CheckpointError) as caught:
        LiveModel.load(path)
    assert "\n" not in str(caught.value)


def test_refusal_points_to_the_checkpoint_before(small, tmp_path):
    path = tmp_path / "model.npz"
    model = SGDPerceptron(seed=0)
    save(model, path)
    save(model, path)
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(CheckpointError, match=f"the previous save is {path}.prev"):
        load(path)
    assert load(f"{path}.prev").model.n_seen == 0


def test_numpy_and_unzip_can_open_it(small, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(small)
    with np.load(path, allow_pickle=False) as file:
        assert file["weights"].shape == (2, 2)
        assert json.loads(file["meta.json"])["model"]["labels"] == ["left", 2]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    assert set(read_checkpoint(path)[1]) == {"weights", "biases"}
