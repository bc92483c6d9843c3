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

from stream_perceptron import SampleError, SourceError, stream
from stream_perceptron.data.arrow.parquet import ParquetSource
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.live.model import LiveModel

N_DIGITS = 2000


@pytest.fixture(scope="module")
def pixels(mnist_sample):
    """The first 2,000 digits, shape (2000, 784), and their labels."""
    table = pq.read_table(mnist_sample).slice(0, N_DIGITS)
    data = b"".join(table["pixels"].to_pylist())
    return np.frombuffer(data, np.uint8).reshape(N_DIGITS, 784), table["label"].to_pylist()


def build_list_array(pixels, kind):
    return pa.array(pixels.tolist(), kind)


def build_pixel_columns(pixels, kind, first=0):
    return {f"pixel{first + j}": pa.array(pixels[:, j], kind) for j in range(784)}


def encode_png(row):
    buffer = io.BytesIO()
    Image.fromarray(row.reshape(28, 28)).save(buffer, "PNG")
    return buffer.getvalue()


def write_hugging_face_file(path, pixels, labels):
    """A file of the `datasets` library: struct<bytes, path> with PNGs, and a class label."""
    import datasets

    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=[str(i) for i in range(10)])
    )
    pictures = [Image.fromarray(row.reshape(28, 28)) for row in pixels]
    dataset = datasets.Dataset.from_dict({"image": pictures, "label": labels}, features=features)
    dataset.to_parquet(path)


LAYOUTS = {
    "list<uint8>": lambda x: {"pixels": build_list_array(x, pa.list_(pa.uint8()))},
    "large_list<uint8>": lambda x: {"pixel": build_list_array(x, pa.large_list(pa.uint8()))},
    "fixed_size_list<uint8>": lambda x: {"image": build_list_array(x, pa.list_(pa.uint8(), 784))},
    "nested lists": lambda x: {
        "image": build_list_array(x.reshape(-1, 28, 28), pa.list_(pa.list_(pa.uint8())))
    },
    "nested fixed-size lists": lambda x: {
        "image": build_list_array(x.reshape(-1, 28, 28), pa.list_(pa.list_(pa.uint8(), 28), 28))
    },
    "fixed-shape tensor": lambda x: {
        "pixels": pa.FixedShapeTensorArray.from_numpy_ndarray(
            np.ascontiguousarray(x.reshape(-1, 28, 28))
        )
    },
    "uint8 columns": lambda x: build_pixel_columns(x, pa.uint8()),
    "bytes beside other columns": lambda x: {
        "id": pa.array(range(N_DIGITS)),
        "when": pa.array([None] * N_DIGITS, pa.timestamp("s")),
        "pixels": pa.array([row.tobytes() for row in x], pa.binary(784)),
        "split": pa.array(["train"] * N_DIGITS),
    },
}
WIDER_LAYOUTS = {
    "int64 columns (Kaggle)": lambda x: build_pixel_columns(x, pa.int64()),
    "double columns": lambda x: build_pixel_columns(x, pa.float64()),
    "list<int64>": lambda x: {"pixels": build_list_array(x, pa.list_(pa.int64()))},
    "list<double>": lambda x: {"pixels": build_list_array(x, pa.list_(pa.float64()))},
    "decimal columns": lambda x: build_pixel_columns(x.astype(object), pa.decimal128(5, 0)),
}


def train_on_file(path, read_options=None):
    sources = [ParquetSource(str(path))]
    live = LiveModel.start(
        sources, read_options or ReadOptions(), [str(i) for i in range(10)], seed=0
    )
    for _ in live.run(sources, limit=N_DIGITS):
        pass
    return live


@pytest.fixture(scope="module")
def reference(mnist_sample):
    live = train_on_file(mnist_sample)
    assert 0.6 < live.progress.accuracy < 0.7
    return live


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_trains_an_identical_model(name, pixels, reference, tmp_path):
    X, labels = pixels
    live = train_on_file(
        write_parquet(tmp_path / "digits.parquet", {**LAYOUTS[name](X), "label": labels})
    )

    assert live.schema.features == reference.schema.features
    assert live.model.weights.tobytes() == reference.model.weights.tobytes()
    assert live.progress.confusion.pairs.tolist() == reference.progress.confusion.pairs.tolist()


