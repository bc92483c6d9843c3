from __future__ import annotations

import os
import subprocess

import pytest
from helpers import COMMAND, kill_process_group, load_recipe, require_tool


@pytest.fixture
def start_recipe(tmp_path, monkeypatch):
    """A function that starts a recipe with replaced texts; the recipe is killed at the end."""
    monkeypatch.setenv("PATH", f"{COMMAND.parent}:{os.environ['PATH']}")
    processes = []

    def start_process(name, error_file, *replacements, output=None):
        command = load_recipe(name)
        for old, new in replacements:
            assert old in command
            command = command.replace(old, new)
        with (tmp_path / error_file).open("w") as file:
            process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=tmp_path, stdout=output, stderr=file, start_new_session=True,
            )  # fmt: skip
        processes.append(process)
        return process

    yield start_process
    for process in processes:
        kill_process_group(process)


@pytest.fixture
def kafka():
    """A producer of librdkafka's mock broker, and the replacement of its address in recipes."""
    from confluent_kafka import Producer

    for tool in ("kcat", "jq"):
        require_tool(tool)
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics("predictions", timeout=30).brokers.values()
    yield producer, ("broker", f"{broker.host}:{broker.port}")
    producer.purge()
