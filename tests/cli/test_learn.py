"""The installed command `learn`."""

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
from stream_perceptron.model.kernel import NAME


def summary(result):
    return json.loads(result.stdout)


@pytest.fixture
def points(tmp_path, rng):
    X = rng.normal(size=(3000, 2))
    y = np.where(X[:, 0] > 0, "right", "left")
    path = tmp_path / "points.parquet"
    pq.write_table(pa.table({"a": X[:, 0], "b": X[:, 1], "class": y}), path)
    return path


@pytest.mark.parametrize(("lr", "least", "most"), [("0.01", 0.865, 0.875), ("0.1", 0.888, 0.898)])
def test_mnist_in_file_order(lr, least, most, run, digits, tell):
    result = run(
        "learn", digits["train"], "--classes", "0-9", "--seed", 0, "--lr", lr, "--json", check=0
    )
    figures = summary(result)
    steps = [json.loads(line) for line in result.stderr.splitlines()]

    tell(f"lr {lr}: {figures}")
    assert figures["samples"] == 60000
    assert least < figures["accuracy"] < most
    assert {
        "samples",
        "accuracy",
        "window_accuracy",
        "mean_error",
        "updates",
        "seconds",
        "kernel",
    } <= set(figures)
    assert [1000 * 2**i for i in range(6)] == [s["samples"] for s in steps if "samples" in s]


def test_accuracy_is_rivers_to_the_last_digit(run, digits):
    result = run(
        "learn",
        digits["train"],
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
        itertools.islice(stream.iter_parquet(digits["train"]), 5000),
        SGDPerceptron(classes=range(10), seed=0),
        metrics.Accuracy(),
    )

    assert summary(result)["accuracy"] == metric.get()


@pytest.fixture
def peak_memory():
    """Run the command and return its peak memory in MB."""
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