@pytest.mark.parametrize("name", WIDER_LAYOUTS)
def test_wider_types_train_an_identical_model_when_scaled(name, pixels, reference, tmp_path):
    X, labels = pixels
    path = write_parquet(tmp_path / "digits.parquet", {**WIDER_LAYOUTS[name](X), "label": labels})

    assert (
        train_on_file(path, ReadOptions(scale=1 / 255)).model.weights.tobytes()
        == reference.model.weights.tobytes()
    )


def test_hugging_face_images_train_an_identical_model(pixels, reference, tmp_path):
    write_hugging_face_file(tmp_path / "digits.parquet", *pixels)

    live = train_on_file(tmp_path / "digits.parquet")
    assert live.model.weights.tobytes() == reference.model.weights.tobytes()


@pytest.mark.parametrize(
    "labels",
    [
        lambda y: pa.array([str(label) for label in y]),
        lambda y: pa.array([str(label) for label in y]).dictionary_encode(),
        lambda y: pa.array([str(label) for label in y], pa.large_string()),
        pytest.param(
            lambda y: pa.array([str(label) for label in y], pa.string_view()),
            marks=pytest.mark.skipif(
                int(pa.__version__.split(".")[0]) < 18, reason="Arrow 17 cannot write string views"
            ),
        ),
    ],
    ids=["string", "dictionary", "large string", "string view"],
)
def test_declared_classes_become_strings_if_labels_are_strings(labels, pixels, reference, tmp_path):
    X, y = pixels
    columns = {**build_pixel_columns(X, pa.float64(), first=1), "class": labels(y)}
    live = train_on_file(
        write_parquet(tmp_path / "openml.parquet", columns), ReadOptions(scale=1 / 255)
    )

    assert live.model.classes_ == [str(i) for i in range(10)]
    assert (live.schema.features[0], live.schema.features[-1]) == ("pixel1", "pixel784")
    assert live.progress.accuracy == pytest.approx(reference.progress.accuracy, abs=0.02)


def test_whole_floats_become_integer_labels_and_others_are_rejected(tmp_path):
    path = write_parquet(
        tmp_path / "f.parquet", {"x": [1.0, 2.0, 3.0], "y": [1.0, float("nan"), 2.5]}
    )
    samples = stream.iter_parquet(path)

    with pytest.raises(SampleError, match="row 3: label 2.5 is not a whole number"):
        list(samples)
    assert list(
        stream.iter_parquet(
            write_parquet(tmp_path / "g.parquet", {"x": [1.0, 2.0], "y": [1.0, None]})
        )
    ) == [({"x": 1.0}, 1), ({"x": 2.0}, None)]


def test_bool_labels_stay_bool_and_bool_features_become_numbers(tmp_path):
    path = write_parquet(tmp_path / "f.parquet", {"x": [True, False], "label": [False, True]})

    assert list(stream.iter_parquet(path)) == [({"x": 1.0}, False), ({"x": 0.0}, True)]


def test_vector_features_are_named_after_their_column(tmp_path):
    path = write_parquet(tmp_path / "f.parquet", {"embedding": [[0.5, 1.5]], "y": [1]})

    assert list(stream.iter_parquet(path)) == [({"embedding0": 0.5, "embedding1": 1.5}, 1)]


def test_default_scale_depends_on_the_type_not_on_values(tmp_path):
    columns = {
        "a": pa.array([255], pa.uint8()),
        "b": pa.array([255], pa.int16()),
        "c": [0.5],
        "y": [1],
    }
    path = write_parquet(tmp_path / "f.parquet", columns)

    assert list(stream.iter_parquet(path)) == [({"a": 255 * (1 / 255), "b": 255.0, "c": 0.5}, 1)]


def test_color_images_have_three_values_per_pixel(tmp_path):
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    image = pa.array([{"bytes": buffer.getvalue(), "path": None}])
    path = write_parquet(tmp_path / "f.parquet", {"image": image, "label": [0]})
    ((x, _),) = stream.iter_parquet(path, scale=1)

    assert list(x.values()) == list(range(12))


