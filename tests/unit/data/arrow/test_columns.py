"""Feature values in all layouts of Arrow columns, and rows that cannot be used."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from helpers import encode_ipc, write_parquet
from PIL import Image

from stream_perceptron import LiveModel, SampleError, SourceError, load, stream
from stream_perceptron.data import ReadOptions, ReadRequest, open_source
from stream_perceptron.live.loop import learn


def encode_png(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


rng = np.random.default_rng(0)
PICTURES = (rng.integers(0, 256, (20, 6, 6)) * (rng.random((20, 6, 6)) < 0.3)).astype(np.uint8)
ROWS, LABELS = PICTURES.reshape(20, 36), [i % 3 for i in range(20)]
BYTES = pa.array([row.tobytes() for row in ROWS], pa.binary(36))
PNGS = pa.array([{"bytes": encode_png(picture), "path": None} for picture in PICTURES])
KINDS = (pa.uint8(), pa.int64(), pa.float64(), pa.decimal128(5, 0))
LAYOUTS = {
    "bytes beside other columns": {"id": range(20), "pixels": BYTES, "split": ["train"] * 20},
    "large lists": {"pixel": pa.array(ROWS.tolist(), pa.large_list(pa.uint8()))},
    "fixed-size lists": {"image": pa.array(ROWS.tolist(), pa.list_(pa.uint8(), 36))},
    "nested lists": {"image": pa.array(PICTURES.tolist(), pa.list_(pa.list_(pa.uint8())))},
    "nested fixed-size lists": {
        "image": pa.array(PICTURES.tolist(), pa.list_(pa.list_(pa.uint8(), 6), 6))
    },
    "pictures, as those of Hugging Face": {"image": PNGS},
    **{f"lists of {kind}": {"pixels": pa.array(ROWS.tolist(), pa.list_(kind))}
       for kind in KINDS[:3]},
    **{f"columns of {kind}": {f"pixel{i}": pa.array(ROWS[:, i].tolist(), kind) for i in range(36)}
       for kind in KINDS},
}  # fmt: skip


def train(path, **options):
    sources = [open_source(str(path))]
    live = LiveModel.start(sources, ReadOptions(**options), seed=0)
    list(learn(live, sources))
    return live.model


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_of_pixels_trains_an_identical_model(name, tmp_path):
    expected, model = (
        train(write_parquet(tmp_path / "f", {**columns, "label": LABELS}))
        for columns in ({"pixels": BYTES}, LAYOUTS[name])
    )

    assert expected.features_ == model.features_ == [f"pixel{i}" for i in range(36)]
    assert expected.weights.tobytes() == model.weights.tobytes()


STRINGS = [pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
if int(pa.__version__.split(".")[0]) >= 18:  # Arrow 17 cannot write string views
    STRINGS.append(pa.string_view())


@pytest.mark.parametrize("kind", STRINGS, ids=str)
def test_strings_of_each_type_are_labels_and_categories(kind, tmp_path):
    texts = pa.array(["u", "v"], kind)
    path = write_parquet(tmp_path / "f.parquet", {"x": texts, "y": texts})

    assert list(stream.iter_parquet(path)) == [({"x": "u"}, "u"), ({"x": "v"}, "v")]


NUMBERS = [7, 60_000, None, 7]
COLUMNS = {
    "codes": pa.array(NUMBERS).dictionary_encode(),
    "words": pa.array(["u", "v", None, "u"]).dictionary_encode(),
    "bytes": pa.array([b"u", b"\xff", None, b"u"]),
    "nulls": pa.nulls(4),
    "truth": pa.array([True, False, None, True]),
    "float": pa.array([0.1, -1.5, None, 0.1], pa.float32()),
    "day": pa.array(NUMBERS, pa.date32()),
    **{f"at {unit}": pa.array(NUMBERS, pa.timestamp(unit)) for unit in ("s", "ms", "us")},
    **{f"clock {unit}": pa.array(NUMBERS, pa.time32(unit)) for unit in ("s", "ms")},
    **{f"time {unit}": pa.array(NUMBERS, pa.duration(unit)) for unit in ("s", "us")},
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("is_categorical", [False, True])
def test_arrow_and_parquet_files_are_read_the_same(name, is_categorical, tmp_path):
    table = pa.table({"a": [1.0, 2.0, 3.0, 4.0], name: COLUMNS[name], "y": ["p", "q", "p", "q"]})
    paths, categorical = [tmp_path / "f.parquet", tmp_path / "f.arrow"], (name,) * is_categorical
    write_parquet(paths[0], table)
    paths[1].write_bytes(encode_ipc(table, new_writer=pa.ipc.new_file))
    one, other = (train(path, categorical=categorical) for path in paths)
    rows = [list(stream.iter_source(path, categorical=categorical)) for path in paths]

    assert one.features_ == other.features_
    assert one.weights.tobytes() == other.weights.tobytes()
    assert rows[0] == rows[1]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Asia/Kolkata"])
def test_categories_of_times_do_not_depend_on_their_unit(zone, unit, tmp_path, run):
    """They are named in ISO 8601, with the fewest digits; `predict` and the loaded model agree."""
    n_per_second = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}[unit]
    fractions = [""] if unit == "s" else ["", ".11", ".101", ".5", ".12"]
    ticks = [round(float(f"60{fraction}") * n_per_second) for fraction in fractions] * 4
    columns = {"t": pa.array(ticks, pa.timestamp(unit, zone)), "y": (["p", "q"] * 10)[: len(ticks)]}
    path, model = write_parquet(tmp_path / "f.parquet", columns), tmp_path / "m.npz"
    run("learn", path, "--categorical", "t", "-m", model, check=0)
    lines = run("predict", path, "-m", model, "--scores", check=0).stdout.splitlines()
    loaded = load(model).model
    suffix = "" if zone is None else "Z"
    names = [f"t=1970-01-01T00:01:00{fraction}{suffix}" for fraction in fractions]

    assert LiveModel.load(model).model.features_ == names
    for (x, _), line in zip(stream.iter_parquet(path), lines, strict=True):
        assert loaded.predict_proba_one(x) == json.loads(line)["scores"]


UNUSABLE = {
    "infinity in a list": ({"x": [[1.0], [float("inf")]]}, "feature 'x0' is inf, not finite"),
    "short nested list": ({"x": [[[1], [2]], [[1], None]]}, "column 'x' has 1 value, not 2"),
    "null bytes": ({"x": pa.array([b"ab", None], pa.binary(2))}, "it has no list 'x'"),
    "invalid picture": ({"x": [PNGS[0].as_py(), {"bytes": b"no"}]}, "cannot be decoded"),
    "no picture": ({"x": [PNGS[0].as_py(), {"bytes": None}]}, "a picture without bytes"),
    "negative weight": ({"x": [1.0, 2.0], "w": [1.0, -1.0]}, "weight 'w' is '-1', not a finite"),
    "label": ({"x": [1.0, 2.0], "label": [1.0, 2.5]}, "label 2.5 is not a whole number"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_error_names_the_unusable_row(name, tmp_path):
    columns, reason = UNUSABLE[name]
    path = write_parquet(tmp_path / "f.parquet", {"label": [1, 1], **columns})
    samples = stream.iter_parquet(path, weight="w" if "w" in columns else None)

    with pytest.raises(SampleError, match=f"{path}: row 2: .*{reason}"):
        list(samples)


def test_labels_of_another_type_are_an_error(tmp_path):
    paths = [
        write_parquet(tmp_path / f"{label}.parquet", {"a": [1.0], "y": [label]})
        for label in (1, "one")
    ]

    reason = "one.parquet: labels are of type str, but earlier labels are of type int"
    with pytest.raises(SourceError, match=reason):
        list(stream.iter_parquet(*paths))


PIXELS = [
    pa.array([[1, 0], [1, 9], [9, 0]], pa.list_(pa.uint8())),
    pa.array([[1, 0], [1, 9], [9, 0]], pa.list_(pa.float64())),
    pa.array([1.0, 9.0, 9.0]),
]


@pytest.mark.parametrize("pixels", PIXELS, ids=lambda array: str(array.type))
def test_number_that_is_too_large_for_the_scale_is_rejected(pixels, tmp_path):
    """The first row adds the features, so the second one takes the usual path."""
    path = write_parquet(tmp_path / "p.parquet", {"pixels": pixels, "label": ["x", "y", "x"]})
    (batch,) = open_source(str(path)).batches(ReadRequest(ReadOptions(scale=1e308)))

    assert batch.rejected.keys() == {1, 2}
    assert "too large for --scale" in batch.rejected[1]
