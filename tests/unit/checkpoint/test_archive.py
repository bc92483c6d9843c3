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
from helpers import (
    ROOT,
    STATED_REASON,
    encode_npy,
    forge_archive,
    read_members,
    sign_archive,
)

from stream_perceptron import CheckpointError, LiveModel, SGDPerceptron, load, save
from stream_perceptron.checkpoint.archive import FORMAT_VERSION, read_checkpoint
from stream_perceptron.data import ReadOptions, open_source


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
def test_every_flipped_bit_is_detected(small_checkpoint, tmp_path, report_figure):
    path = tmp_path / "model.npz"
    n = 0
    for byte in range(len(small_checkpoint)):
        for bit in range(8):
            data = bytearray(small_checkpoint)
            data[byte] ^= 1 << bit
            assert is_rejected(path, data), (byte, bit)
            n += 1

    report_figure(f"flipped bits: {n:,} of {8 * len(small_checkpoint):,}, all rejected")
    assert n == 8 * len(small_checkpoint)


def test_every_truncation_and_extension_is_detected(small_checkpoint, tmp_path, report_figure):
    path = tmp_path / "model.npz"
    for length in range(len(small_checkpoint)):
        assert is_rejected(path, small_checkpoint[:length]), length
    for extra_bytes in (b"\0", b"PK\5\6", small_checkpoint):
        assert is_rejected(path, small_checkpoint + extra_bytes)
        assert is_rejected(path, extra_bytes + small_checkpoint)

    report_figure(f"truncations: {len(small_checkpoint):,}, all rejected")


def change_meta(parts, **meta):
    """Return the members with changed metadata, top-level fields or fields of the model."""
    content = json.loads(parts["meta.json"])
    for name, value in meta.items():
        if name in content:
            content[name] = value
        else:
            content["model"][name] = value
    return {**parts, "meta.json": json.dumps(content)}


