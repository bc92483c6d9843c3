"""Every format, read from a path and from a pipe, in large and in small chunks."""

from __future__ import annotations

import io
import json
import random
import select
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import (
    COMMAND,
    DIGIT_OPTIONS,
    PIXEL_NAMES,
    SCALED_DIGIT_OPTIONS,
    capture_state,
    encode_csv,
    encode_ipc,
    encode_jsonl,
    learn_from_pipe,
    load_outcome,
)
from river.stream import iter_libsvm

from stream_perceptron import LiveModel, SGDPerceptron


def collect_predictions(path, options, lines, preamble=b""):
    """Send samples one at a time, each after the previous prediction; return the predictions."""
    command = [COMMAND, "learn", "-m", path, "--quiet", "-p", "-", *options]
    records = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(preamble)
        for line in lines:
            process.stdin.write(line)
            process.stdin.flush()
            records.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(60) == 0
    return records


FORMATS = (
    "parquet", "arrow", "arrow file", "csv", "csv with CRLF",
    "tsv without header", "json, flat", "json, pixels", "json, x and y", "json, features",
)  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_model_by_path_and_by_pipe(
    name, inputs_by_format, expected_outcome, tmp_path, run
):
    options, data = inputs_by_format[name]
    source = tmp_path / "digits"
    source.write_bytes(data)
    run("learn", source, "-m", tmp_path / "path.npz", *options, check=0)
    learn_from_pipe(tmp_path / "pipe.npz", options, data)

    assert load_outcome(tmp_path / "path.npz") == expected_outcome
    assert load_outcome(tmp_path / "pipe.npz") == expected_outcome


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["csv", "tsv without header", "json, flat", "json, pixels", "json, x and y", "json, features"],
)
def test_each_line_is_predicted_before_the_next_is_sent(
    name, inputs_by_format, expected_outcome, tmp_path
):
    options, data = inputs_by_format[name]
    header, lines = b"", data.splitlines(keepends=True)
    if name == "csv":
        header = lines.pop(0)
    records = collect_predictions(tmp_path / "model.npz", options, lines, header)

    assert [record["row"] for record in records] == [*range(1, 5001)]
    assert load_outcome(tmp_path / "model.npz") == expected_outcome


@pytest.mark.slow
def test_each_arrow_message_is_predicted_before_the_next_is_sent(
    mnist_sample, expected_outcome, tmp_path
):
    table = pq.read_table(mnist_sample)
    messages = []
    for batch in table.to_batches(max_chunksize=1):
        messages.append(batch.serialize().to_pybytes())
    schema = table.schema.serialize().to_pybytes()
    records = collect_predictions(tmp_path / "model.npz", DIGIT_OPTIONS, messages, schema)

    assert len(records) == 5000
    assert load_outcome(tmp_path / "model.npz") == expected_outcome


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("how", ["path", "pipe"])
def test_libsvm_gives_the_model_of_a_river_loop(first, how, labels_and_pixels, tmp_path, run):
    """The file is like MNIST8M: nonzero features only, counted from 0 or 1."""
    lines = [
        f"{y} " + " ".join(f"{i + first}:{v}" for i, v in enumerate(x) if v) + "\n"
        for y, x in zip(*labels_and_pixels, strict=True)
    ][:2000]
    source = tmp_path / "digits.libsvm"
    source.write_text("".join(lines))
    model = SGDPerceptron(lr=1e-4, seed=0)
    hits = []
    for x, y in iter_libsvm(io.StringIO("".join(lines)), target_type=int):
        predicted = model.predict_one(x)
        if predicted is not None:
            hits.append(predicted == y)
        model.learn_one(x, y)
    if how == "path":
        run("learn", source, "-m", tmp_path / "m.npz", "--lr", "1e-4", "--seed", 0, check=0)
        live = LiveModel.load(tmp_path / "m.npz")
    else:
        live = learn_from_pipe(
            tmp_path / "m.npz", ["--lr", "1e-4", "--seed", "0"], source.read_bytes()
        )

    assert capture_state(live.model) == capture_state(model)
    assert live.progress.accuracy == sum(hits) / len(hits)


