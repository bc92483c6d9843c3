"""The command, forked from a process that has imported it already.

This takes a tenth of the time of a start, and gives a real process with pipes and signals.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from stream_perceptron_cli.main import run

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([
    "__main__", "forked", "pyarrow.parquet", "river.metrics", "stream_perceptron_cli.learn",
    "stream_perceptron.diagnostics",
])  # fmt: skip
SECONDS = 300


def become(arguments, descriptors, folder, seconds=SECONDS):
    """Become the command with these descriptors as stdin, stdout and stderr, and a time limit."""
    os.chdir(folder)
    signal.alarm(seconds)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    sys.argv = ["stream-perceptron", *arguments]
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    run()


def _begin(arguments, environment, folder, ends):
    os.environ.clear()
    os.environ.update(environment)
    become(arguments, [end.fileno() for end in ends], folder)


def _read(end, shown, name):
    with open(end.fileno(), closefd=False) as file:
        shown[name] = file.read()


def _write(end, text):
    with suppress(BrokenPipeError), open(end.fileno(), "w", closefd=False) as file:
        file.write(text)
    end.close()


def run_forked(arguments, input=None, stdin=None, cwd=None):  # noqa: A002
    """Run the command like `subprocess.run` with text."""
    (given, feed), (out, told), (err, failed) = (FORKS.Pipe(duplex=False) for _ in range(3))
    if input is None:
        given.close()
        given = Connection(os.dup(stdin.fileno()) if stdin else os.open(os.devnull, os.O_RDONLY))
    process = FORKS.Process(
        target=_begin, args=(arguments, dict(os.environ), cwd or os.getcwd(), (given, told, failed))
    )
    process.start()
    for end in (given, told, failed):
        end.close()
    shown = {}
    threads = [
        threading.Thread(target=_write, args=(feed, input or "")),
        threading.Thread(target=_read, args=(out, shown, "stdout")),
        threading.Thread(target=_read, args=(err, shown, "stderr")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    process.join()
    return subprocess.CompletedProcess(arguments, process.exitcode, **shown)