FORGERIES = {
    "huge shape": lambda p: {**p, "weights.npy": encode_npy(np.ones(4), shape=(2**40, 2**20))},
    "overflowing shape": lambda p: {**p, "weights.npy": encode_npy(np.ones(4), shape=(2**62, 4))},
    "negative shape": lambda p: {**p, "weights.npy": encode_npy(np.ones(4), shape=(-2, -2))},
    "object array": lambda p: {**p, "weights.npy": encode_npy(np.array([{}, 1], object))},
    "text array": lambda p: {**p, "weights.npy": encode_npy(np.array(["a", "b"]))},
    "complex array": lambda p: {**p, "weights.npy": encode_npy(np.ones((2, 2), complex))},
    "big-endian array": lambda p: {**p, "weights.npy": encode_npy(np.ones((2, 2), ">f8"))},
    "newer header": lambda p: {
        **p,
        "weights.npy": encode_npy(np.ones((2, 2))).replace(b"Y\1", b"Y\2"),
    },
    "Fortran order": lambda p: {
        **p,
        "weights.npy": encode_npy(np.ones((2, 2)), fortran_order=True),
    },
    "code in a header": lambda p: {
        **p,
        "weights.npy": encode_npy(np.ones(1)).replace(b"False", b"exit"),
    },
    "malformed header": lambda p: {
        **p,
        "weights.npy": encode_npy(np.ones(1)).replace(b"(1,)", b"(((("),
    },
    "truncated header": lambda p: {**p, "weights.npy": b"\x93NUMPY\1\0\xff\xff{"},
    "other precision": lambda p: {**p, "weights.npy": encode_npy(np.ones((2, 2), "f4"))},
    "other shape": lambda p: {**p, "weights.npy": encode_npy(np.ones((2, 3)))},
    "NaN weight": lambda p: {**p, "weights.npy": encode_npy(np.array([[1.0, np.nan]] * 2))},
    "infinite bias": lambda p: {**p, "biases.npy": encode_npy(np.array([1.0, np.inf]))},
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
    "NaN in JSON": lambda p: {**p, "meta.json": p["meta.json"].replace(b"0.5", b"NaN")},
    "infinite JSON": lambda p: {**p, "meta.json": p["meta.json"].replace(b"0.5", b"1e999")},
    "newer version": lambda p: change_meta(p, format_version=FORMAT_VERSION + 1),
    "version zero": lambda p: change_meta(p, format_version=0),
    "version true": lambda p: change_meta(p, format_version=True),
    "other format": lambda p: change_meta(p, format="zip"),
    "no model": lambda p: change_meta(p, model=None),
    "unknown field": lambda p: change_meta(p, surprise=1),
    "wrong type": lambda p: change_meta(p, n_seen="20"),
    "bool for a count": lambda p: change_meta(p, n_seen=True),
    "negative count": lambda p: change_meta(p, n_seen=-1),
    "duplicate label": lambda p: change_meta(p, labels=["left", "left"]),
    "weights drawn for more labels": lambda p: change_meta(p, drawn_labels=3),
    "weights drawn for more features": lambda p: change_meta(p, drawn_features=3),
    "more weights than the maximum": lambda p: change_meta(p, max_weights=5),
    "class weights that are not pairs": lambda p: change_meta(p, class_weight=[["left"]]),
    "class weights that are a number": lambda p: change_meta(p, class_weight=2.0),
    "balanced classes without counts": lambda p: change_meta(p, class_weight="balanced"),
    "counts without balanced classes": lambda p: {
        **p,
        "class_counts.npy": encode_npy(np.array([10, 10])),
    },
    "too many labels": lambda p: change_meta(p, labels=["left", 2, 3]),
    "unhashable label": lambda p: change_meta(p, labels=["left", {"list": []}]),
    "invalid date": lambda p: change_meta(p, labels=["left", {"date": "31 Feb"}]),
    "unknown activation": lambda p: change_meta(p, activation="step"),
    "invalid lr": lambda p: change_meta(p, lr=-1.0),
    "code for lr": lambda p: change_meta(p, lr={"class": "os.system", "state": {}}),
    "private lr": lambda p: change_meta(p, lr={"class": "__builtins__", "state": {}}),
    "invalid scheduler": lambda p: change_meta(
        p, lr={"class": "optim.schedulers.Constant", "state": {"x": 1}}
    ),
    "unknown top-level field": lambda p: {
        **p,
        "meta.json": p["meta.json"].replace(b'"extra"', b'"more":0,"extra"'),
    },
    "unsupported steps": lambda p: change_meta(
        p, steps={"dict": [["a", {"class": "os.system", "state": {}}]]}
    ),
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


def test_duplicate_and_compressed_members_are_rejected(small_checkpoint, tmp_path):
    parts = read_members(io.BytesIO(small_checkpoint))
    path = tmp_path / "model.npz"
    with pytest.warns(UserWarning, match="Duplicate"):
        duplicated = forge_archive([*parts.items(), ("weights.npy", parts["weights.npy"])])
    bomb = forge_archive([*parts.items(), ("bomb.npy", b"\0" * 10**7)], zipfile.ZIP_DEFLATED)
    for data, reason in ((duplicated, "occurs twice"), (bomb, "is compressed")):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=reason):
            load(path)
    # Compression makes 10 MB of zeros a small file.
    assert len(bomb) < 10**5


def test_damaged_members_are_rejected_despite_a_valid_digest(small_checkpoint, tmp_path):
    path = tmp_path / "model.npz"
    meta = read_members(io.BytesIO(small_checkpoint))["meta.json"]
    data = bytearray(small_checkpoint)
    data[small_checkpoint.index(meta)] ^= 1
    path.write_bytes(sign_archive(bytes(data)))

    with pytest.raises(CheckpointError, match=r"not a stream-perceptron model \(Bad CRC-32"):
        load(path)


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


def test_rebuilt_archive_without_changes_is_loaded(small_checkpoint, tmp_path):
    """Forgeries therefore fail because of their changes, not because they are rebuilt."""
    path = tmp_path / "model.npz"
    path.write_bytes(forge_archive(read_members(io.BytesIO(small_checkpoint)).items()))

    assert load(path).model.n_seen == 20


