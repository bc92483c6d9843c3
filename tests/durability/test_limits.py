"""Inputs that exceed the memory limits are rejected and leave the model unchanged."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from helpers import COMMAND, capture_state, read_contents, write_jsonl, write_parquet

from stream_perceptron import LiveModel, ModelSizeError, SGDPerceptron, load, save
from stream_perceptron.data.records import MAX_LINE_BYTES


@pytest.fixture
def run_with_peak_memory():
    """A function that runs the command and returns its result and its peak memory in MB."""
    script = (
        "import re, sys; from stream_perceptron_cli.main import main\n"
        "code = 0\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "status = open('/proc/self/status').read()\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]); sys.exit(code)"
    )

    def run_command(*args):
        command = [sys.executable, "-c", script, *map(str, args)]
        result = subprocess.run(command, capture_output=True, text=True)
        return result, int(result.stdout.splitlines()[-1]) / 1024

    return run_command


@pytest.mark.parametrize("method", ["learn_one", "test_then_train"])
def test_sample_that_exceeds_max_weights_is_rejected(method):
    """The limit counts the weights, and 32 more for each label and each feature."""
    model = SGDPerceptron(classes=["a", "b"], max_weights=2 * 3 + 32 * 5, seed=0)
    model.learn_one({"x": 1.0, "y": 1.0, "z": 1.0}, "a")
    before = capture_state(model)
    for x, label in (({"new": 1.0}, "a"), ({"x": 1.0}, "c")):
        arguments = (x, label)
        if method == "test_then_train":
            arguments = (np.ones((1, 1)), [label], list(x))
        with pytest.raises(ModelSizeError, match=r"features: [34]\), more than"):
            getattr(model, method)(*arguments)
        assert capture_state(model) == before

    model.mutate({"max_weights": 10_000})
    model.learn_one({"new": 1.0}, "c")
    assert model.weights.shape == (3, 4)


@pytest.mark.parametrize("value", [2 * 3 + 32 * 5 - 1, 0, 1e9])
def test_max_weights_cannot_be_lower_than_the_size_of_the_model(value):
    model = SGDPerceptron(classes=["a", "b"], seed=0)
    model.learn_one({"x": 1.0, "y": 1.0, "z": 1.0}, "a")
    before = capture_state(model)
    with pytest.raises(ValueError, match=r"max_weights is .*: choose"):
        model.mutate({"max_weights": value})

    assert capture_state(model) == before
    model.mutate({"max_weights": 2 * 3 + 32 * 5})
    model.learn_one({"x": 1.0}, "b")
    assert model.predict_one({"x": 1.0}) in ("a", "b")


def test_rows_before_a_rejected_row_are_learned():
    model = SGDPerceptron(classes=["a", "b"], max_weights=165, seed=0)
    with pytest.raises(ModelSizeError):
        model.test_then_train(np.ones((5, 1)), ["a", "b", "c", "d", "e"], ["x"])
    expected = SGDPerceptron(classes=["a", "b"], seed=0)
    expected.test_then_train(np.ones((4, 1)), ["a", "b", "c", "d"], ["x"])

    assert capture_state(expected) == capture_state(model)


def test_max_weights_is_saved_with_the_model_and_can_be_raised(tmp_path, run):
    source, path = tmp_path / "s.jsonl", tmp_path / "m.npz"
    rows = [{f"f{i}": 1.0, "label": "ab"[i % 2]} for i in range(50)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run("learn", source, "-m", path, "--max-weights", 1000, "--quiet", check=1)

    message = "the model would take 1,016 weights (labels: 2, features: 28), more than 1,000"
    assert f"row 28: {message}" in result.stderr
    assert LiveModel.load(path).progress.samples == 27
    assert load(path).model["SGDPerceptron"].max_weights == 1000
    run("learn", source, "-m", path, "--quiet", check=1)
    result = run("learn", source, "-m", path, "--max-weights", 900, "--quiet", check=2)
    assert "takes 982 weights (labels: 2, features: 27): choose at least 982" in result.stderr
    assert LiveModel.load(path).progress.samples == 27
    run("learn", source, "-m", path, "--max-weights", 10_000, "--quiet", check=0)
    whole = tmp_path / "whole.npz"
    run("learn", source, "-m", whole, "--max-weights", 10_000, "--quiet", check=0)
    assert read_contents(whole) == read_contents(path)


@pytest.mark.nightly
def test_many_labels_are_learned_in_little_memory(tmp_path, run_with_peak_memory):
    """Once a part has been saved, labels that look like IDs do not end the run."""
    source, path = tmp_path / "ids.csv", tmp_path / "m.npz"
    rows = [f"{i % 7},{i % 5},id{i}" for i in range(10_000)]
    source.write_text("\n".join(["a,b,label", *rows]) + "\n")
    result, megabytes = run_with_peak_memory("learn", source, "-m", path, "--save-every", "900")

    assert result.returncode == 0
    assert result.stderr.count("labels are ids") == 1
    assert len(LiveModel.load(path).model.classes_) == 10_000
    assert megabytes < 150
    few = tmp_path / "few.csv"
    few.write_text("\n".join(["a,b", *(row.rpartition(",")[0] for row in rows[:600])]) + "\n")
    arguments = ["predict", few, "-m", path, "--scores", "-p", tmp_path / "scores.jsonl"]
    result, megabytes = run_with_peak_memory(*arguments)
    assert result.returncode == 0, result.stderr
    assert megabytes < 150


def test_names_of_evicted_samples_are_freed(tmp_path, run_with_peak_memory):
    samples = ({"id": i} | {f"k{i}_{j}": 1.0 for j in range(20)} for i in range(30_000))
    source = write_jsonl(tmp_path / "s.jsonl", samples)
    options = ["--join", "id", "--max-pending", "10", "-p", tmp_path / "p.jsonl", "--quiet"]
    result, megabytes = run_with_peak_memory("learn", source, *options)

    assert result.returncode == 0, result.stderr
    assert megabytes < 110


def test_list_of_thirty_million_zeros_is_rejected(tmp_path, run_with_peak_memory):
    """Parquet stores it in less than a kilobyte."""
    column = pa.array([np.zeros(30_000_000, np.int64)], pa.list_(pa.int64()))
    path = write_parquet(tmp_path / "f.parquet", {"x": column, "label": [1]}, compression="zstd")
    result, megabytes = run_with_peak_memory("learn", path)

    assert path.stat().st_size < 1000
    assert result.returncode == 1
    assert "column 'x' has 30,000,000 values, more than a model may have" in result.stderr
    assert megabytes < 1000


def test_wide_lists_are_decoded_a_few_rows_at_a_time(tmp_path, run_with_peak_memory):
    column = pa.array([np.zeros(200_000, np.int64)] * 300, pa.list_(pa.int64()))
    path = write_parquet(tmp_path / "f.parquet", {"x": column, "label": [0, 1] * 150})
    result, megabytes = run_with_peak_memory("learn", path, "--quiet")

    assert result.returncode == 0, result.stderr
    assert (
        megabytes < 900
    )  # all rows at once would take 480 MB in Arrow and another 480 MB as numbers


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_unique_texts_are_one_hot_encoded_a_few_rows_at_a_time(
    form, tmp_path, run_with_peak_memory
):
    n = 16_000
    source = tmp_path / f"names.{form}"
    columns = {"name": [f"n{i}" for i in range(n)], "x": [0.5] * n, "label": [0, 1] * (n // 2)}
    if form == "csv":
        rows = [list(columns), *zip(*columns.values(), strict=True)]
        source.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    else:
        write_parquet(source, columns)
    result, megabytes = run_with_peak_memory("learn", source, "--one-hot", "name", "--quiet")

    assert result.returncode == 0, result.stderr
    assert megabytes < 400  # 4,000 rows at once take 830 MB


def test_many_columns_are_read_in_linear_time(tmp_path, run):
    """A linear search for each column would take minutes."""
    n = 100_000
    source = tmp_path / "wide.csv"
    names = ",".join(f"c{i}" for i in range(n))
    source.write_text(f"label,{names}\nx,{'1,' * (n - 1)}1\ny,{'2,' * (n - 1)}2\n")
    run("learn", source, "-m", tmp_path / "m.npz", "--quiet", check=0)

    assert n == len(LiveModel.load(tmp_path / "m.npz").model.features_)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl"])
def test_more_files_than_the_process_may_open_are_learned(tmp_path, suffix):
    """By default, a process may open 1,024 files."""
    paths = [tmp_path / f"{i}.{suffix}" for i in range(100)]
    for i, path in enumerate(paths):
        text = f"a,label\n{i},x\n-{i},y\n"
        if suffix == "jsonl":
            text = f'{{"a": {i}, "label": "x"}}\n{{"a": -{i}, "label": "y"}}\n'
        path.write_bytes(gzip.compress(text.encode()) if suffix == "csv.gz" else text.encode())
    command = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", COMMAND, "learn", *paths]
    model = tmp_path / "m.npz"
    for _ in range(2):
        subprocess.run([*command, "-m", model], check=True, capture_output=True)
        assert LiveModel.load(model).progress.samples == 200


def test_out_of_memory_is_a_one_line_error_and_the_model_is_saved(tmp_path):
    source, path = tmp_path / "s.jsonl", tmp_path / "m.npz"
    rows = [{f"f{i}": 1.0, "label": "ab"[i % 2]} for i in range(3000)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = (
        "import sys\n"
        "from stream_perceptron.model import weights\n"
        "real = weights._aligned_zeros\n"
        "def fails(rows, columns):\n"
        "    if rows > 2500: raise MemoryError\n"
        "    return real(rows, columns)\n"
        "weights._aligned_zeros = fails\n"
        "from stream_perceptron_cli.main import run; run()"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, "learn", source, "-m", path, "--quiet", "--no-standardize"],
        capture_output=True, text=True,
    )  # fmt: skip

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: out of memory with 2 labels and ")
    live = LiveModel.load(path)
    assert live.progress.samples == live.model.n_seen == live.history.run.read > 1000


def test_checkpoint_larger_than_any_model_is_not_read(tmp_path):
    path = tmp_path / "m.npz"
    save(SGDPerceptron(seed=0), path)
    with path.open("ab") as file:
        file.truncate(2**40)  # a sparse file, which needs no space
    result = subprocess.run([COMMAND, "inspect", path], capture_output=True, text=True)

    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "larger than any model" in result.stderr


def test_decompressed_overlong_line_is_not_held_in_memory(tmp_path, run_with_peak_memory):
    source, path = tmp_path / "bomb.csv.gz", tmp_path / "m.npz"
    with gzip.open(source, "wb", 1) as file:
        file.write(b"label,a\nleft,1\nright,2\n")
        for _ in range(300):
            file.write(b"0" * 2**20)
        file.write(b"\nleft,3\n")
    result, megabytes = run_with_peak_memory("learn", source, "-m", path, "--skip-bad")

    assert result.returncode == 0, result.stderr
    progress = LiveModel.load(path).progress
    assert (progress.samples, progress.skipped) == (3, 1)
    assert megabytes < 250


def test_arrow_stream_with_a_forged_size_is_rejected(tmp_path, run):
    table = pa.table({"label": ["x", "y"] * 50, "a": np.arange(100.0)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    with pa.ipc.open_stream(data) as reader:
        size = pa.ipc.read_message(pa.BufferReader(reader.read_next_batch().serialize())).body.size
    source = tmp_path / "f.arrow"
    source.write_bytes(data.replace(size.to_bytes(8, "little"), (2**50).to_bytes(8, "little")))

    assert source.read_bytes() != data
    assert "damaged after row 0" in run("learn", source, check=1).stderr


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_line_of_exactly_the_maximum_size_is_read(kind, tmp_path, run):
    """The newline counts, too; a line of one more byte is rejected."""
    start, end = '{"a": 1, "label": "x", "b": "', '"}\n'
    for n_more, expected in ((0, (2, 0)), (1, (1, 1))):
        padding = "p" * (MAX_LINE_BYTES - len(start) - len(end) + n_more)
        rows = '{"a": 2, "label": "y"}\n' + start + padding + end
        (source := tmp_path / f"{n_more}.jsonl").write_text(rows)
        given = {"input": rows} if kind == "pipe" else {}
        arguments = ["--skip-bad", "--json", "--quiet"]
        result = run("learn", *[source] * (kind == "file"), *arguments, check=0, **given)
        summary = json.loads(result.stdout)

        assert (summary["samples"], summary["skipped"]) == expected
