"""Each heading of a page beside this file begins a session in a shell, which must go as shown.

A block begins with a command after `$ `; its output and `[code]`, unless the code is 0, follow. In
expected lines, `...` stands for any text, and a line `...` for any lines. The commands before the
first heading prepare the folder of each session. With UPDATE_CONSOLE=1, what differs is written
anew.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from command_server import serve_commands

FOLDER = Path(__file__).parent
BLOCK = re.compile(r"(?ms)^```console\n(.*?)^```$")
SPEED = re.compile(r"(?m)(?<=%|d) +[\d,]+$|[\d,]+(?= rows/s)")  # at the end of a row of progress
COMMAND_AND_OUTPUT = re.compile(r"(?m)^\$ (.*(?:\n> .*)*)\n((?:(?!\$ ).*\n)*)")


def split_page(path):
    """Return the blocks before the first heading, and the sessions by heading."""
    preparation, *sessions = re.split(r"(?m)^## ", path.read_text())
    return BLOCK.findall(preparation), {
        session.partition("\n")[0]: BLOCK.findall(session) for session in sessions
    }


SESSIONS = [
    pytest.param(path, title, id=f"{path.stem}: {title}")
    for path in sorted(FOLDER.glob("*.md"))
    for title in split_page(path)[1]
]


@pytest.fixture(scope="session")
def shell_environment(tmp_path_factory):
    """The environment of a shell that runs the command in a fork of this process's server."""
    with serve_commands(tmp_path_factory.mktemp("bin")) as environment:
        yield os.environ | environment


def run_block(block, folder, environment):
    """Run the commands of a block; return the block with their output."""
    lines = []
    for command, expected in COMMAND_AND_OUTPUT.findall(block):
        result = subprocess.run(
            ["bash", "-c", command.replace("\n> ", "\n")], cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=300,
        )  # fmt: skip
        code = f"[{result.returncode}]\n" if result.returncode else ""
        output = result.stdout + code
        shown = expected if matches(expected, output) else SPEED.sub("...", output)
        lines.append(f"$ {command}\n{shown}")
    return "".join(lines)


def matches(expected, output):
    """Whether an output is as expected."""
    pattern = re.escape(expected).replace(r"\n\.\.\.\n", r"\n(?:.*\n)*?").replace(r"\.\.\.", ".*")
    return re.fullmatch(pattern, output) is not None


@pytest.mark.parametrize(("path", "title"), SESSIONS)
def test_session(path, title, shell_environment, tmp_path):
    preparation, sessions = split_page(path)
    for block in preparation:
        assert run_block(block, tmp_path, shell_environment) == block
    actual = [run_block(block, tmp_path, shell_environment) for block in sessions[title]]

    if os.environ.get("UPDATE_CONSOLE"):
        page = path.read_text()
        for block, new in zip(sessions[title], actual, strict=True):
            page = page.replace(block, new)
        path.write_text(page)
    assert actual == sessions[title]
