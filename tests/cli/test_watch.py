"""A run in a process of its own is explained if it ends without a message."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

WATCH = """
import os, signal, sys, time
from stream_perceptron_cli.terminal import OneLineError
from stream_perceptron_cli.watch import run_in_child_process

def end_on_signal():
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(7))
    time.sleep(0.5)  # until the parent forwards signals
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)

try:
    sys.exit(run_in_child_process(lambda: {run}, "lost"))
except OneLineError as error:
    print(error.message)
"""


@pytest.mark.parametrize(
    ("run", "code", "printed"),
    [
        ("sys.exit(3)", 3, ""),
        ("end_on_signal()", 7, ""),
        ("os._exit(1)", 0, "lost\n"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 0, "lost\n"),
        ("1 / 0", 1, ""),
    ],
)
def test_child_returns_its_code_or_is_explained(run, code, printed):
    script = textwrap.dedent(WATCH.format(run=run))
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50
    )

    assert (result.returncode, result.stdout) == (code, printed)
    assert ("ZeroDivisionError" in result.stderr) == (run == "1 / 0")
