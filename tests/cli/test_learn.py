"""The command `learn`: progress, summary, options and errors."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import time

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import run_with_peak_memory
from river import evaluate, metrics

from stream_perceptron import RecordEncoder, SGDPerceptron, stream
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron_cli.learn import learn
from stream_perceptron_cli.main import COMMANDS, main


def parse_summary(result):
    return json.loads(result.stdout)


@pytest.fixture
def points_path(tmp_path, rng):
    X = rng.normal(size=(3000, 2))
    y = np.where(X[:, 0] > 0, "right", "left")
    path = tmp_path / "points.parquet"
    pq.write_table(pa.table({"a": X[:, 0], "b": X[:, 1], "class": y}), path)
    return path


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path, rng, report_figure):
    """Ten times as many rows, in one row group, need at most a tenth more memory."""
    peaks = []
    for n in (100_000, 1_000_000):
        X = rng.integers(0, 256, (n, 64), np.uint8)
        pixels = pa.FixedSizeBinaryArray.from_buffers(pa.binary(64), n, [None, pa.py_buffer(X)])
        path = tmp_path / f"{n}.parquet"
        table = pa.table({"pixels": pixels, "label": X[:, 0] // 128})
        pq.write_table(table, path, row_group_size=n, use_dictionary=False)
        peaks.append(run_with_peak_memory("learn", path, "--quiet")[1])

    report_figure(
        f"peak memory at 100,000 and 1,000,000 rows: {peaks[0]:.0f} and {peaks[1]:.0f} MB"
    )
    assert peaks[1] < 1.1 * peaks[0] < 200


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


def test_bar_of_a_resumed_pipe_shows_the_rows_of_this_run(run_on_terminal, tmp_path):
    path, model = tmp_path / "points.csv", tmp_path / "m.npz"
    path.write_text("a,label\n" + "1,x\n2,y\n" * 100_000)
    outputs = []
    for limit in ("200000", "150000"):
        with path.open() as file:
            outputs.append(
                run_on_terminal("learn", "-m", model, "--limit", limit, stdin=file, columns=120)
            )
    shares = [list(map(int, re.findall(r"(-?\d+)%, ", text))) for text in outputs]

    assert all(0 <= share <= 100 for share in shares[1])
    assert len(shares[1]) > 0


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
    assert (columns >= 80) == any("[#" in line for line in table)
    assert (columns >= 60) == any("left" in line for line in table)
    assert (columns > 30) == ("samples/s" in table[0])


def test_messages_on_a_terminal_have_colors_and_wrap_between_words(run_on_terminal, run, tmp_path):
    """Lines of JSON do not wrap, and neither NO_COLOR nor a pipe gets colors."""
    source = tmp_path / "points.csv"
    source.write_text("a,label\n" + "300,x\n400,y\n" * 50)
    args = ["learn", source, "--no-standardize"]
    output = run_on_terminal(*args, columns=30, NO_COLOR="1")
    lines = split_terminal_lines(run_on_terminal(*args, "--json", columns=30))
    events = [json.loads(line) for line in lines if line.startswith('{"kind"')]

    assert "\x1b[33m\x1b[1mwarning:\x1b[0m" in run_on_terminal(*args)
    assert "\x1b[3" not in output
    assert "\x1b" not in run(*args, check=0).stderr
    assert "warning: unscaled features:" in " ".join(output.split())
    assert {"reaches", "square;", "--standardize"} <= set(output.split())
    assert any(event["text"].startswith("unscaled features") for event in events)


def test_options_are_passed_to_the_model(run, points_path):
    model = SGDPerceptron(0.2, 0.01, "tanh", 0.5, ["right", "left", "none"], seed=9)
    metric = evaluate.progressive_val_score(
        stream.iter_parquet(points_path, ignore=["b"]),
        RecordEncoder(scale=2.0) | model,
        metrics.Accuracy(),
    )
    options = ["--lr", 0.2, "--epsilon", 0.01, "--activation", "tanh", "--init-range", 0.5,
               "--classes", "right,left,none", "--seed", 9,
               "--scale", "4/2", "--ignore", "b", "--label", "class"]  # fmt: skip
    start = time.perf_counter()
    figures = parse_summary(run("learn", points_path, *options, "--json", check=0))
    elapsed = time.perf_counter() - start

    assert metric.get() == figures["accuracy"]
    assert model.n_updates == figures["updates"] < 3000
    assert figures["classes"] == ["right", "left", "none"]
    assert 0 <= figures["seconds"] < elapsed


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


def test_options_have_the_defaults_of_python():
    defaults = {option.name: option.default for option in learn.params}
    parameters = inspect.signature(SGDPerceptron).parameters

    for name in ("epsilon", "activation", "init_range", "max_weights"):
        assert defaults[name] == parameters[name].default
    assert defaults["max_pending"] == ReadOptions().max_pending


def test_every_command_and_option_has_help():
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)

        assert command.help
        for option in command.params:
            assert isinstance(option, click.Argument) or option.help, (name, option.name)
