"""The command `learn`: progress, summary, options and errors."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from river import evaluate, metrics

from stream_perceptron import SGDPerceptron, stream


def parse_summary(result):
    return json.loads(result.stdout)


@pytest.fixture
def points_path(tmp_path, rng):
    X = rng.normal(size=(3000, 2))
    y = np.where(X[:, 0] > 0, "right", "left")
    path = tmp_path / "points.parquet"
    pq.write_table(pa.table({"a": X[:, 0], "b": X[:, 1], "class": y}), path)
    return path


@pytest.mark.parametrize(
    ("lr", "min_accuracy", "max_accuracy"), [("0.01", 0.865, 0.875), ("0.1", 0.888, 0.898)]
)
def test_accuracy_on_mnist_in_file_order(
    lr, min_accuracy, max_accuracy, run, mnist_files, report_figure
):
    result = run(
        "learn",
        mnist_files["train"],
        "--classes",
        "0-9",
        "--seed",
        0,
        "--lr",
        lr,
        "--json",
        check=0,
    )
    figures = parse_summary(result)
    steps = [json.loads(line) for line in result.stderr.splitlines()]

    report_figure(f"lr {lr}: {figures}")
    assert figures["samples"] == 60000
    assert min_accuracy < figures["accuracy"] < max_accuracy
    assert {
        "samples",
        "accuracy",
        "window_accuracy",
        "mean_error",
        "updates",
        "seconds",
    } <= set(figures)
    assert [1000 * 2**i for i in range(6)] == [s["samples"] for s in steps if "samples" in s]


def test_accuracy_equals_that_of_river_exactly(run, mnist_files):
    result = run(
        "learn",
        mnist_files["train"],
        "--classes",
        "0-9",
        "--seed",
        0,
        "--limit",
        5000,
        "--json",
        check=0,
    )
    metric = evaluate.progressive_val_score(
        itertools.islice(stream.iter_parquet(mnist_files["train"]), 5000),
        SGDPerceptron(classes=range(10), seed=0),
        metrics.Accuracy(),
    )

    assert parse_summary(result)["accuracy"] == metric.get()


@pytest.fixture
def measure_peak_memory():
    """A function that runs the command and returns its peak memory in MB."""
    script = (
        "import re, sys; from stream_perceptron_cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )

    def run_command(*args):
        command = [sys.executable, "-c", script, *args]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(result.stdout) / 1024

    return run_command


def test_peak_memory_on_mnist_is_below_200_mb(mnist_files, measure_peak_memory, report_figure):
    peak = measure_peak_memory("learn", mnist_files["train"], "--quiet")

    report_figure(f"peak memory of learn on MNIST: {peak:.0f} MB")
    assert peak < 200


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path, rng, measure_peak_memory, report_figure):
    """Ten times as many rows, in one row group, need at most a tenth more memory."""
    peaks = []
    for n in (100_000, 1_000_000):
        X = rng.integers(0, 256, (n, 64), np.uint8)
        pixels = pa.FixedSizeBinaryArray.from_buffers(pa.binary(64), n, [None, pa.py_buffer(X)])
        path = tmp_path / f"{n}.parquet"
        table = pa.table({"pixels": pixels, "label": X[:, 0] // 128})
        pq.write_table(table, path, row_group_size=n, use_dictionary=False)
        peaks.append(measure_peak_memory("learn", path, "--quiet"))

    report_figure(
        f"peak memory at 100,000 and 1,000,000 rows: {peaks[0]:.0f} and {peaks[1]:.0f} MB"
    )
    assert peaks[1] < 1.1 * peaks[0]


def split_terminal_lines(terminal_output):
    """Return every state of each line of the terminal, without escape sequences."""
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;]*[mK]", "", terminal_output))


def test_progress_line_is_redrawn_on_a_terminal(run_on_terminal, points_path):
    output = run_on_terminal("learn", points_path, "--passes", "20")

    assert output.count("\r\x1b[K    ") >= 1
    assert output.count("samples  accuracy") == 1
    rows = re.findall(r"(?m)(?:^|\x1b\[K) +([\d,]+) [^\r]*\r\n", output)
    assert rows == ["1,000", "2,000", "4,000", "8,000", "16,000", "32,000", "60,000"]
    assert output.rstrip().endswith("model not saved; use -m MODEL to keep it")


def test_predictions_on_a_terminal_suppress_the_progress_line(run_on_terminal, points_path):
    output = run_on_terminal("learn", points_path, "--passes", "20", "-p", "-")

    assert "\x1b[K" not in output
    assert len(re.findall(r'(?m)^\{"row": .*\}\r$', output)) == 60_000


@pytest.mark.slow
@pytest.mark.parametrize("columns", [15, 30, 60, 80, 120])
def test_progress_table_fits_the_width_of_the_terminal(run_on_terminal, mnist_files, columns):
    output = run_on_terminal("learn", mnist_files["train"], "--passes", "3", columns=columns)
    table = [
        line for line in split_terminal_lines(output) if re.match(r" +(samples|[\d,]+)\b", line)
    ]

    assert len(table) >= 3
    assert columns > max(map(len, table))
    # The bar shrinks first, then columns vanish.
    assert (columns == 120) == any("[###" in line for line in table)
    assert (columns >= 80) == any("left" in line for line in table)
    assert (columns > 60) == ("samples/s" in table[0])


def test_colors_are_only_for_terminals_and_no_color_disables_them(run_on_terminal, run, tmp_path):
    source = tmp_path / "points.csv"
    source.write_text("a,label\n" + "300,x\n400,y\n" * 50)

    args = ["learn", source, "--no-standardize"]

    assert "\x1b[33m\x1b[1mwarning:\x1b[0m" in run_on_terminal(*args)
    assert "\x1b[3" not in run_on_terminal(*args, NO_COLOR="1")
    assert "\x1b" not in run(*args, check=0).stderr


def test_messages_wrap_between_words_and_json_lines_do_not_wrap(run_on_terminal, tmp_path):
    source = tmp_path / "points.csv"
    source.write_text("a,label\n" + "300,x\n400,y\n" * 50)
    args = ["learn", source, "--no-standardize"]
    words = run_on_terminal(*args, columns=30, NO_COLOR="1").split()
    lines = split_terminal_lines(run_on_terminal(*args, "--json", columns=30, NO_COLOR="1"))

    assert "warning: unscaled features:" in " ".join(words)
    assert {"reaches", "square;", "--standardize"} <= set(words)
    events = [json.loads(line) for line in lines if line.startswith('{"kind"')]
    texts = [event["text"] for event in events if event["kind"] == "warning"]
    assert [text for text in texts if text.startswith("warning: unscaled features")]


def test_predictions_are_json_lines(run, points_path, tmp_path):
    args = ["learn", points_path, "--lr", 0.5, "--no-standardize", "-p"]
    run(*args, tmp_path / "p.jsonl", check=0)
    records = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    piped = run(*args, "-", "--quiet", check=0)
    model = SGDPerceptron(0.5, seed=0)

    assert piped.stdout == (tmp_path / "p.jsonl").read_text()
    assert records[0] == {
        "row": 1,
        "prediction": None,
        "score": None,
        "label": records[0]["label"],
    }
    for i, ((x, y), record) in enumerate(
        zip(stream.iter_parquet(points_path), records, strict=True), start=1
    ):
        assert (i, y) == (record["row"], record["label"])
        if i > 1:
            scores = model.predict_proba_one(x)
            assert record["prediction"] == next(iter(scores))
            assert scores[record["prediction"]] == pytest.approx(record["score"])
        model.learn_one(x, y)


def test_stop_ends_random_draws_at_an_error_below_epsilon(run, mnist_files):
    """With the settings of the learner, the textbook's loop stops before 2,000 samples."""
    options = ["--random", "--stop", "--lr", 0.05, "--epsilon", 0.01]
    result = run("learn", mnist_files["train"], *options, check=0)
    summarized = run("learn", mnist_files["train"], *options, "--json", check=0)
    reseeded = run("learn", mnist_files["train"], *options, "--seed", 1, "--json", check=0)

    assert re.search(
        r"stopped at sample [\d,]+: its error, [\d.e-]+, is below epsilon", result.stderr
    )
    assert parse_summary(summarized)["stopped"]
    assert parse_summary(summarized)["samples"] != parse_summary(reseeded)["samples"]
    assert parse_summary(summarized)["samples"] == parse_summary(summarized)["updates"] + 1 < 2000


