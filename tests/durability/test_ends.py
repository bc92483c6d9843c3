"""Every run ends promptly and cleanly, with its model saved."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from helpers import COMMAND, start, wait_for

from stream_perceptron import LiveModel

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
ROWS = b"label,a\n" + b"left,1\nright,2\n" * 200_000


@pytest.mark.parametrize("signal_number", EXIT_CODES)
def test_signal_ends_a_run_whose_output_is_blocked(signal_number, tmp_path):
    """No process reads the predictions, so the run blocks while it writes them."""
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_bytes(ROWS)
    with start(
        source, "-m", path, "-p", "-", "--quiet", "--save-every", "100", stdout=subprocess.PIPE
    ) as process:
        wait_for(path.exists, process)
        before = -1
        while before != (now := LiveModel.load(path).progress.rows):
            before = now  # until it is blocked
            time.sleep(0.2)
        process.send_signal(signal_number)
        process.wait(10)

        assert (process.returncode, process.stderr.read()) == (EXIT_CODES[signal_number], "")
    assert before <= LiveModel.load(path).progress.rows < 400_000


@pytest.mark.parametrize("signal_number", EXIT_CODES)
def test_signal_ends_the_wait_for_a_fifo_reader(signal_number, tmp_path):
    source, fifo = tmp_path / "s.csv", tmp_path / "fifo"
    source.write_bytes(ROWS)
    os.mkfifo(fifo)
    with start(source, "-p", fifo, "--quiet") as process:
        process.send_signal(signal_number)

        assert process.wait(10) == EXIT_CODES[signal_number]


def test_sighup_saves_the_model_and_is_ignored_under_nohup(tmp_path):
    path = tmp_path / "m.npz"
    for command, code in (((COMMAND,), 129), (("nohup", COMMAND), None)):
        with start("-m", path, "--quiet", command=command, stdin=subprocess.PIPE,
                   stdout=subprocess.DEVNULL) as process:  # fmt: skip
            process.stdin.write("label,a\nleft,1\nright,2\n")
            process.stdin.flush()
            process.send_signal(signal.SIGHUP)
            if code is None:
                process.stdin.close()
                code = 0
            assert process.wait(60) == code

    assert LiveModel.load(path).progress.samples >= 2


@pytest.mark.parametrize("stderr_state", ["full", "closed", "unread"])
def test_run_continues_if_stderr_cannot_be_written(stderr_state, tmp_path, mnist_sample):
    path = tmp_path / "m.npz"
    command = [COMMAND, "learn", mnist_sample, "-m", path]
    if stderr_state == "full":
        with open("/dev/full", "wb") as full:
            code = subprocess.run(command, stderr=full).returncode
    elif stderr_state == "closed":
        code = subprocess.run(["bash", "-c", '"$@" 2>&-', "bash", *command]).returncode
    else:
        read_end, write_end = os.pipe()
        os.close(read_end)
        code = subprocess.run(command, stderr=write_end).returncode
        os.close(write_end)

    assert code == 0
    assert LiveModel.load(path).progress.samples == 5000


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["learn", "inspect", "predict", "--help"])
def test_only_closed_stdout_is_an_error(closed, command, tmp_path, mnist_sample, run):
    path = tmp_path / "m.npz"
    run("learn", mnist_sample, "-m", path, "--quiet", check=0)
    arguments = {
        "learn": ["learn", mnist_sample, "-m", path, "-p", "-", "--passes", "2"],
        "inspect": ["inspect", path],
        "predict": ["predict", mnist_sample, "-m", path],
        "--help": ["--help"],
    }[command]
    result = subprocess.run(
        ["bash", "-c", f'"$@" {closed}', "bash", COMMAND, *arguments],
        capture_output=True,
        text=True,
    )

    if ">&-" in closed.split():
        error = "" if "2>&-" in closed else "Error: stdout is closed\n"
        assert (result.returncode, result.stderr) == (1, error)
    else:
        assert result.returncode == 0, result.stderr
        assert "Error" not in result.stderr
    if ">&-" not in closed.split() and command in ("inspect", "predict"):
        assert result.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["learn", "--help"], ["--version"]])
def test_help_without_a_reader_ends_with_sigpipe(arguments):
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run([COMMAND, *arguments], stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)

    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, b"")


def test_closed_stdin_has_no_rows(tmp_path):
    result = subprocess.run(
        ["bash", "-c", '"$@" <&-', "bash", COMMAND, "learn"], capture_output=True, text=True
    )

    assert (result.returncode, result.stderr) == (1, "Error: stdin: it has no rows\n")


def test_predictions_file_has_each_row_exactly_once_after_kills(tmp_path, mnist_sample):
    path, output = tmp_path / "m.npz", tmp_path / "p.jsonl"
    command = [
        COMMAND,
        "learn",
        mnist_sample,
        "-m",
        path,
        "-p",
        output,
        "--save-every",
        "300",
        "--quiet",
    ]
    for _ in range(5):
        with subprocess.Popen(command) as process:
            wait_for(path.exists, process if not path.exists() else None)
            process.kill()
    subprocess.run(command, check=True)

    rows = [json.loads(line)["row"] for line in output.read_text().splitlines()]
    assert rows == list(range(1, 5001))
