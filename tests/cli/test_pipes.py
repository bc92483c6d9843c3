"""Every format, read from a path and from a pipe, in large and in small chunks."""

from __future__ import annotations

import json
import select
import subprocess

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from helpers import (
    COMMAND,
    encode_csv,
    encode_ipc,
    encode_jsonl,
    learn_from_pipe,
    load_outcome,
    run_with_peak_memory,
)

from stream_perceptron import LiveModel

# Initial weights of 0, because the names of the pixels depend on the format.
DIGIT_OPTIONS = ["--classes", "0-9", "--init-range", "0"]
SCALED_DIGIT_OPTIONS = [*DIGIT_OPTIONS, "--scale", "1/255"]
PIXEL_NAMES = [f"pixel{i}" for i in range(784)]


@pytest.fixture(scope="session")
def inputs_by_format(mnist_sample):
    """The options and the bytes to learn the 5,000 digits, by format."""
    table = pq.read_table(mnist_sample)
    pixels = [list(picture) for picture in table["pixels"].to_pylist()]
    labeled_rows = list(zip(table["label"].to_pylist(), pixels, strict=True))
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
    }


@pytest.fixture(scope="session")
def expected_outcome(inputs_by_format, tmp_path_factory):
    """The outcome of learning the digits from Parquet."""
    path = tmp_path_factory.mktemp("expected") / "model.npz"
    learn_from_pipe(path, *inputs_by_format["parquet"])
    return load_outcome(path)


FORMATS = (
    "parquet", "arrow", "arrow file", "csv", "csv with CRLF",
    "tsv without header", "json, flat", "json, pixels", "json, x and y",
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
def test_each_arrow_message_is_predicted_before_the_next_is_sent(
    mnist_sample, expected_outcome, tmp_path
):
    table, path = pq.read_table(mnist_sample), tmp_path / "model.npz"
    command = [COMMAND, "learn", "-m", path, "--quiet", "-p", "-", *DIGIT_OPTIONS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(table.schema.serialize().to_pybytes())
        for number, batch in enumerate(table.to_batches(max_chunksize=1), 1):
            process.stdin.write(batch.serialize().to_pybytes())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["row"] == number
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(60) == 0

    assert load_outcome(path) == expected_outcome


@pytest.mark.parametrize("command", ["learn", "predict"])
@pytest.mark.parametrize(
    "row",
    [b'{"a": 1, "note": "5\\" pipe", "label": "x"}\n', b'x a:1 b":2\n', b"a,label\n1,x\n"],
    ids=["json", "libsvm", "csv"],
)
def test_row_is_predicted_at_once(row, command, tmp_path, run):
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


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_memory_does_not_grow_with_the_pipe(form, tmp_path, rng, report_figure):
    """Once the prefetch buffer is full, five times the rows need at most a tenth more memory."""
    X = rng.normal(size=(10_000, 4)).round(3)
    table = pa.table({"y": X[:, 0] > 0, **{f"a{i}": X[:, i] for i in range(4)}})
    peaks = []
    for n in (400_000, 2_000_000):
        source, model = tmp_path / "source", tmp_path / f"{n}.npz"
        tables = pa.concat_tables([table] * (n // len(X)))
        if form == "arrow":
            source.write_bytes(encode_ipc(tables))
        else:
            pa.csv.write_csv(tables, source)
        with subprocess.Popen(["cat", source], stdout=subprocess.PIPE) as cat:
            result, peak = run_with_peak_memory("learn", "-m", model, "-q", stdin=cat.stdout)
        assert result.returncode == 0, result.stderr
        assert LiveModel.load(model).progress.samples == n
        peaks.append(peak)

    report_figure(
        f"peak memory, {form}, 400,000 and 2,000,000 rows: {peaks[0]:.0f}, {peaks[1]:.0f} MB"
    )
    assert peaks[1] < 1.1 * peaks[0]