def test_options_are_passed_to_the_model(run, points_path):
    model = SGDPerceptron(0.2, 0.01, "tanh", 0.5, ["right", "left", "none"], seed=9)
    metric = evaluate.progressive_val_score(
        stream.iter_parquet(points_path, scale=2.0, ignore=["b"]), model, metrics.Accuracy()
    )
    options = ["--lr", 0.2, "--epsilon", 0.01, "--activation", "tanh", "--init-range", 0.5,
               "--classes", "right,left,none", "--seed", 9,
               "--scale", "4/2", "--ignore", "b", "--label", "class"]  # fmt: skip
    figures = parse_summary(run("learn", points_path, *options, "--json", check=0))

    assert metric.get() == figures["accuracy"]
    assert model.n_updates == figures["updates"] < 3000
    assert figures["classes"] == ["right", "left", "none"]


def test_accuracy_with_a_weight_column_equals_that_of_river(run, tmp_path, rng):
    x, y = rng.normal(size=500), rng.choice(["a", "b"], 500)
    path = tmp_path / "w.parquet"
    pq.write_table(pa.table({"x": x, "y": y, "w": rng.random(500)}), path)
    expected = evaluate.progressive_val_score(
        stream.iter_parquet(path, weight="w"), SGDPerceptron(0.5, seed=0), metrics.Accuracy()
    )
    args = ["--weight", "w", "--lr", 0.5, "--no-standardize"]
    result = run("learn", path, *args, "--json", check=0)

    assert parse_summary(result)["accuracy"] == expected.get()