def test_ignored_columns_are_dropped_and_weights_are_passed_on(tmp_path):
    columns = {"a": [1.0, 2.0], "b": [3.0, 4.0], "w": [0.5, 2.0], "y": ["u", "v"]}
    path = write_parquet(tmp_path / "f.parquet", columns)

    assert list(stream.iter_parquet(path, ignore=["b"], weight="w")) == [
        ({"a": 1.0}, "u", {"w": 0.5}),
        ({"a": 2.0}, "v", {"w": 2.0}),
    ]


@pytest.mark.parametrize(
    ("columns", "options", "reason"),
    [
        ({"x": [1.0], "label": [1], "class": [1]}, {}, "'label', 'class' could each be the label"),
        ({"x": [1.0]}, {"label": "digit"}, "no label column 'digit' among 'x'"),
        ({"x": [1.0]}, {"weight": "w"}, "no weight column 'w' among 'x'"),
        ({"x": [1.0]}, {"ignore": ["z"]}, "no column 'z' among 'x'"),
        ({"name": ["a"], "label": [1]}, {}, r"no usable features among 'name' \(string\)"),
        ({"label": [1]}, {}, "no usable features"),
        ({"a": [[1.0]], "b": [[1.0]], "y": [1]}, {}, "'a', 'b' could each be the features"),
        ({"x": [1.0], "y": [[1]]}, {}, "label column 'y' is of type list"),
        (
            {"x": [1.0], "y": [1], "w": ["a"]},
            {"weight": "w"},
            "weight column 'w' is of type string",
        ),
    ],
    ids=str,
)
def test_ambiguous_or_unusable_columns_are_errors(columns, options, reason, tmp_path):
    path = write_parquet(tmp_path / "f.parquet", columns)

    with pytest.raises(SourceError, match=f"{path}: .*{reason}"):
        list(stream.iter_parquet(path, **options))


@pytest.mark.parametrize("value", [[["a"]], [1.5], {"u": "a"}])
def test_nested_column_cannot_be_one_hot_encoded(value, tmp_path):
    path = write_parquet(tmp_path / "f.parquet", {"x": [1.0], "y": [1], "t": [value]})

    with pytest.raises(SourceError, match=f"{path}: column 't' is of type "):
        open_source(str(path)).open(Request(ReadOptions(one_hot=("t",))))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"x": [1.0, float("nan")]}, "column 'x' is nan, not finite"),
        ({"x": [1.0, float("inf")]}, "column 'x' is inf"),
        ({"x": [[1, 2], [1]]}, "column 'x' has 1 value, not 2"),
        ({"x": [[1, 2], []]}, "column 'x' has 0 values, not 2"),
        ({"x": [[1, 2], None]}, "column 'x' is null"),
        ({"x": [[1, 2], [1, float("nan")]]}, "feature 'x1' is nan, not finite"),
        ({"x": [[1.0, 2.0], [float("inf"), 1.0]]}, "feature 'x0' is inf, not finite"),
        ({"x": [[[1], [2]], [[1], None]]}, "column 'x' has 1 value, not 2"),
        ({"x": pa.array([b"ab", None], pa.binary(2))}, "column 'x' is null"),
        (
            {"image": [{"bytes": encode_png(np.zeros(784, np.uint8))}, {"bytes": b"no"}]},
            "cannot be decoded",
        ),
        (
            {"image": [{"bytes": encode_png(np.zeros(784, np.uint8))}, {"bytes": None}]},
            "a picture without bytes",
        ),
        ({"x": [1.0, 2.0], "w": [1.0, -1.0]}, "weight 'w' is '-1.0', not a finite number"),
    ],
    ids=[
        "NaN",
        "infinity",
        "short list",
        "empty list",
        "null list",
        "NaN in a list",
        "infinity in a list",
        "short nested list",
        "null bytes",
        "invalid image",
        "image without bytes",
        "negative weight",
    ],
)
def test_error_names_the_unusable_row(columns, reason, tmp_path):
    path = write_parquet(tmp_path / "f.parquet", {**columns, "label": [1, 1]})
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
    for column in (mixed, nested, bytes_array, bytes_array.slice(0)):
        path = write_parquet(tmp_path / "f.parquet", {"v": column, "y": list(range(8))})
        source = ParquetSource(str(path))
        batches = list(source.batches(Request(ReadOptions(scale=1.0))))

        assert [
            list(x.values()) for batch in batches for x in batch.features.dicts()
        ] == expected_rows
        assert [label for batch in batches for label in batch.labels] == [0, 2, 5]
        rows = [batch.first_row - 1 + i for batch in batches for i in batch.rows.tolist()]
        assert rows == [0, 2, 5]
        rejected = [batch.first_row - 1 + i for batch in batches for i in batch.rejected]
        assert set(rejected) == {1, 3, 4, 6, 7}


