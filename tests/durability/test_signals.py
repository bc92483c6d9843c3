"""SIGINT and SIGTERM end a run cleanly while it works or waits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from helpers import CASE_FACTOR, COMMAND, start

from stream_perceptron import LiveModel

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.slow
def test_signal_while_waiting_for_stdin_leaves_the_checkpoint(
    mnist_files, mnist_sample, tmp_path, report_figure
):
    """The pipe sends nothing, or half a file; the checkpoint stays as it was."""
    rng = random.Random(1)
    path = tmp_path / "model.npz"
    subprocess.run([COMMAND, "learn", mnist_files["test"], "-m", path, "--quiet"], check=True)
    before = path.read_bytes()
    data = mnist_sample.read_bytes()
    counts = dict.fromkeys(EXIT_CODES, 0)
    for i in range(6 * CASE_FACTOR):
        signal_number = rng.choice(list(EXIT_CODES))
        with start("-", "-m", path, "--quiet", stdin=subprocess.PIPE) as process:
            process.stdin.buffer.write(data[: len(data) * (i % 3) // 4])
            process.stdin.flush()
            time.sleep(rng.uniform(0, 0.5))
            process.send_signal(signal_number)
            # The pipe stays open, so only the signal can end the wait.
            errors = process.stderr.read()

        assert (process.returncode, errors) == (EXIT_CODES[signal_number], "")
        assert path.read_bytes() == before
        counts[signal_number] += 1
    with mnist_sample.open("rb") as file:
        result = subprocess.run(
            [COMMAND, "learn", "-", "-m", path, "--quiet", "--json"], stdin=file,
            capture_output=True, check=True,
        )  # fmt: skip

    report_figure(f"signals while waiting: {sum(counts.values())}: {counts}")
    assert json.loads(result.stdout)["samples"] == 15_000
    assert min(counts.values()) > 0


def test_rows_read_from_a_pipe_are_learned_before_the_run_ends(tmp_path, report_figure):
    """The other rows stay in the pipe for the next reader."""
    rng = random.Random(2)
    lines = b"left,0.5,1\nright,1,0.5\n" * 1_500_000
    row_counts = []
    for i in range(10):
        path = tmp_path / f"{i}.npz"
        read_end, write_end = os.pipe()

        def write(write_end=write_end):
            with os.fdopen(write_end, "wb") as file:
                file.write(b"label,a,b\n" + lines)

        with start("-m", path, "--quiet", stdin=read_end) as process:
            writer = threading.Thread(target=write)
            writer.start()
            time.sleep(rng.uniform(0, 0.5))
            process.send_signal(signal.SIGTERM)
            assert process.stderr.read() == ""
        with os.fdopen(read_end, "rb") as file:
            n_unread = file.read().count(b"\n")
        writer.join()

        assert process.returncode == 143
        rows = LiveModel.load(path).progress.rows if path.exists() else 0
        assert rows + n_unread == 3_000_000 + (not path.exists())
        row_counts.append(rows)
    report_figure(
        f"signals at a pipe: {min(row_counts):,} to {max(row_counts):,} of 3,000,000 learned"
    )
    assert max(row_counts) > 0


@pytest.mark.parametrize("first", EXIT_CODES)
def test_sigint_during_a_save_prints_a_notice_and_the_next_ends_the_run(
    first, mnist_files, tmp_path
):
    """The save hangs, and the last checkpoint stays intact."""
    path = tmp_path / "model.npz"
    subprocess.run([COMMAND, "learn", mnist_files["test"], "-m", path, "--quiet"], check=True)
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
    with start(mnist_files["test"], *options, command=command, stdout=subprocess.PIPE) as process:
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


def test_rows_of_a_pipe_are_saved_after_a_second_sigint(tmp_path):
    path = tmp_path / "model.npz"
    with start("-m", path, "-p", "-", "--quiet", stdin=subprocess.PIPE,
               stdout=subprocess.PIPE) as process:  # fmt: skip
        process.stdin.write("label,a\n" + "left,1\nright,2\n" * 50_000)
        process.stdin.flush()
        process.stdout.readline()
        for _ in range(2):
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert errors in ("", "saving; press Ctrl-C again to end without saving\n")
    assert LiveModel.load(path).progress.rows > 0


def test_second_sigint_ends_a_run_without_a_model_at_once(tmp_path):
    with start("-p", "-", "--quiet", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write("label,a\n" + "left,1\nright,2\n" * 50_000)
        process.stdin.flush()
        for _ in range(2):
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert process.returncode == 130


def test_interrupted_run_without_a_model_reports_that_nothing_is_saved(mnist_files):
    process = start(mnist_files["train"], "--passes", "100")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert errors.rstrip().endswith("model not saved; use -m MODEL to keep it")
