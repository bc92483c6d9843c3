"""Commands that wait for pipes, and models of tables with sources of other formats."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from helpers import COMMAND, count_unread_bytes, make_point_lines, start, wait_for

from stream_perceptron import LiveModel


def test_learn_waits_for_a_fifo_and_reads_it_to_the_end(tmp_path):
    header, lines = make_point_lines("csv", 100)
    fifo, path = tmp_path / "fifo", tmp_path / "m.npz"
    os.mkfifo(fifo)
    with subprocess.Popen([COMMAND, "learn", fifo, "-m", path, "--quiet"]) as process:
        with fifo.open("wb") as file:
            file.write(header + b"".join(lines))
        assert process.wait(60) == 0

    assert LiveModel.load(path).progress.rows == 100


def test_sigterm_ends_the_wait_for_a_fifo(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with start(fifo, "-m", tmp_path / "m.npz", "--quiet") as process:
        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == 143


def test_rows_are_saved_on_time_while_the_pipe_is_idle(tmp_path):
    path = tmp_path / "m.npz"
    command = [COMMAND, "learn", "-m", path, "--save-every", "1s", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        process.stdin.write(b"label,a\nleft,1\nright,2\n")
        process.stdin.flush()
        wait_for(path.exists)
        process.kill()

    assert LiveModel.load(path).progress.samples == 2


def test_predict_follows_a_process_that_learns(tmp_path):
    path = tmp_path / "m.npz"
    learner = subprocess.Popen(
        [COMMAND, "learn", "-m", path, "--lr", "1", "--save-every", "2", "--quiet"],
        stdin=subprocess.PIPE,
    )
    learner.stdin.write(b"label,a\nleft,1\nright,1\n")
    learner.stdin.flush()
    wait_for(path.exists)
    predictor = subprocess.Popen(
        [COMMAND, "predict", "-m", path, "--follow"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def predict():
        predictor.stdin.write('{"a": 1}\n')
        predictor.stdin.flush()
        return json.loads(predictor.stdout.readline())["prediction"]

    predict()
    for label in (b"right", b"left", b"right"):
        before = path.stat().st_mtime_ns
        learner.stdin.write((label + b",1\n") * 40)
        learner.stdin.flush()
        wait_for(lambda before=before: path.stat().st_mtime_ns > before)
        wait_for(lambda label=label: predict() == label.decode())
    for process in (learner, predictor):
        process.stdin.close()
        assert process.wait(60) == 0

    assert "reloaded" in predictor.stderr.read()
    predictor.stdout.close()
    predictor.stderr.close()


@pytest.fixture
def columns_model(tmp_path, run):
    path, source = tmp_path / "columns.npz", tmp_path / "columns.csv"
    source.write_text("label,a,b\nleft,1,2\nright,2,1\n")
    run("learn", source, "-m", path, "--quiet", check=0)
    return path


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a,b\n1,2\n", 0),
        ("b,a\n1,2\n", 0),
        ("a,b,c\n1,2,3\n", 0),
        ("b,a,name\n1,2,Smith\n", 0),
        ("1,2\n", 0),
        ("left,1,2\n", 0),
        ('{"a": 1, "b": 2, "name": "Smith"}\n', 0),
        ('{"a": 1}\n', 0),
        ("left a:1 b:2\n", 0),
        ("a\n1\n", "it lacks some of the model's features ('b')"),
        ("1,2,3,4\n", "it has 4 values without names, but the model has 3 columns, or 2 without"),
        ('{"a": 1, "c": 2}\n', 0),
        ('{"c": 2}\n', "it has none of the model's features"),
        ('{"pixels": [1, 2]}\n', "its features are not those read before"),
        ("[1, 2]\n", "it is a list, but the model's columns have names: write an object"),
        ('{"x": [1, 2]}\n', "it is a list, but the model's columns have names"),
        ("left a:1 c:2\n", 0),
        ("left c:2\n", "it has none of the model's features"),
    ],
)
def test_model_of_columns_accepts_or_rejects_rows_of_any_format(text, error, columns_model, run):
    result = run("predict", "-m", columns_model, input=text)

    has_unknown_column = any(cell in text for cell in (",c", '"c"', " c:"))
    warning = "warning: 'c' is not in the model and is ignored\n" if has_unknown_column else ""
    if error == 0:
        assert (result.returncode, result.stderr) == (0, warning)
        assert json.loads(result.stdout)["prediction"] in ("left", "right")
    else:
        assert result.returncode == 1
        assert error in result.stderr


def test_evaluate_reads_pipes(columns_model, run):
    text = "label,a,b\nleft,1,2\nright,2,1\n,3,3\n"
    figures = json.loads(run("evaluate", "-m", columns_model, "--json", input=text, check=0).stdout)

    assert (figures["samples"], figures["unlabeled"]) == (2, 1)


def test_format_option_overrides_the_inferred_format(tmp_path, run):
    """A LIBSVM line with text names looks like CSV that contains a colon."""
    source = tmp_path / "source"
    source.write_text("a b:1\n")
    run("learn", source, "--format", "libsvm", "--quiet", check=0)
    result = run("learn", source, "--format", "csv", check=1)
    unknown_format = run("learn", source, "--format", "xml", check=2)

    assert result.stderr == f"Error: {source}: it has no rows\n"
    assert "parquet" in unknown_format.stderr


def test_limit_of_a_pipe_counts_the_rows_of_one_run(tmp_path):
    command = [COMMAND, "learn", "-m", tmp_path / "m.npz", "--limit", "2", "--quiet"]
    for expected in (2, 4):
        subprocess.run(command, input=b"label,a\nleft,1\nright,2\nleft,3\n", check=True)
        assert LiveModel.load(tmp_path / "m.npz").progress.samples == expected


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_evaluate_reports_the_tested_samples_after_a_signal(options, columns_model):
    with start(
        "-m", columns_model, *options, subcommand="evaluate",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        send_and_interrupt(process, "label,a,b\nleft,1,2\nright,2,1\nleft,")
        shown, errors = process.stdout.read(), process.stderr.read()

    assert process.returncode == 143
    assert "stdin: 5 bytes were lost" in errors
    if options:
        assert tuple(json.loads(shown)[name] for name in ("samples", "interrupted")) == (2, True)
    else:
        assert "interrupted: not all samples were tested" in shown
        assert "2 samples" in shown


def test_rows_are_learned_without_a_reader_of_predictions(tmp_path):
    fifo, path = tmp_path / "fifo", tmp_path / "m.npz"
    os.mkfifo(fifo)
    with start("-m", path, "-p", fifo, "--quiet", stdin=subprocess.PIPE) as process:
        send_and_interrupt(process, "label,a\nleft,1\nright,2\n")
        errors = process.stderr.read()
    live = LiveModel.load(path)

    assert (process.returncode, errors) == (143, "")
    assert live.progress.samples == 2


def send_and_interrupt(process, text):
    """Send a text to a process, and SIGTERM when the process has read all of it."""
    process.stdin.write(text)
    process.stdin.flush()
    wait_for(lambda: count_unread_bytes(process.stdin.fileno()) == 0)
    process.send_signal(signal.SIGTERM)