def test_second_file_must_have_the_same_features(tmp_path):
    first = write_parquet(tmp_path / "a.parquet", {"pixel0": [1.0], "pixel1": [1.0], "y": [1]})
    second = write_parquet(tmp_path / "b.parquet", {"pixel1": [1.0], "pixel2": [1.0], "y": [1]})
    third = write_parquet(tmp_path / "c.parquet", {"pixels": [[1.0, 2.0]], "y": [1]})

    reason = r"b.parquet: it lacks some of the model's features \('pixel0'\)"
    with pytest.raises(SourceError, match=reason):
        list(stream.iter_parquet(first, second))
    assert len(list(stream.iter_parquet(first, third))) == 2


def test_second_file_must_have_the_same_type_of_labels(tmp_path):
    first = write_parquet(tmp_path / "a.parquet", {"x": [1.0], "y": [1]})
    second = write_parquet(tmp_path / "b.parquet", {"x": [1.0], "y": ["1"]})

    reason = "b.parquet: labels are of type str, but earlier labels are of type int"
    with pytest.raises(SourceError, match=reason):
        list(stream.iter_parquet(first, second))


def test_notices_list_columns_and_warn_about_row_numbers(tmp_path):
    columns = {"user_id": [7], "a": [1.0], "note": ["x"], "skip": [1], "target": ["u"]}
    source = ParquetSource(str(write_parquet(tmp_path / "f.parquet", columns)))
    (batch,) = source.batches(Request(ReadOptions(ignore=("skip",))))

    assert batch.notices == (
        "2 features: user_id, a",
        "label: target (str)",
        "ignored: skip (--ignore)",
        "ignored (strings): note; to use it:\n  --one-hot note",
        "warning: 'user_id' looks like a row number, which spoils learning; to drop it:\n"
        "  --ignore user_id",
    )


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
        open_source(str(path)).open(Request())


@pytest.mark.parametrize("has_pytz", [True, False])
def test_unknown_time_zone_is_an_unreadable_value(has_pytz, tmp_path, monkeypatch):
    """Arrow looks up time zones in pytz if it is installed, which raises an error of its own."""
    times = pa.array([0, 1], pa.timestamp("us", "Mars/Olympus"))
    table = pa.table({"a": [1.0, 2.0], "label": ["x", "y"], "t": times})
    pq.write_table(table, tmp_path / "t.parquet")
    if not has_pytz:
        monkeypatch.setitem(sys.modules, "pytz", None)
    sources = [open_source(str(tmp_path / "t.parquet"))]
    live = LiveModel.start(sources, ReadOptions(keep=("t",)))

    with pytest.raises(SampleError, match="time zone 'Mars/Olympus', which this system does not"):
        list(live.run(sources))


def test_pixel_that_is_too_large_for_the_scale_is_rejected(tmp_path):
    """The first row adds the features, so the second one takes the usual path."""
    columns = {
        "pixels": pa.array([[1, 0], [1, 9], [9, 0]], pa.list_(pa.uint8())),
        "label": pa.array(["x", "y", "x"]),
    }
    source = open_source(str(write_parquet(tmp_path / "p.parquet", columns)))
    (batch,) = source.batches(Request(ReadOptions(scale=1e308)))

    assert batch.rejected.keys() == {1, 2}
    assert "too large for --scale" in batch.rejected[1]
