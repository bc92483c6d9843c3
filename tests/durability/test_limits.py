"""Inputs that exceed a limit, or that decompress to much, end in one line or little memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import (
    COMMAND,
    capture_state,
    count_samples,
    encode_csv,
    encode_ipc,
    encode_jsonl,
    run_limited,
    run_with_peak_memory,
    write_csv,
    write_jsonl,
    write_parquet,
)

from stream_perceptron import LiveModel, ModelSizeError, SGDPerceptron, load
from stream_perceptron.data.text.blocks import MAX_LINE_BYTES


def test_full_model_ignores_features_and_rejects_labels():
    """The limit counts the weights, and 32 more for each label and each feature."""
    model = SGDPerceptron(classes=["a", "b"], max_weights=2 * 3 + 32 * 5, seed=0)
    model.learn_one({"x": 1.0, "y": 1.0, "z": 1.0}, "a")
    before = capture_state(model)
    with pytest.raises(ModelSizeError, match=r"features: 3\), more than"):
        model.learn_one({"x": 1.0}, "c")
    assert capture_state(model) == before
    with pytest.warns(match="the model is full: new features are ignored; raise max_weights"):
        model.learn_one({"new": 1.0}, "a")
    model.learn_one({"newer": 1.0}, "a")  # warns only once
    assert model.features_ == ["x", "y", "z"]

    model.mutate({"max_weights": 10_000})
    model.learn_one({"new": 1.0}, "c")
    assert model.weights.shape == (3, 4)


def test_max_weights_is_saved_with_the_model_and_can_be_raised(tmp_path, run):
    source, path = tmp_path / "s.jsonl", tmp_path / "m.npz"
    write_jsonl(source, ({f"f{i}": 1.0, "label": "ab"[i % 2]} for i in range(50)))
    options = ["--max-weights", 1000, "--quiet"]
    result = run("learn", source, "-m", path, *options, check=0)

    assert result.stderr.count("the model is full: new features are ignored; raise --max-w") == 1
    assert LiveModel.load(path).progress.samples == 50
    assert load(path).model["SGDPerceptron"].max_weights == 1000
    result = run("learn", source, "-m", path, "--max-weights", 900, "--quiet", check=2)
    assert "takes 982 weights (labels: 2, features: 27): choose at least 982" in result.stderr
    with source.open("a") as file:
        file.write(json.dumps({"f40": 1.0, "label": "a"}) + "\n")
    run("learn", source, "-m", path, "--max-weights", 10_000, "--quiet", check=0)
    assert len(LiveModel.load(path).model.features_) == 28


@pytest.mark.parametrize("is_late", [False, True])
def test_row_whose_label_does_not_fit_is_rejected(is_late, tmp_path, run):
    """With --join, its pending sample is dropped."""
    rows, path = [], tmp_path / "m.npz"
    for i in range(12):
        sample, label = {"id": i, "a": 1.0}, {"label": f"label{i % 6}"}
        rows += [sample, {"id": i} | label] if is_late else [sample | label]
    source = write_jsonl(tmp_path / "s.jsonl", rows)
    options = ["--join", "id"] if is_late else ["--ignore", "id"]
    args = "learn", source, "-m", path, *options, "--max-weights", 170
    failed = run(*args, check=1)
    result = run(*args, "--skip-bad", check=0)

    assert "--max-weights" in failed.stderr
    assert "its label does not fit into the model: raise --max-weights" in result.stderr
    live = LiveModel.load(path)
    assert live.model.classes_ == [f"label{i}" for i in range(4)]
    assert live.progress.skipped == 4
    assert not live.state.pending.samples, result.stderr


def test_names_of_evicted_samples_are_freed(tmp_path):
    samples = ({"id": i} | {f"k{i}_{j}": 1.0 for j in range(20)} for i in range(30_000))
    source = write_jsonl(tmp_path / "s.jsonl", samples)
    options = ["--join", "id", "--max-pending", "10", "-m", tmp_path / "m.npz", "--quiet"]
    result, megabytes = run_with_peak_memory("learn", source, *options)

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "m.npz").stat().st_size < 1_000_000
    assert megabytes < 110


def test_list_of_thirty_million_zeros_is_rejected(tmp_path, monkeypatch):
    """Parquet stores it in less than a kilobyte."""
    # Arrow's default pool keeps memory that was freed, now more, now less.
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")
    column = pa.array([np.zeros(30_000_000, np.int64)], pa.list_(pa.int64()))
    path = write_parquet(tmp_path / "f.parquet", {"x": column, "label": [1]}, compression="zstd")
    result, megabytes = run_with_peak_memory("learn", path)

    assert path.stat().st_size < 1000
    assert result.returncode == 1
    assert "list 'x' has 30,000,000 values, more than a model may have" in result.stderr
    assert megabytes < 800


def test_wide_lists_are_decoded_a_few_rows_at_a_time(tmp_path):
    column = pa.array([np.zeros(200_000, np.int64)] * 300, pa.list_(pa.int64()))
    path = write_parquet(tmp_path / "f.parquet", {"x": column, "label": [0, 1] * 150})
    result, megabytes = run_with_peak_memory("learn", path, "--quiet")

    assert result.returncode == 0, result.stderr
    # All rows at once would take 480 MB in Arrow and another 480 MB as numbers.
    assert megabytes < 900


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_unique_strings_are_encoded_a_few_rows_at_a_time(form, tmp_path):
    n, source = 16_000, tmp_path / f"names.{form}"
    columns = {"name": [f"n{i}" for i in range(n)], "x": [0.5] * n, "label": [0, 1] * (n // 2)}
    if form == "csv":
        write_csv(source, columns, zip(*columns.values(), strict=True))
    else:
        write_parquet(source, columns)
    result, megabytes = run_with_peak_memory("learn", source, "--quiet")

    assert result.returncode == 0, result.stderr
    assert megabytes < 400  # 4,000 rows at once take 830 MB


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "parquet", "arrow"])
def test_commands_read_more_files_than_a_process_may_open(tmp_path, suffix):
    """By default, a process may open 1,024 files."""
    paths = [tmp_path / f"{i}.{suffix}" for i in range(100)]
    for i, path in enumerate(paths):
        rows = [{"a": i, "label": "x"}, {"a": -i, "label": "y"}]
        text = encode_csv((row.values() for row in rows), rows[0])
        text = encode_jsonl(rows) if suffix == "jsonl" else text
        if suffix in ("parquet", "arrow"):
            table = pa.Table.from_pylist(rows)
            arrow = encode_ipc(table, new_writer=pa.ipc.new_file)
            path.write_bytes(arrow) if suffix == "arrow" else pq.write_table(table, path)
        else:
            path.write_bytes(gzip.compress(text) if suffix == "csv.gz" else text)
    model, limit = tmp_path / "m.npz", ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"]
    for name, *options in (
        ("learn",), ("learn",), ("predict",), ("evaluate",), ("learn", "--passes", "2")
    ):  # fmt: skip
        command = [*limit, COMMAND, name, *paths, "-m", model, *options]
        subprocess.run(command, check=True, capture_output=True)
        assert LiveModel.load(model).progress.samples == (400 if options else 200)
    subprocess.run([*limit, COMMAND, "verify", model, *paths], check=True, capture_output=True)
    script = (
        "import sys; from stream_perceptron import stream\n"
        "print(sum(1 for sample in stream.iter_source(*sys.argv[1:])))"
    )
    command = [*limit, sys.executable, "-c", script, *paths]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b"200\n"


def test_decompressed_overlong_line_is_not_held_in_memory(tmp_path):
    source, path = tmp_path / "bomb.csv.gz", tmp_path / "m.npz"
    with gzip.open(source, "wb", 1) as file:
        file.write(b"label,a\nleft,1\nright,2\n")
        for _ in range(300):
            file.write(b"x" * 2**20)
    result, megabytes = run_with_peak_memory("learn", source, "-m", path, "--skip-bad")

    assert result.returncode == 1
    assert result.stderr.endswith("the line at byte 24 is longer than 16 MiB\n")
    assert LiveModel.load(path).progress.samples == 2
    assert megabytes < 250


@pytest.mark.parametrize(
    ("first", "start", "end"),
    [
        ('{"a": 2, "label": "y"}\n', '{"a": 1, "label": "x", "b": "', '"}\n'),
        ("a,label,b\n2,y,\n", '1,x,"', '"\n'),
    ],
    ids=["json", "csv"],
)
def test_line_of_exactly_the_maximum_size_is_read(first, start, end, tmp_path, run):
    """The newline counts, too; a line of one more byte ends the run."""
    for n_more in (0, 1):
        padding = "p" * (MAX_LINE_BYTES - len(start) - len(end) + n_more)
        (source := tmp_path / "s").write_text(first + start + padding + end)
        model = tmp_path / f"{n_more}.npz"
        result = run("learn", source, "-m", model, "--quiet", check=n_more)

        assert count_samples(model) == 2 - n_more
        assert ("is longer than 16 MiB" in result.stderr) == (n_more == 1)


@pytest.mark.parametrize("form", ["stream", "file"])
def test_out_of_memory_is_a_one_line_error_and_the_model_is_saved(form, tmp_path):
    """A small file decodes to 900 MB; the rows of the file before it are learned."""
    n, model = 10**8, tmp_path / "m.npz"
    rows = pa.table({"a": [1.0, 2.0], "label": pa.array([0, 1], pa.int8())})
    bomb = pa.table({"a": np.zeros(n), "label": np.zeros(n, np.int8)})
    first, second = tmp_path / "first", tmp_path / "second"
    for path, table in ((first, rows), (second, bomb)):
        new_writer = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with new_writer(str(path), table.schema, options=options) as writer:
            writer.write_table(table)
    result = run_limited(1_000_000, "learn", "--quiet", first, second, "-m", model)

    assert second.stat().st_size < 1_000_000
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("Error: out of memory")
    assert LiveModel.load(model).progress.samples == 2


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (range(2**20), "more than 1,048,576 columns (1,048,577): write rows as LIBSVM"),
        ([*range(300_000), 299_999], "columns 300000 and 300001 are both called 'c299999'"),
    ],
    ids=["too many", "duplicate"],
)
def test_invalid_header_of_many_columns_is_a_one_line_error(names, reason, tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(f"{','.join(f'c{name}' for name in names)},label\n{'1,' * len(names)}a\n")
    result = run_limited(2_000_000, "learn", path)

    assert result.returncode == 1
    assert reason in result.stderr.splitlines()[0]


def test_large_parquet_pages_are_read(tmp_path):
    text = np.random.default_rng(0).bytes(3_000_000) + bytes(300_000_000)
    table = {"label": ["a", "b"], "x": [0.0, 1.0], "t": [text, b""]}
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    path = write_parquet(tmp_path / "f.parquet", table, **options)

    assert run_limited(2_000_000, "learn", "-q", path).returncode == 0


@pytest.mark.parametrize("encoding", ["dictionary", "shared prefixes"])
def test_long_text_that_is_stored_once_cannot_exhaust_memory(encoding, tmp_path):
    texts = pa.DictionaryArray.from_arrays(np.minimum(np.arange(4000), 1), ["", "x" * 2**19])
    options = {}
    if encoding != "dictionary":
        texts = pa.array([text or "" for text in texts[:2000].to_pylist()], pa.large_string())
        options = {"use_dictionary": False, "column_encoding": {"t": "DELTA_BYTE_ARRAY"}}
    labels = np.arange(len(texts)) % 2
    options |= {"compression": "zstd", "store_schema": False}
    columns = {"label": labels, "x": labels * 1.0, "t": texts}
    path = write_parquet(tmp_path / "f.parquet", columns, **options)
    assert path.stat().st_size < 30_000
    result = run_limited(2_000_000, "learn", "-q", path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
    assert "out of memory" in result.stderr
    assert run_limited(2_000_000, "learn", "-q", path, "--ignore", "t").returncode == 0
