from __future__ import annotations

import os
import subprocess

import pytest
from helpers import COMMAND, end_group, recipe


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A function that starts a recipe in its own folder, with texts replaced; killed at the end."""
    monkeypatch.setenv("PATH", f"{COMMAND.parent}:{os.environ['PATH']}")
    started = []

    def run(name, errors, *replaced, output=None):
        command = recipe(name)
        for old, new in replaced:
            assert old in command
            command = command.replace(old, new)
        with (tmp_path / errors).open("w") as file:
            process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=tmp_path, stdout=output, stderr=file, start_new_session=True,
            )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        end_group(process)
