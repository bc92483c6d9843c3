"""Column roles and feature values in all layouts of Parquet files."""

from __future__ import annotations

import io
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_parquet
from PIL import Image

from stream_perceptron import LiveModel, SampleError, SourceError, StreamPerceptronError, stream
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.live.loop import learn


def encode_png(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def build_images(pictures):
    return pa.array([{"bytes": encode_png(picture), "path": None} for picture in pictures])


rng = np.random.default_rng(0)
PICTURES = (rng.integers(0, 256, (20, 6, 6)) * (rng.random((20, 6, 6)) < 0.3)).astype(np.uint8)
ROWS, LABELS = PICTURES.reshape(20, 36), [i % 3 for i in range(20)]
BYTES = pa.array([row.tobytes() for row in ROWS], pa.binary(36))
KINDS = (pa.uint8(), pa.int64(), pa.float64(), pa.decimal128(5, 0))
LAYOUTS = {
    "bytes": {"pixels": BYTES},
    "bytes beside other columns": {
        "id": range(20), "when": pa.nulls(20, pa.timestamp("s")), "pixels": BYTES,
        "split": ["train"] * 20,
    },
    "large lists": {"pixel": pa.array(ROWS.tolist(), pa.large_list(pa.uint8()))},
    "fixed-size lists": {"image": pa.array(ROWS.tolist(), pa.list_(pa.uint8(), 36))},
    "nested lists": {"image": pa.array(PICTURES.tolist(), pa.list_(pa.list_(pa.uint8())))},
    "nested fixed-size lists": {
        "image": pa.array(PICTURES.tolist(), pa.list_(pa.list_(pa.uint8(), 6), 6))
    },
    "tensors": {"pixels": pa.FixedShapeTensorArray.from_numpy_ndarray(PICTURES)},
    "pictures, as those of Hugging Face": {"image": build_images(PICTURES)},
    **{f"lists of {kind}": {"pixels": pa.array(ROWS.tolist(), pa.list_(kind))}
       for kind in KINDS[:3]},
    **{f"columns of {kind}": {f"pixel{i}": pa.array(ROWS[:, i].tolist(), kind) for i in range(36)}
       for kind in KINDS},
}  # fmt: skip


def train(path, columns):
    sources = [open_source(str(write_parquet(path, {**columns, "label": LABELS})))]
    live = LiveModel.start(sources, seed=0)
    list(learn(live, sources))
    return live.model


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_of_pixels_trains_an_identical_model(name, tmp_path):
    expected, model = (train(tmp_path / "f.parquet", LAYOUTS[n]) for n in ("bytes", name))

    assert expected.features_ == model.features_ == [f"pixel{i}" for i in range(36)]
    assert expected.weights.tobytes() == model.weights.tobytes()


NUMBERS = {"a": pa.array([255], pa.uint8()), "b": pa.array([255], pa.int16()), "c": [0.5]}
STRINGS = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
if int(pa.__version__.split(".")[0]) >= 18:  # Arrow 17 cannot write string views
    STRINGS.append(pa.string_view())
# Columns, and the samples that they contain.
SAMPLES = [
    ({"x": [True, False], "y": [False, True]}, [({"x": 1.0}, False), ({"x": 0.0}, True)]),
    ({"embedding": [[0.5, 1.5]], "y": [1]}, [({"embedding0": 0.5, "embedding1": 1.5}, 1)]),
    ({**NUMBERS, "y": [1]}, [({"a": 255, "b": 255, "c": 0.5}, 1)]),
    ({"x": [1.0, 2.0], "y": [1.0, None]}, [({"x": 1.0}, 1), ({"x": 2.0}, None)]),
    ({"image": build_images([np.arange(12, dtype=np.uint8).reshape(2, 2, 3)]), "y": [0]},
     [({f"pixel{i}": float(i) for i in range(12)}, 0)]),
    *(({"x": [1.0, 2.0], "y": pa.array(["u", "v"], kind)}, [({"x": 1.0}, "u"), ({"x": 2.0}, "v")])
      for kind in STRINGS),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "samples"), SAMPLES)
