"""Damaged and forged checkpoints are rejected by a one-line error, in little memory."""

from __future__ import annotations

import copy
import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import river.compose
import river.optim
import river.preprocessing  # noqa: F401, so that imports do not count as memory of the reader
from helpers import STATED_REASON, encode_npy, forge_archive, read_members, sign_archive

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron, load, save
from stream_perceptron.checkpoint.migrations import FORMAT_VERSION
from stream_perceptron.data import ReadOptions, open_source
from stream_perceptron.live.loop import learn


@pytest.fixture(scope="module")
def small_checkpoint(tmp_path_factory):
    """The bytes of a small checkpoint with numbers and names of several types."""
    path = tmp_path_factory.mktemp("small") / "model.npz"
    model = SGDPerceptron(0.5, classes=["left", 2], seed=7)
    for i in range(20):
        model.learn_one({"a": i % 3, ("b", 1): 1.0}, "left" if i % 3 else 2)
    save(model, path, {"offset": 20})
    return path.read_bytes()


def is_rejected(path, data):
    """Return whether loading the data fails with one line that begins with the path."""
    path.write_bytes(data)
    try:
        load(path)
    except CheckpointError as error:
        return "\n" not in str(error) and str(error).startswith(f"{path}: ")
    return False


@pytest.mark.slow
def test_every_flipped_bit_truncation_and_extension_is_detected(
    small_checkpoint, tmp_path, report_figure
):
    path, n = tmp_path / "model.npz", len(small_checkpoint)
    for place in range(n):
        assert is_rejected(path, small_checkpoint[:place]), place
        for bit in range(8):
            data = bytearray(small_checkpoint)
            data[place] ^= 1 << bit
            assert is_rejected(path, data), (place, bit)
    for extra_bytes in (b"\0", b"PK\5\6", small_checkpoint):
        assert is_rejected(path, small_checkpoint + extra_bytes)
        assert is_rejected(path, extra_bytes + small_checkpoint)

    report_figure(f"{8 * n:,} flipped bits and {n:,} truncations, all rejected")


def change_meta(parts, **meta):
    """Return the members with changed metadata, top-level fields or fields of the model."""
    content = json.loads(parts["meta.json"])
    for name, value in meta.items():
        if name in content:
            content[name] = value
        else:
            content["model"][name] = value
    return {**parts, "meta.json": json.dumps(content)}


def replace_weights(data):
    """Return a function that replaces the weights by other bytes."""
    return lambda parts: {**parts, "weights.npy": data}