def make_columns(**extra_columns):
    return {"x": [1.0, 2.0], "label": [0, 1], **extra_columns}


@pytest.mark.parametrize(
    ("data", "options", "reason"),
    [
        (None, [], "No such file or directory"),
        ("folder", [], "a folder; name the files in it"),
        (b"", [], "is empty"),
        (b"label,pixel0\n1,2\n", [], "not a Parquet file, or truncated"),
        (b"PAR1" + b"\0" * 100 + b"PAR1", [], "not a Parquet file, or truncated"),
        ({"label": [0, 1]}, [], "no usable features"),
        ({"name": ["a", "b"], "label": [0, 1]}, [], "no usable features among 'name' (string)"),
        (make_columns(pixels=[[1, 2], None]), [], "row 2: column 'pixels' is null"),
        (make_columns(x=[1.0, float("nan")]), [], "row 2: column 'x' is nan"),
        (make_columns(pixels=[[1, 2], [1]]), [], "row 2: column 'pixels' has 1 value, not 2"),
        (make_columns(), ["--label", "digit"], "no label column 'digit' among 'x', 'label'"),
        (make_columns(y=[1, 2]), [], "'label', 'y' could each be the label: choose one with"),
        (make_columns(), ["--ignore", "z"], "no column 'z' among 'x', 'label'"),
    ],
    ids=str,
)
def test_invalid_input_is_a_one_line_error_with_status_1(data, options, reason, run, tmp_path):
    path = tmp_path / "data.parquet"
    if data == "folder":
        path.mkdir()
    elif isinstance(data, bytes):
        path.write_bytes(data)
    elif data is not None:
        pq.write_table(pa.table(data), path)
    result = run("learn", path, "--quiet", *options, check=1)
    (line,) = result.stderr.splitlines()

    assert line.startswith(f"Error: {path}: ")
    assert reason in line
    assert result.stdout == ""


def test_truncated_file_is_a_one_line_error_with_status_1(run, mnist_files, tmp_path):
    path = tmp_path / "cut.parquet"
    path.write_bytes(mnist_files["test"].read_bytes()[:100_000])
    result = run("learn", path, check=1)

    assert len(result.stderr.splitlines()) == 1
    assert "not a Parquet file, or truncated" in result.stderr


def test_help_imports_nothing_but_click():
    for arguments in (["--help"], ["learn", "--help"], ["fetch", "--help"]):
        script = (
            "import sys; from stream_perceptron_cli.main import main\n"
            f"try: main({arguments})\n"
            "except SystemExit: pass\n"
            "print({'numpy', 'river', 'pyarrow', 'stream_perceptron'} & set(sys.modules))"
        )
        result = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )

        assert result.stdout.endswith("set()\n")


def test_every_command_and_option_has_help():
    import click

    from stream_perceptron_cli.main import COMMANDS, main

    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)

        assert command.help
        for option in command.params:
            assert isinstance(option, click.Argument) or option.help, (name, option.name)