def test_columns_of_each_type_are_read(columns, samples, tmp_path):
    """Whole floats are labels."""
    path = write_parquet(tmp_path / "f.parquet", columns)

    assert list(stream.iter_parquet(path)) == samples


@pytest.mark.parametrize(
    ("columns", "options", "reason"),
    [
        ({"a": [[1.0]], "b": [[1.0]], "y": [1]}, {}, "'a', 'b' could each be the features"),
        ({"x": [1.0], "y": [[1]]}, {}, "label column 'y' is of type list"),
        ({"x": [1.0], "y": [1], "w": ["a"]}, {"weight": "w"}, "weight column 'w' is of type str"),
    ],
    ids=str,
)
def test_ambiguous_or_unusable_columns_are_errors(columns, options, reason, tmp_path):
    path = write_parquet(tmp_path / "f.parquet", columns)

    with pytest.raises(SourceError, match=f"{path}: .*{reason}"):
        list(stream.iter_source(path, **options))


PICTURE = encode_png(PICTURES[0])
UNUSABLE = {
    "null list": ({"x": [[1, 2], None]}, "column 'x' is null"),
    "infinity in a list": ({"x": [[1.0], [float("inf")]]}, "feature 'x0' is inf, not finite"),
    "short nested list": ({"x": [[[1], [2]], [[1], None]]}, "column 'x' has 1 value, not 2"),
    "null bytes": ({"x": pa.array([b"ab", None], pa.binary(2))}, "column 'x' is null"),
    "invalid picture": ({"x": [{"bytes": PICTURE}, {"bytes": b"no"}]}, "cannot be decoded"),
    "no picture": ({"x": [{"bytes": PICTURE}, {"bytes": None}]}, "a picture without bytes"),
    "negative weight": ({"x": [1.0, 2.0], "w": [1.0, -1.0]}, "weight 'w' is '-1', not a finite"),
    "label": ({"x": [1.0, 2.0], "label": [1.0, 2.5]}, "label '2.5' is not a whole number"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_error_names_the_unusable_row(name, tmp_path):
    columns, reason = UNUSABLE[name]
    path = write_parquet(tmp_path / "f.parquet", {"label": [1, 1], **columns})
    samples = stream.iter_parquet(path, weight="w" if "w" in columns else None)

    with pytest.raises(SampleError, match=f"{path}: row 2: .*{reason}"):
        list(samples)


def test_rejected_rows_do_not_shift_the_other_rows(tmp_path):
    """Nulls and rows of wrong lengths are mixed with valid lists, nested lists or bytes."""
    expected_rows = [[1, 2], [3, 4], [5, 6]]
    mixed = [[1, 2], None, [3, 4], [], [9], [5, 6], [7, 8, 9], [1]]
    nested = [None if row is None else [[value] for value in row] for row in mixed]
    nested[-1] = [[1], None]
    bytes_array = pa.array([b"\1\2", None, b"\3\4", None, None, b"\5\6", None, None], pa.binary(2))
    for column in (mixed, nested, bytes_array):
        path = write_parquet(tmp_path / "f.parquet", {"v": column, "y": list(range(8))})
        source = open_source(str(path))
        batches = list(source.batches(ReadRequest(ReadOptions(scale=1.0))))

        assert [list(x.values()) for batch in batches for x in batch.dicts()] == expected_rows
        assert [label for batch in batches for label in batch.list_labels()] == [0, 2, 5]
        rows = [
            batch.first_row - 1 + i
            for batch in batches
            for i in np.flatnonzero(batch.status < 2).tolist()
        ]
        assert rows == [0, 2, 5]
        rejected = [batch.first_row - 1 + i for batch in batches for i in batch.rejected]
        assert set(rejected) == {1, 3, 4, 6, 7}


def test_second_file_must_fit_the_first(tmp_path):
    columns = {"pixel0": [1.0], "pixel1": [1.0]}
    first = write_parquet(tmp_path / "a.parquet", {**columns, "y": [1]})
    other = write_parquet(tmp_path / "b.parquet", {**columns, "y": ["1"]})
    lists = write_parquet(tmp_path / "c.parquet", {"pixels": [[1.0, 2.0]], "y": [1]})

    reason = "b.parquet: labels are of type str, but earlier labels are of type int"
    with pytest.raises(SourceError, match=reason):
        list(stream.iter_parquet(first, other))
    assert len(list(stream.iter_parquet(first, lists))) == 2


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_column_name_that_is_not_utf8_is_an_error(kind, tmp_path):
    path, sink = tmp_path / "f", io.BytesIO()
    table = pa.table({"label": ["x"], "name": [1.0]})
    if kind == "parquet":
        pq.write_table(table, sink, store_schema=False)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    path.write_bytes(sink.getvalue().replace(b"name", b"n\xffme"))

    with pytest.raises(SourceError, match=r"f: the name of a column is not UTF-8"):
        open_source(str(path)).find_layout(ReadRequest())


@pytest.mark.parametrize("has_pytz", [True, False])
@pytest.mark.parametrize("role", ["keep", "categorical"])
def test_unknown_time_zone_is_unreadable(role, has_pytz, tmp_path, monkeypatch):
    """Arrow looks up time zones in pytz if it is installed, which raises an error of its own."""
    if not has_pytz:
        monkeypatch.setitem(sys.modules, "pytz", None)
    times = pa.array([0], pa.timestamp("us", "Mars/Olympus"))
    path = write_parquet(tmp_path / "t.parquet", {"a": [1.0], "label": ["x"], "t": times})
    (batch,) = open_source(str(path)).batches(ReadRequest(ReadOptions(**{role: ("t",)})))

    reason = "'t' cannot be read as timestamp[us, tz=Mars/Olympus]: "
    assert reason in batch.rejected[0]


@pytest.mark.parametrize(
    "pixels",
    [
        pa.array([[1, 0], [1, 9], [9, 0]], pa.list_(pa.uint8())),
        pa.array([[1, 0], [1, 9], [9, 0]], pa.list_(pa.float64())),
        pa.array([b"\1\0", b"\1\t", b"\t\0"], pa.binary(2)),
        pa.array([1.0, 9.0, 9.0]),
    ],
    ids=lambda array: str(array.type),
)
def test_number_that_is_too_large_for_the_scale_is_rejected(pixels, tmp_path):
    """The first row adds the features, so the second one takes the usual path."""
    path = write_parquet(tmp_path / "p.parquet", {"pixels": pixels, "label": ["x", "y", "x"]})
    (batch,) = open_source(str(path)).batches(ReadRequest(ReadOptions(scale=1e308)))

    assert batch.rejected.keys() == {1, 2}
    assert "too large for --scale" in batch.rejected[1]


@pytest.mark.slow
@pytest.mark.parametrize("value", [0, 21, 255])
def test_file_with_a_damaged_footer_byte_is_read_or_reported(value, tmp_path):
    columns = {"a": np.arange(20.0), "note": list("abcd" * 5), "label": ["x", "y"] * 10}
    path = write_parquet(tmp_path / "s.parquet", columns)
    original_bytes = path.read_bytes()
    footer_length = int.from_bytes(original_bytes[-8:-4], "little")

    errors = []
    for i in range(len(original_bytes) - 8 - footer_length, len(original_bytes) - 8):
        path.write_bytes(original_bytes[:i] + bytes([value]) + original_bytes[i + 1 :])
        try:
            list(stream.iter_source(path))
        except StreamPerceptronError as error:
            errors.append(str(error))

    assert 0 < len(errors) < footer_length
    assert not any("\n" in error for error in errors)