ONES = np.ones((2, 2))
FORGERIES = {
    "huge shape": replace_weights(encode_npy(ONES, shape=(2**40, 2**20))),
    "overflowing shape": replace_weights(encode_npy(ONES, shape=(2**62, 4))),
    "negative shape": replace_weights(encode_npy(ONES, shape=(-2, -2))),
    "object array": replace_weights(encode_npy(np.array([{}, 1], object))),
    "big-endian array": replace_weights(encode_npy(np.ones((2, 2), ">f8"))),
    "newer header": replace_weights(encode_npy(ONES).replace(b"Y\1", b"Y\2")),
    "Fortran order": replace_weights(encode_npy(ONES, fortran_order=True)),
    "code in a header": replace_weights(encode_npy(ONES).replace(b"False", b"exit")),
    "malformed header": replace_weights(encode_npy(ONES).replace(b"(2, 2)", b"((((((")),
    "truncated header": replace_weights(b"\x93NUMPY\1\0\xff\xff{"),
    "NaN weight": replace_weights(encode_npy(np.array([[1.0, np.nan]] * 2))),
    "extra member": lambda p: {**p, "extra.npy": encode_npy(np.ones(1)), "virus.py": b"1"},
    "missing weights": lambda p: {n: c for n, c in p.items() if n != "weights.npy"},
    "missing meta": lambda p: {n: c for n, c in p.items() if n != "meta.json"},
    "path in a name": lambda p: {**p, "../weights.npy": encode_npy(np.ones(1))},
    "invalid JSON": lambda p: {**p, "meta.json": b"{"},
    "invalid UTF-8": lambda p: {**p, "meta.json": b"\xff"},
    "list for an object": lambda p: {**p, "meta.json": b"[]"},
    "deep JSON": lambda p: {**p, "meta.json": b"[" * 10**6},
    "deep JSON object": lambda p: {**p, "meta.json": b'{"a":' * 10**6},
    "long integer": lambda p: {**p, "meta.json": b'{"format":' + b"9" * 10**5 + b"}"},
    "infinite JSON": lambda p: {**p, "meta.json": p["meta.json"].replace(b"0.5", b"1e999")},
    "newer version": lambda p: change_meta(p, format_version=FORMAT_VERSION + 1),
    "older version": lambda p: change_meta(p, format_version=1),
    "other format": lambda p: change_meta(p, format="zip"),
    "no model": lambda p: change_meta(p, model=None),
    "wrong type": lambda p: change_meta(p, n_seen="20"),
    "bool for a count": lambda p: change_meta(p, n_seen=True),
    "too many labels": lambda p: change_meta(p, labels=["left", 2, 3]),
    "unhashable label": lambda p: change_meta(p, labels=["left", {"list": []}]),
    "unknown activation": lambda p: change_meta(p, activation="step"),
    "code for lr": lambda p: change_meta(p, lr={"object": ["os.system", {}]}),
    "private lr": lambda p: change_meta(p, lr={"object": ["__builtins__", {}]}),
    "an unlisted class": lambda p: change_meta(p, lr={"object": ["FuncTransformer", {}]}),
    "an unhashable key": lambda p: change_meta(p, class_weight={"dict": [[[]], [1]]}),
    "too many steps": lambda p: {
        **p,
        "meta.json": p["meta.json"].replace(b'"steps":[]', b'"steps":["a","b","c"]'),
    },
    "extra of the wrong type": lambda p: change_meta(p, extra=[]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgery_with_a_valid_digest_is_rejected_in_little_memory(name, small_checkpoint, tmp_path):
    parts = FORGERIES[name](read_members(io.BytesIO(small_checkpoint)))
    path = tmp_path / "model.npz"
    data = forge_archive(parts.items())
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=STATED_REASON) as caught:
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert str(caught.value).startswith(f"{path}: ")
    assert peak < 10 * len(data) + 2**22


def test_compressed_members_are_rejected(small_checkpoint, tmp_path):
    parts = read_members(io.BytesIO(small_checkpoint))
    path = tmp_path / "model.npz"
    path.write_bytes(forge_archive(parts.items()))
    assert load(path).model.n_seen == 20  # archives that are only rebuilt are loaded
    bomb = forge_archive([*parts.items(), ("bomb.npy", b"\0" * 10**7)], zipfile.ZIP_DEFLATED)
    path.write_bytes(bomb)
    with pytest.raises(CheckpointError, match="is compressed"):
        load(path)
    # Compression makes 10 MB of zeros a small file.
    assert len(bomb) < 10**5


def test_members_that_share_bytes_are_rejected(small_checkpoint, tmp_path):
    """An archive whose members overlap can expand to many times its size."""
    path = tmp_path / "model.npz"
    with zipfile.ZipFile(io.BytesIO(small_checkpoint)) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    buffer = io.BytesIO(small_checkpoint)
    with zipfile.ZipFile(buffer, "a") as archive:
        for i in range(20):
            copied = copy.copy(largest)
            copied.filename = copied.orig_filename = f"{i}.npy"
            archive.filelist.append(copied)
        archive._didModify = True
        archive.comment = b" " * 71
    path.write_bytes(sign_archive(buffer.getvalue()))

    with pytest.raises(CheckpointError, match="members are larger than the file"):
        load(path)


FORGED_ARRAYS = {
    "unknown label": ("confusion", np.array([[0, 99, 1]])),
    "more features than the model has": ("statistics", np.ones((4, 2))),
}


@pytest.mark.parametrize("name", FORGED_ARRAYS)
def test_forged_part_of_a_live_model_is_rejected(name, tmp_path):
    source, path = tmp_path / "s.csv", tmp_path / "model.npz"
    source.write_text("label,a,part,offset\nleft,1,p,5\nright,1.5,p,6\n")
    sources = [open_source(str(source))]
    live = LiveModel.start(sources, ReadOptions(position=("part", "offset")), seed=0)
    list(learn(live, sources))
    live.save(path)
    parts = read_members(path)
    member, array = FORGED_ARRAYS[name]
    parts[f"{member}.npy"] = encode_npy(array)
    path.write_bytes(forge_archive(parts.items()))

    with pytest.raises(CheckpointError, match=STATED_REASON):
        LiveModel.load(path)


VARIABLE_LENGTH = ("confusion.npy", "curve.npy", "outcomes.npy")
ARRAY_CHANGES = {
    "one row fewer": lambda array: array[1:],
    "one row more": lambda array: np.concatenate([array, array[:1]]),
    "one dimension more": lambda array: array[np.newaxis],
    "another type": lambda array: array.astype("<f4" if array.dtype.kind == "f" else "<i2"),
}


@pytest.mark.parametrize("name", ARRAY_CHANGES)
def test_array_with_a_wrong_type_or_shape_is_rejected(name, tmp_path, run):
    source, path = tmp_path / "s.jsonl", tmp_path / "m.npz"
    rows = [{"id": 1, "a": 0.5, "b": "x"}, {"id": 2, "a": 1, "b": "y"}, {"id": 1, "label": "left"}]
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    run("learn", source, "--join", "id", "--standardize", "-m", path, check=0)
    parts = read_members(path)
    arrays = {n: np.load(io.BytesIO(part)) for n, part in parts.items() if n.endswith(".npy")}
    assert len(arrays) == 14
    if "row" in name:  # some arrays may have any number of rows
        arrays = {n: array for n, array in arrays.items() if n not in VARIABLE_LENGTH}
    for member, array in arrays.items():
        changed_array = ARRAY_CHANGES[name](array if array.size else np.zeros(2, array.dtype))
        path.write_bytes(forge_archive({**parts, member: encode_npy(changed_array)}.items()))
        with pytest.raises(CheckpointError, match=STATED_REASON):
            LiveModel.load(path)