@pytest.mark.parametrize("how", ["at once", "line by line"])
def test_late_key_becomes_a_new_feature(how, tmp_path, rng):
    """Keys appear and vanish; the model is bit-identical to a loop over learn_one."""
    rows = []
    for i in range(3000):
        x = {f"f{j}": rng.normal() for j in rng.choice(3 + i // 100, 3, replace=False)}
        rows.append((x, "left" if sum(x.values()) < 0 else "right"))
    model = SGDPerceptron(lr=0.5, seed=0)
    for x, y in rows:
        model.learn_one(x, y)
    data = encode_jsonl({**x, "label": y, "comment": "a text"} for x, y in rows)
    path = tmp_path / "model.npz"
    options = ["--no-standardize", "--lr", "0.5", "--seed", "0"]
    if how == "at once":
        learn_from_pipe(path, options, data)
    else:
        collect_predictions(path, options, data.splitlines(keepends=True))

    assert len(model.features_) > 30
    assert capture_state(model) == capture_state(LiveModel.load(path).model)


@pytest.mark.parametrize("name", ["csv", "json, flat", "json, x and y", "arrow"])
def test_unlabeled_rows_are_predicted_but_not_learned(name, labels_and_pixels, tmp_path, run):
    rng = random.Random(0)
    labels, rows = labels_and_pixels
    given_labels = [None if rng.random() < 0.3 else label for label in labels]
    labeled = [i for i, label in enumerate(given_labels) if label is not None]
    model = SGDPerceptron(classes=range(10), init_range=0)
    X = np.array(rows) * (1 / 255)
    model.test_then_train(X[labeled], [labels[i] for i in labeled])
    both = list(zip(given_labels, rows, strict=True))
    table = pa.table({"x": pa.array(rows), "label": pa.array(given_labels)})
    data = {
        "csv": lambda: encode_csv(
            [["" if y is None else y, *x] for y, x in both], ["label", *PIXEL_NAMES]
        ),
        "json, flat": lambda: encode_jsonl(
            ({} if y is None else {"label": y}) | dict(zip(PIXEL_NAMES, x, strict=True))
            for y, x in both
        ),
        "json, x and y": lambda: encode_jsonl({"x": x, "y": y} for y, x in both),
        "arrow": lambda: encode_ipc(table),
    }[name]()
    predictions = tmp_path / "predictions.jsonl"
    live = learn_from_pipe(tmp_path / "model.npz", [*SCALED_DIGIT_OPTIONS, "-p", predictions], data)
    records = [json.loads(line) for line in predictions.read_text().splitlines()]

    assert live.model.weights.tobytes() == model.weights.tobytes()
    assert (len(labeled), 5000 - len(labeled)) == (live.progress.samples, live.progress.unlabeled)
    assert given_labels == [record["label"] for record in records]
    assert all(record["prediction"] in range(10) for record in records)


@pytest.mark.parametrize("command", ["learn", "predict"])
@pytest.mark.parametrize(
    "row",
    [b'{"a": 1, "note": "5\\" pipe", "label": "x"}\n', b'x a:1 b":2\n'],
    ids=["json", "libsvm"],
)
def test_row_with_an_open_quote_is_predicted_at_once(row, command, tmp_path, run):
    """Only in CSV does a record with an open quote continue in the next line."""
    model = tmp_path / "m.npz"
    run("learn", "-m", model, "--quiet", input='{"a": 1, "label": "x"}\n', check=0)
    options = ["-p", "-", "--quiet"] if command == "learn" else ["-m", model]
    with subprocess.Popen(
        [COMMAND, command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdin.write(row)
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], 60)
        process.stdin.close()

    assert ready
