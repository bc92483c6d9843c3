"""Every run ends soon, in order, and with its model saved."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from helpers import COMMAND, start, wait_for

from stream_perceptron import LiveModel

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
ROWS = b"label,a\n" + b"left,1\nright,2\n" * 200_000


@pytest.mark.parametrize("number", CODES)
def test_a_signal_ends_a_run_whose_output_is_blocked(number, tmp_path):
    """Nobody reads its predictions, so it waits to write them."""
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
        process.send_signal(number)
        process.wait(10)

        assert (process.returncode, process.stderr.read()) == (CODES[number], "")
    assert before <= LiveModel.load(path).progress.rows < 400_000


def test_rows_are_saved_in_time_though_the_output_is_blocked(tmp_path):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_bytes(ROWS)
    with start(
        source, "-m", path, "-p", "-", "--quiet", "--save-every", "1s", stdout=subprocess.PIPE
    ) as process:
        wait_for(path.exists, process)
        process.kill()

    assert LiveModel.load(path).progress.rows > 0


@pytest.mark.parametrize("number", CODES)
def test_a_signal_ends_the_wait_for_a_reader_of_a_fifo(number, tmp_path):
    source, fifo = tmp_path / "s.csv", tmp_path / "fifo"
    source.write_bytes(ROWS)
    os.mkfifo(fifo)
    with start(source, "-p", fifo, "--quiet") as process:
        process.send_signal(number)

        assert process.wait(10) == CODES[number]


def test_a_hangup_saves_unless_it_was_to_be_ignored(tmp_path):
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


@pytest.mark.parametrize("where", ["full", "closed", "unread"])
def test_a_run_goes_on_though_nothing_can_be_told(where, tmp_path, sample):
    path = tmp_path / "m.npz"
    command = [COMMAND, "learn", sample, "-m", path]
    if where == "full":
        with open("/dev/full", "wb") as full:
            code = subprocess.run(command, stderr=full).returncode
    elif where == "closed":
        code = subprocess.run(["bash", "-c", '"$@" 2>&-', "bash", *command]).returncode
    else:
        reading, writing = os.pipe()
        os.close(reading)
        code = subprocess.run(command, stderr=writing).returncode
        os.close(writing)

    assert code == 0
    assert LiveModel.load(path).progress.samples == 5000


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["learn", "inspect", "predict", "--help"])
def test_streams_that_are_closed_at_the_start(closed, command, tmp_path, sample, run):
    path = tmp_path / "m.npz"
    run("learn", sample, "-m", path, "--quiet", check=0)
    arguments = {
        "learn": ["learn", sample, "-m", path, "-p", "-", "--passes", "2"],
        "inspect": ["inspect", path],
        "predict": ["predict", sample, "-m", path],
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
def test_help_that_nobody_reads_ends_like_any_output_without_a_reader(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run([COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)

    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, b"")


def test_nothing_on_a_stdin_that_is_closed(tmp_path):
    result = subprocess.run(
        ["bash", "-c", '"$@" <&-', "bash", COMMAND, "learn"], capture_output=True, text=True
    )

    assert (result.returncode, result.stderr) == (1, "Error: stdin: it has no rows\n")


def test_predictions_in_a_file_are_there_exactly_once_after_kills(tmp_path, sample):
    path, output = tmp_path / "m.npz", tmp_path / "p.jsonl"
    command = [COMMAND, "learn", sample, "-m", path, "-p", output, "--save-every", "300", "--quiet"]
    for _ in range(5):
        with subprocess.Popen(command) as process:
            wait_for(path.exists, process if not path.exists() else None)
            process.kill()
    subprocess.run(command, check=True)

    rows = [json.loads(line)["row"] for line in output.read_text().splitlines()]
    assert rows == list(range(1, 5001))