def test_peak_memory_on_mnist_is_below_200_mb(digits, peak_memory, tell):
    peak = peak_memory("learn", digits["train"], "--quiet")

    tell(f"peak memory of learn on MNIST: {peak:.0f} MB")
    assert peak < 200


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path, rng, peak_memory, tell):
    """Ten times the rows, in one row group, need at most a tenth more memory."""
    peaks = []
    for n in (100_000, 1_000_000):
        X = rng.integers(0, 256, (n, 64), np.uint8)
        pixels = pa.FixedSizeBinaryArray.from_buffers(pa.binary(64), n, [None, pa.py_buffer(X)])
        path = tmp_path / f"{n}.parquet"
        table = pa.table({"pixels": pixels, "label": X[:, 0] // 128})
        pq.write_table(table, path, row_group_size=n, use_dictionary=False)
        peaks.append(peak_memory("learn", path, "--quiet"))

    tell(f"peak memory at 100,000 and 1,000,000 rows: {peaks[0]:.0f} and {peaks[1]:.0f} MB")
    assert peaks[1] < 1.1 * peaks[0]


def test_progress_for_people(run, points):
    result = run("learn", points, "--passes", 3, check=0)
    lines = result.stderr.splitlines()

    assert result.stdout == ""
    assert lines[0] == "2 features, standardized: a, b"
    assert lines[1] == "label: class (str)"
    assert (
        lines[2].strip() == "samples  accuracy  last 1,000     AUC  mean error  updated  samples/s"
    )
    assert "second pass: rows learned before count only for the training accuracy" in lines
    head = "samples  accuracy  last 1,000  training     AUC  mean error  updated  samples/s"
    assert head in map(str.strip, lines)
    first_words = [line.split()[0] for line in lines]
    assert [word for word in first_words if "," in word] == [
        "1,000",
        "2,000",
        "4,000",
        "8,000",
        "9,000",
    ]
    assert lines[-1] == "model not saved; use -m MODEL to keep it"


def test_quiet_says_nothing_but_the_summary_asked_for(run, points):
    result = run("learn", points, "--quiet", check=0)
    assert (result.stdout, result.stderr) == ("", "")

    result = run("learn", points, "--quiet", "--json", check=0)
    assert (result.stderr, summary(result)["samples"]) == ("", 3000)


def lines_of(shown):
    """Return every state of a line of the terminal."""
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;]*[mK]", "", shown))


def test_a_terminal_gets_a_line_that_is_redrawn(on_terminal, points):
    seen = on_terminal("learn", points, "--passes", "20")

    assert seen.count("\r\x1b[K    ") >= 1
    assert seen.count("samples  accuracy") == 2  # the second one has training accuracy, too
    rows = re.findall(r"(?m)(?:^|\x1b\[K) +([\d,]+) [^\r]*\r\n", seen)
    assert rows == ["1,000", "2,000", "4,000", "8,000", "16,000", "32,000", "60,000"]
    assert seen.rstrip().endswith("model not saved; use -m MODEL to keep it")


def test_predictions_on_a_terminal_have_it_for_themselves(on_terminal, points):
    seen = on_terminal("learn", points, "--passes", "20", "-p", "-")

    assert "\x1b[K" not in seen
    assert len(re.findall(r'(?m)^\{"row": .*\}\r$', seen)) == 60_000


@pytest.mark.parametrize("columns", [15, 30, 60, 80, 120])
def test_no_line_of_the_table_is_wider_than_the_terminal(on_terminal, digits, columns):
    seen = on_terminal("learn", digits["train"], "--passes", "3", columns=columns)
    table = [line for line in lines_of(seen) if re.match(r" +(samples|[\d,]+)\b", line)]

    assert len(table) >= 3
    assert columns > max(map(len, table))
    # The bar shrinks first, then columns vanish.
    assert (columns == 120) == any("[###" in line for line in table)
    assert (columns >= 80) == any("left" in line for line in table)
    assert (columns > 60) == ("samples/s" in table[0])


def test_colours_are_for_terminals_and_go_with_no_color(on_terminal, run, tmp_path):
    source = tmp_path / "points.csv"
    source.write_text("a,label\n" + "300,x\n400,y\n" * 50)

    args = ["learn", source, "--no-standardize"]

    assert "\x1b[33m\x1b[1mwarning:\x1b[0m" in on_terminal(*args)
    assert "\x1b[3" not in on_terminal(*args, NO_COLOR="1")
    assert "\x1b" not in run(*args, check=0).stderr


def test_messages_break_between_words_and_json_does_not(on_terminal, tmp_path):
    source = tmp_path / "points.csv"
    source.write_text("a,label\n" + "300,x\n400,y\n" * 50)
    args = ["learn", source, "--no-standardize"]
    words = on_terminal(*args, columns=30, NO_COLOR="1").split()
    lines = lines_of(on_terminal(*args, "--json", columns=30, NO_COLOR="1"))

    assert "warning: unscaled features:" in " ".join(words)
    assert {"reaches", "square;", "--standardize"} <= set(words)
    events = [json.loads(line) for line in lines if line.startswith('{"kind"')]
    texts = [event["text"] for event in events if event["kind"] == "warning"]
    assert [text for text in texts if text.startswith("warning: unscaled features")]


def test_a_row_of_the_table_is_not_repeated_at_the_end(run, points):
    rows = re.findall(r"^ +[\d,]+ .*", run("learn", points, "--limit", 2000, check=0).stderr, re.M)

    assert [row.split()[0] for row in rows] == ["1,000", "2,000"]


def test_samples_without_labels_are_counted_in_one_line(run):
    result = run("learn", "-p", "-", input='{"a": 1}\n' * 3000, check=0)
    lines = [line for line in result.stderr.splitlines() if "3,000" in line]

    assert len(lines) == 1
    assert lines[0].startswith("3,000 rows predicted, none labeled (")
    assert "accuracy" not in result.stderr


def test_predictions_are_lines_of_json(run, points, tmp_path):
    args = ["learn", points, "--lr", 0.5, "--no-standardize", "-p"]
    run(*args, tmp_path / "p.jsonl", check=0)
    records = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    piped = run(*args, "-", "--quiet", check=0)
    model = SGDPerceptron(0.5, seed=0)

    assert piped.stdout == (tmp_path / "p.jsonl").read_text()
    assert records[0] == {
        "row": 1,
        "prediction": None,
        "probability": None,
        "label": records[0]["label"],
    }
    for i, ((x, y), record) in enumerate(
        zip(stream.iter_parquet(points), records, strict=True), start=1
    ):
        assert (i, y) == (record["row"], record["label"])
        if i > 1:
            probabilities = model.predict_proba_one(x)
            assert record["prediction"] == next(iter(probabilities))
            assert probabilities[record["prediction"]] == pytest.approx(record["probability"])
        model.learn_one(x, y)


def test_random_and_stop(run, digits):
    """With the learner's settings the textbook's loop stops early, at low accuracy."""
    options = ["--random", "--stop", "--lr", 0.05, "--epsilon", 0.01]
    result = run("learn", digits["train"], *options, check=0)
    again = run("learn", digits["train"], *options, "--json", check=0)
    other = run("learn", digits["train"], *options, "--seed", 1, "--json", check=0)

    assert re.search(
        r"stopped at sample [\d,]+: its error, [\d.e-]+, is below epsilon", result.stderr
    )
    assert summary(again)["stopped"]
    assert summary(again)["samples"] != summary(other)["samples"]
    assert summary(again)["samples"] == summary(again)["updates"] + 1 < 2000


def test_options_of_the_model_reach_it(run, points):
    model = SGDPerceptron(0.2, 0.01, "tanh", 0.5, ["right", "left", "none"], seed=9)
    metric = evaluate.progressive_val_score(
        stream.iter_parquet(points, scale=2.0, ignore=["b"]), model, metrics.Accuracy()
    )
    options = ["--lr", 0.2, "--epsilon", 0.01, "--activation", "tanh", "--init-range", 0.5,
               "--classes", "right,left,none", "--seed", 9,
               "--scale", "4/2", "--ignore", "b", "--label", "class"]  # fmt: skip
    figures = summary(run("learn", points, *options, "--json", check=0))

    assert metric.get() == figures["accuracy"]
    assert model.n_updates == figures["updates"] < 3000
    assert figures["classes"] == ["right", "left", "none"]


def test_weight_column(run, tmp_path, rng):
    x, y = rng.normal(size=500), rng.choice(["a", "b"], 500)
    path = tmp_path / "w.parquet"
    pq.write_table(pa.table({"x": x, "y": y, "w": rng.random(500)}), path)
    expected = evaluate.progressive_val_score(
        stream.iter_parquet(path, weight="w"), SGDPerceptron(0.5, seed=0), metrics.Accuracy()
    )
    args = ["--weight", "w", "--lr", 0.5, "--no-standardize"]
    result = run("learn", path, *args, "--json", check=0)

    assert summary(result)["accuracy"] == expected.get()


def test_skipped_rows_are_counted_and_listed(run, tmp_path):
    path = tmp_path / "bad.parquet"
    x = [float("nan") if i % 4 == 0 else float(i % 3) for i in range(100)]
    pq.write_table(pa.table({"x": x, "y": [i % 2 for i in range(100)]}), path)
    result = run("learn", path, "--skip-bad", check=0)
    figures = summary(run("learn", path, "--skip-bad", "--json", check=0))
    refused = run("learn", path, check=1)

    lines = result.stderr.splitlines()
    assert f"skipped: {path}: row 1: column 'x' is nan, not finite (and 24 more like it)" in lines
    assert "skipped: 25 of 100 rows, 25.0%" in lines
    assert (figures["samples"], figures["skipped"], len(figures["skipped_rows"])) == (75, 25, 10)
    assert (
        refused.stderr.splitlines()[-1]
        == f"Error: {path}: row 1: column 'x' is nan, not finite; --skip-bad skips such rows"
    )


def test_file_without_labels_is_only_predicted_and_says_so(run, tmp_path):
    path = tmp_path / "test.parquet"
    pq.write_table(pa.table({"x": [1.0, 2.0]}), path)
    result = run("learn", path, "-p", "-", check=0)

    assert "no label: rows are only predicted" in result.stderr
    assert [json.loads(line)["label"] for line in result.stdout.splitlines()] == [None, None]


def columns(**more):
    return {"x": [1.0, 2.0], "label": [0, 1], **more}


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
        (columns(pixels=[[1, 2], None]), [], "row 2: column 'pixels' is null"),
        (columns(x=[1.0, float("nan")]), [], "row 2: column 'x' is nan"),
        (columns(pixels=[[1, 2], [1]]), [], "row 2: column 'pixels' has 1 value, not 2"),
        (columns(), ["--label", "digit"], "no label column 'digit' among 'x', 'label'"),
        (columns(y=[1, 2]), [], "'label', 'y' could each be the label: choose with --label"),
        (columns(), ["--ignore", "z"], "no column 'z' among 'x', 'label'"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_exit_code_1(data, options, reason, run, tmp_path):
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


def test_truncated_file_is_one_line_and_exit_code_1(run, digits, tmp_path):
    path = tmp_path / "cut.parquet"
    path.write_bytes(digits["test"].read_bytes()[:100_000])
    result = run("learn", path, check=1)

    assert len(result.stderr.splitlines()) == 1
    assert "not a Parquet file, or truncated" in result.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--lr", "0"], "0 is not a finite number above 0"),
        (["--lr", "fast"], "'fast' is not a number"),
        (["--lr", "nan"], "nan is not a finite number above 0"),
        (["--epsilon", "-1"], "-1 is not a finite number of at least 0"),
        (["--epsilon", "inf"], "inf is not a finite number"),
        (["--scale", "1/0"], "'1/0' is not a number or a fraction such as 1/255"),
        (["--scale", "0"], "is not a number or a fraction"),
        (["--classes", "9-0"], "'9-0' is not a range such as 0-9"),
        (["--classes", "a,,b"], "not a list of different names"),
        (["--classes", "left,left"], "not a list of different names"),
        (["--classes", "a,b"], "class 'a' is not a whole number, but the labels are"),
        (["--seed", "-1"], "seed is -1: choose a whole number from 0 to 2^64 - 1"),
        (["--passes", "0"], "0 is not in the range"),
        (["--activation", "relu"], "choose sigmoid, tanh, arctan or identity"),
        (["--activation", "step"], "its derivative is zero, so every update would be zero"),
        (["--json", "-p", "-"], "both write to stdout"),
        (["--no-such-option"], "No such option"),
    ],
    ids=str,
)
def test_wrong_options_are_usage_errors(options, reason, run, tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(columns()), path)
    result = run("learn", path, *options, check=2)
    (line,) = result.stderr.splitlines()

    assert line.startswith("Error: ")
    assert line.endswith("; see stream-perceptron learn --help")
    assert reason in line


def test_traceback_shows_where_an_error_arose(run):
    result = run("learn", "missing.parquet", "--traceback", check=1)

    assert "Traceback" in result.stderr
    assert "SourceError" in result.stderr


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


def test_runs_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "stream_perceptron_cli", "--version"], capture_output=True, text=True
    )

    assert (result.returncode, result.stdout) == (0, f"stream-perceptron 0.1.0, kernel {NAME}\n")
