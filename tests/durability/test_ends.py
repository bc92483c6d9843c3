"""Every run ends promptly and cleanly, with its model saved."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from helpers import COMMAND, count_samples, count_unread_bytes, start, wait_for

from stream_perceptron import LiveModel


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_a_run_whose_output_is_blocked(number, tmp_path):
    """No process reads the predictions, so the run blocks while it writes them."""
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_bytes(b"label,a\n" + b"left,1\nright,2\n" * 200_000)
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

        assert (process.returncode, process.stderr.read()) == (128 + number, "")
    assert before <= LiveModel.load(path).progress.rows < 400_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("share", [0, 0.5])
def test_signal_while_waiting_for_stdin_leaves_the_checkpoint(
    share, number, mnist_sample, tmp_path, run
):
    path, data = tmp_path / "m.npz", mnist_sample.read_bytes()
    run("learn", mnist_sample, "-m", path, "--quiet", check=0)
    before = path.read_bytes()
    with start("-", "-m", path, "--quiet", stdin=subprocess.PIPE) as process:
        process.stdin.buffer.write(data[: int(share * len(data))])
        process.stdin.flush()
        time.sleep(0.3)
        process.send_signal(number)

        # The pipe stays open, so only the signal can end the wait.
        assert (process.wait(60), process.stderr.read()) == (128 + number, "")
    assert path.read_bytes() == before


@pytest.mark.parametrize("subcommand", ["learn", "predict", "evaluate"])
def test_signal_within_a_line_that_does_not_end_ends_the_run(subcommand, tmp_path, run):
    """A byte arrives every 10 ms, so the run never waits for long."""
    model = tmp_path / "m.npz"
    run("learn", "-m", model, "-q", input="label,a\nleft,1\nright,2\n", check=0)
    with start("-m", model, subcommand=subcommand, stdin=subprocess.PIPE,
               stdout=subprocess.DEVNULL) as process:  # fmt: skip
        process.stdin.write("label,a\nleft,1\nri")
        process.stdin.flush()
        wait_for(lambda: count_unread_bytes(process.stdin.fileno()) == 0, process)
        process.send_signal(signal.SIGTERM)
        with suppress(BrokenPipeError):
            for _ in range(300):
                os.write(process.stdin.fileno(), b"g")
                time.sleep(0.01)
            pytest.fail("the run goes on")
        errors = process.stderr.read()

    assert process.returncode == 143, errors
    assert "bytes were lost" in errors


def test_verify_refuses_a_pipe_without_waiting_for_a_writer(tmp_path, run):
    model, pipe = tmp_path / "m.npz", tmp_path / "pipe"
    run("learn", "-m", model, "-q", input="label,a\nleft,1\nright,2\n", check=0)
    os.mkfifo(pipe)

    assert "can be read only once" in run("verify", model, pipe, check=1).stderr


def test_sighup_is_ignored_under_nohup(tmp_path):
    path = tmp_path / "m.npz"
    with start("-m", path, "--quiet", command=("nohup", COMMAND), stdin=subprocess.PIPE,
               stdout=subprocess.DEVNULL) as process:  # fmt: skip
        process.stdin.write("label,a\nleft,1\nright,2\n")
        process.stdin.flush()
        process.send_signal(signal.SIGHUP)
        process.stdin.close()
        assert process.wait(60) == 0

    assert count_samples(path) == 2


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2> >(:)"])
def test_run_continues_if_stderr_cannot_be_written(redirection, tmp_path, mnist_sample):
    path = tmp_path / "m.npz"
    command = ["bash", "-c", f'"$@" {redirection}', "bash", COMMAND, "learn", mnist_sample]

    assert subprocess.run([*command, "-m", path]).returncode == 0
    assert count_samples(path) == 5000


@pytest.mark.parametrize(
    "arguments",
    ["--help", "learn --help", "--version", "inspect m.npz", "evaluate digits -m m.npz",
     "learn digits -p - -q"],
)  # fmt: skip
def test_output_without_a_reader_ends_quietly(arguments, mnist_sample, tmp_path, run):
    (tmp_path / "digits").write_bytes(mnist_sample.read_bytes())
    run("learn", mnist_sample, "-m", tmp_path / "m.npz", "-q", check=0)
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [COMMAND, *arguments.split()], stdout=write_end, stderr=subprocess.PIPE, cwd=tmp_path
    )
    os.close(write_end)

    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_sigint_during_a_save_prints_a_notice_and_the_next_ends_the_run(
    first, mnist_sample, tmp_path
):
    """The save hangs, and the last checkpoint stays intact."""
    path = tmp_path / "model.npz"
    subprocess.run([COMMAND, "learn", mnist_sample, "-m", path, "--quiet"], check=True)
    before = path.read_bytes()
    script = (
        "import os, sys, time\n"
        "from stream_perceptron_cli.main import main\n"
        "from stream_perceptron.checkpoint import atomic\n"
        "def hang(*args):\n"
        "    print('hanging', flush=True)\n"
        "    while True: time.sleep(0.01)\n"
        "atomic.os.replace = hang\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script]
    options = ["-m", path, "--passes", "9"]
    with start(mnist_sample, *options, command=command, stdout=subprocess.PIPE) as process:
        assert process.stderr.readline().startswith("resuming")
        process.send_signal(first)
        assert process.stdout.readline() == "hanging\n"
        process.send_signal(signal.SIGINT)
        notice = next(line for line in process.stderr if line.startswith("saving"))
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.wait(10)

        assert notice == "saving; press Ctrl-C again to end without saving\n"
        assert (process.returncode, process.stderr.read()) == (130, "")
    assert path.read_bytes() == before


def test_interrupted_run_without_a_model_reports_that_nothing_is_saved(mnist_sample):
    process = start(mnist_sample, "--passes", "1000")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert errors.rstrip().endswith("model not saved; use -m MODEL to keep it")


def test_terminal_on_stdin_gets_a_hint(tmp_path):
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "learn", "-m", tmp_path / "m.npz"], stdin=terminal, stderr=subprocess.PIPE
    )
    os.write(controller, b"label,a\nleft,1\nright,2\n\x04")
    _, errors = process.communicate(timeout=60)
    os.close(controller)
    os.close(terminal)

    notice = b"reading samples from the terminal, one per line; press Ctrl-D to end\n"
    assert errors.startswith(notice)
    assert LiveModel.load(tmp_path / "m.npz").progress.samples == 2
