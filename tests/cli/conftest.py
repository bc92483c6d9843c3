"""Fixtures for tests of the commands: streams, files and models."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import (
    DIGIT_OPTIONS,
    PIXEL_NAMES,
    SCALED_DIGIT_OPTIONS,
    encode_csv,
    encode_ipc,
    encode_jsonl,
    learn_from_pipe,
    load_outcome,
)


@pytest.fixture(scope="session")
def labels_and_pixels(mnist_sample):
    """The labels and the pixels of the 5,000 digits that come with the package, as lists."""
    table = pq.read_table(mnist_sample)
    rows = np.frombuffer(table["pixels"].combine_chunks().buffers()[1], np.uint8)
    return table["label"].to_pylist(), rows.reshape(-1, 784).tolist()


@pytest.fixture(scope="session")
def inputs_by_format(mnist_sample, labels_and_pixels):
    """The options and the bytes to learn the 5,000 digits, by format."""
    labels, rows = labels_and_pixels
    labeled_rows = list(zip(labels, rows, strict=True))
    table = pq.read_table(mnist_sample)
    table_rows = [[label, *row] for label, row in labeled_rows]
    text = encode_csv(table_rows, ["label", *PIXEL_NAMES])
    return {
        "parquet": (DIGIT_OPTIONS, mnist_sample.read_bytes()),
        "arrow": (DIGIT_OPTIONS, encode_ipc(table)),
        "arrow file": (DIGIT_OPTIONS, encode_ipc(table, new_writer=pa.ipc.new_file)),
        "csv": (DIGIT_OPTIONS, text),
        "csv with CRLF": (DIGIT_OPTIONS, b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")),
        "tsv without header": (SCALED_DIGIT_OPTIONS, encode_csv(table_rows, delimiter="\t")),
        "json, flat": (
            DIGIT_OPTIONS,
            encode_jsonl(
                {"label": y, **dict(zip(PIXEL_NAMES, x, strict=True))} for y, x in labeled_rows
            ),
        ),
        "json, pixels": (
            DIGIT_OPTIONS,
            encode_jsonl({"pixels": x, "label": y} for y, x in labeled_rows),
        ),
        "json, x and y": (
            SCALED_DIGIT_OPTIONS,
            encode_jsonl({"x": x, "y": y} for y, x in labeled_rows),
        ),
        "json, features": (
            DIGIT_OPTIONS,
            encode_jsonl(
                {"features": dict(zip(PIXEL_NAMES, x, strict=True)), "label": y}
                for y, x in labeled_rows
            ),
        ),
    }


@pytest.fixture(scope="session")
def expected_outcome(inputs_by_format, tmp_path_factory):
    """The outcome of learning the digits from Parquet."""
    path = tmp_path_factory.mktemp("expected") / "model.npz"
    learn_from_pipe(path, *inputs_by_format["parquet"])
    return load_outcome(path)


@pytest.fixture
def daily_files(tmp_path, rng):
    """Paths of three Parquet files, one a day, each with 1,500 points of two classes."""
    paths = []
    for day in range(3):
        X = rng.normal(size=(1500, 2))
        path = tmp_path / f"day{day}.parquet"
        y = np.where(X[:, 0] > 0, "right", "left")
        pq.write_table(pa.table({"a": X[:, 0], "b": X[:, 1], "class": y}), path)
        paths.append(path)
    return paths


@pytest.fixture
def model(tmp_path):
    """The path of a checkpoint."""
    return tmp_path / "model.npz"