FORGED_ARRAYS = {
    "confusion of the wrong shape": ("confusion", np.zeros((2, 2), np.int64)),
    "unknown label": ("confusion", np.array([[0, 99, 1]])),
    "float confusion": ("confusion", np.zeros((2, 3))),
    "bools with invalid bytes": ("window", np.full(5, 7, np.uint8).view(bool)),
}


@pytest.mark.parametrize("name", FORGED_ARRAYS)
def test_forged_run_array_is_rejected(name, mnist_sample, tmp_path):
    from stream_perceptron.data.arrow.parquet import ParquetSource
    from stream_perceptron.data.schema import ReadOptions

    sources = [ParquetSource(str(mnist_sample))]
    live = LiveModel.start(sources, ReadOptions(), seed=0)
    list(live.run(sources, limit=100))
    path = tmp_path / "model.npz"
    live.save(path)
    member, array = FORGED_ARRAYS[name]
    parts = {**read_members(path), f"{member}.npy": encode_npy(array)}
    path.write_bytes(forge_archive(parts.items()))

    with pytest.raises(CheckpointError, match=r"progress counts|bools|the wrong type"):
        LiveModel.load(path)


SHARDS = {"n": 2, "rows": 5, "rounds": 0, "first_rows": 0}
FORGED_RUN_FIELDS = {
    "unknown label type": (["schema", "label_type"], "date"),
    "feature that is not text": (["schema", "features"], [1]),
    "negative number of rows": (["history", "positions", 0, "rows"], -1),
    "number of rows beyond any file": (["history", "run", "read"], 2**80),
    "count that is text": (["progress", "samples"], "10"),
    "no shards": (["history", "run", "shards"], SHARDS | {"n": 0}),
    "shards of no rows": (["history", "run", "shards"], SHARDS | {"rows": 0}),
    "empty bin of the curve": (["curve_bin"], 0),
    "unknown field of the run": (["history", "run", "surprise"], 1),
}


@pytest.mark.parametrize("name", FORGED_RUN_FIELDS)
def test_forged_run_field_is_rejected(name, tmp_path):
    source, path = tmp_path / "s.csv", tmp_path / "model.npz"
    source.write_text("label,a,part,offset\nleft,1,p,5\nright,1.5,p,6\n")
    sources = [open_source(str(source))]
    live = LiveModel.start(sources, ReadOptions(position=("part", "offset")), seed=0)
    list(live.run(sources))
    live.save(path)
    parts = read_members(path)
    meta = json.loads(parts["meta.json"])
    (*parent_keys, last_key), value = FORGED_RUN_FIELDS[name]
    part = meta["live"]
    for key in parent_keys:
        part = part[key]
    part[last_key] = value
    path.write_bytes(forge_archive({**parts, "meta.json": json.dumps(meta)}.items()))

    with pytest.raises(CheckpointError, match=STATED_REASON):
        LiveModel.load(path)


def test_older_checkpoint_is_rejected():
    path = ROOT / "tests" / "golden" / "run-1.npz"
    reason = "has format version 1, but this program reads version .*: train it again"
    for load_model in (load, LiveModel.load):
        with pytest.raises(CheckpointError, match=reason):
            load_model(path)


def test_error_names_the_previous_save(small_checkpoint, tmp_path):
    path = tmp_path / "model.npz"
    model = SGDPerceptron(seed=0)
    save(model, path)
    save(model, path)
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(CheckpointError, match=f"the previous save is {path}.prev"):
        load(path)
    assert load(f"{path}.prev").model.n_seen == 0


def test_numpy_and_zipfile_can_open_a_checkpoint(small_checkpoint, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(small_checkpoint)
    with np.load(path, allow_pickle=False) as file:
        assert file["weights"].shape == (2, 2)
        assert json.loads(file["meta.json"])["model"]["labels"] == ["left", 2]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    assert set(read_checkpoint(path)[1]) == {"weights", "biases"}
