"""The command itself: mistyped commands and options, and shell completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from helpers import COMMAND


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["lern"], "No such command 'lern': did you mean learn?"),
        (["xyz\x1b"], "No such command 'xyz\\x1b': choose from learn, sweep, "),
        (["--hel"], "No such option '--hel'. Did you mean '--help'?"),
        (["learn", "--activatoin", "tanh"], "Did you mean '--activation'?"),
        (["learn", "--activation", "tan"], "choose sigmoid, tanh, arctan or identity"),
    ],
)
def test_mistyped_arguments_are_reported_in_one_line(arguments, error, run):
    result = run(*arguments, check=2)

    line, *help_command = result.stderr.splitlines()
    assert (result.stdout, len(help_command) <= 1) == ("", True)
    assert error in line
    if arguments[-1].startswith("--") or arguments[-1] == "tanh":
        assert "Did you mean" in result.stderr  # Click's own wording


def test_help_is_shown_without_a_command(run):
    result = run()
    assert "Commands:\n  learn " in result.stdout + result.stderr


def complete_last_word(command_line):
    """Return the completions that bash offers for the last word."""
    environment = os.environ | {
        "_STREAM_PERCEPTRON_COMPLETE": "bash_complete",
        "COMP_WORDS": command_line,
        "COMP_CWORD": str(command_line.count(" ")),
    }
    output = subprocess.run([COMMAND], env=environment, capture_output=True, text=True).stdout
    return [line.partition(",")[2] for line in output.splitlines() if line]


@pytest.mark.parametrize(
    ("command_line", "completions"),
    [
        ("stream-perceptron ver", ["verify"]),
        ("stream-perceptron verify m.npz --format p", ["parquet"]),
        ("stream-perceptron learn digits", ["digits"]),
    ],
)
def test_shell_completes_commands_and_choices(command_line, completions):
    assert completions == complete_last_word(command_line)


@pytest.mark.parametrize("package", ["stream_perceptron", "stream_perceptron_cli"])
def test_package_runs_as_a_module(package, run):
    command = [sys.executable, "-m", package, "--version"]

    assert run("--version", check=0).stdout == subprocess.check_output(command, text=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["learn", "digits.parquet", "-m"], ["predict", "digits.parquet", "-m"],
        ["evaluate", "digits.parquet", "-m"], ["inspect"], ["report"],
        ["average", "a.npz", "--base", "b.npz", "-o"], ["learn", "digits.parquet", "-p"],
        ["predict", "digits.parquet", "-m", "m.npz", "-p"],
    ],
)  # fmt: skip
def test_remote_models_and_outputs_are_rejected(arguments, run):
    result = run(*arguments, "s3://key:secret@bucket/m.npz", check=2)

    assert result.stderr.count("\n") == 2
    assert "s3://bucket/m.npz: models and outputs must be files on this machine" in result.stderr


@pytest.mark.parametrize(
    "args",
    [["evaluate", "f.csv"], ["predict", "f.csv"], ["average", "a.npz", "-o", "b.npz"],
     ["average", "a.npz", "--base", "b.npz"], ["convert", "a.npz"]],
    ids=" ".join,
)  # fmt: skip
def test_missing_required_option_is_an_error(args, run):
    result = run(*args, check=2)

    assert re.fullmatch(r"Error: Missing option '-.*'; for help:\n  .* --help\n", result.stderr)
