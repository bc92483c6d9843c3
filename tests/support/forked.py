"""Run the command in a fork of a process that has already imported it.

A fork takes a tenth of the time of a new start, and is a real process with pipes and signals.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection

from stream_perceptron_cli.main import run

FORK_CONTEXT = multiprocessing.get_context("forkserver")
FORK_CONTEXT.set_forkserver_preload([
    "__main__", "forked", "pyarrow.parquet", "river.metrics", "stream_perceptron_cli.learn",
    "stream_perceptron.diagnostics",
])  # fmt: skip
MAX_SECONDS = 300


def become_command(arguments, descriptors, folder, seconds=MAX_SECONDS):
    """Turn this process into the command, with these stdin, stdout, stderr and a time limit."""
    os.chdir(folder)
    signal.alarm(seconds)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    sys.argv = ["stream-perceptron", *arguments]
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    run()


def run_child(arguments, environment, folder, connections):
    os.environ.clear()
    os.environ.update(environment)
    become_command(arguments, [connection.fileno() for connection in connections], folder)


def _read_output(connection):
    with open(connection.fileno(), closefd=False) as file:
        return file.read()


def _write_input(connection, text):
    with suppress(BrokenPipeError), open(connection.fileno(), "w", closefd=False) as file:
        file.write(text)
    connection.close()


def run_forked(arguments, input=None, stdin=None, cwd=None):  # noqa: A002
    """Run the command in a fork, with the result of `subprocess.run` in text mode."""
    stdin_reader, stdin_writer = FORK_CONTEXT.Pipe(duplex=False)
    stdout_reader, stdout_writer = FORK_CONTEXT.Pipe(duplex=False)
    stderr_reader, stderr_writer = FORK_CONTEXT.Pipe(duplex=False)
    if input is None:
        stdin_reader.close()
        stdin_reader = Connection(
            os.dup(stdin.fileno()) if stdin else os.open(os.devnull, os.O_RDONLY)
        )
    connections = (stdin_reader, stdout_writer, stderr_writer)
    process = FORK_CONTEXT.Process(
        target=run_child, args=(arguments, dict(os.environ), cwd or os.getcwd(), connections)
    )
    process.start()
    for connection in connections:
        connection.close()
    with ThreadPoolExecutor() as pool:
        pool.submit(_write_input, stdin_writer, input or "")
        outputs = list(pool.map(_read_output, (stdout_reader, stderr_reader)))
    process.join()
    return subprocess.CompletedProcess(arguments, process.exitcode, *outputs)
