"""The recipes for brokers and connections in docs/, run unchanged on this machine."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from helpers import (
    CASE_FACTOR,
    count_samples,
    encode_jsonl,
    find_free_port,
    is_listening,
    kill_process_group,
    require_tool,
    wait_for,
)

from stream_perceptron import LiveModel

MESSAGES = [{"x": [i % 7, i % 5], "y": i % 2} for i in range(900)]


@pytest.fixture
def address(kafka):
    """The replacement of the broker's address, with the messages in three partitions."""
    producer, replacement = kafka
    for i, message in enumerate(MESSAGES):
        producer.produce("digits", json.dumps(message).encode(), partition=i % 3)
    assert producer.flush(30) == 0
    return replacement


def test_kafka_messages_are_learned_once_despite_kills(address, start_recipe, tmp_path):
    """The recipe is ended by SIGKILL and SIGTERM in turn."""
    path, errors, n_ends = tmp_path / "topic.npz", tmp_path / "errors", 0
    while n_ends < 4 or count_samples(path) < 900:
        number, code = ((signal.SIGKILL, -9), (signal.SIGTERM, 143))[n_ends % 2]
        process = start_recipe("kafka", "errors", address)
        # The roles of columns are printed after the first rows, and the position last.
        wait_for(lambda: "position: partition, offset" in errors.read_text(), process)
        process.send_signal(number)
        assert process.wait(60) == code, errors.read_text()
        kill_process_group(process)  # the consumer's input
        n_ends += 1
    live = LiveModel.load(path)

    assert live.progress.samples == 900
    assert live.state.redeliveries.offsets == {("0",): 299, ("1",): 299, ("2",): 299}


def read_labels(path):
    """Return the labels in the complete lines of a file of predictions."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line)["label"] for line in lines]


# The server, the client that publishes a sample, and another one that receives predictions.
BROKERS = {
    "redis": (
        "redis-server --bind 127.0.0.1 --port {}", "redis-cli -h 127.0.0.1 -p {} PUBLISH samples",
        "true",
    ),
    "mqtt": (
        "mosquitto -p {}", "mosquitto_pub -h 127.0.0.1 -p {} -t samples -m",
        "mosquitto_sub -h 127.0.0.1 -p {} -t predictions",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKERS)
def test_published_samples_are_predicted(name, start_recipe, tmp_path):
    port, answers = find_free_port(), tmp_path / "answers.jsonl"
    server, publisher, subscriber = (words.format(port).split() for words in BROKERS[name])
    for words in (server, publisher, subscriber):
        require_tool(words[0])
    with (tmp_path / "log").open("w") as log, answers.open("w") as output, ExitStack() as stack:
        for words, stdout in ((server, log), (subscriber, output)):
            process = subprocess.Popen(words, stdout=stdout, stderr=log, cwd=tmp_path)
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
            wait_for(lambda: is_listening(port))
        process = start_recipe(name, "errors", (f"-h {name}", f"-h 127.0.0.1 -p {port}"))
        # The first sample is sent until it is received.
        messages = [*MESSAGES[1:20], {"x": [0, 0], "y": 7}]
        while not read_labels(answers):
            subprocess.run([*publisher, json.dumps(MESSAGES[0])], check=True, capture_output=True)
            time.sleep(0.05)
        for message in messages:
            subprocess.run([*publisher, json.dumps(message)], check=True, capture_output=True)
        wait_for(lambda: 7 in read_labels(answers), process)

    assert read_labels(answers)[-20:] == [message["y"] for message in messages]


def test_concurrent_tcp_connections_tear_no_line(start_recipe, tmp_path):
    """TCP segments may end within a line, and a connection may be lost there."""
    require_tool("socat")
    port, predictions = find_free_port(), tmp_path / "answers"
    n, ports = 200 * CASE_FACTOR, ("TCP-LISTEN:9000", f"TCP-LISTEN:{port}")
    with predictions.open("w") as output:
        process = start_recipe("socat", "errors", ports, output=output)
    wait_for(lambda: is_listening(port), process)

    def send(writer):
        rng = random.Random(writer)
        samples = [{"id": f"{writer}-{i}", "x": [i % 7, i % 5], "label": i % 2} for i in range(n)]
        data = encode_jsonl(sample | {"note": "n" * rng.randrange(4000)} for sample in samples)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data:
                size = rng.choice([1, 100, 5000, 50_000])
                client.sendall(data[:size])
                data = data[size:]

    with socket.create_connection(("127.0.0.1", port)) as lost_client:
        lost_client.sendall(b'{"id": "lost", "x": [1, 2')
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
    wait_for(lambda: predictions.read_bytes().count(b"\n") >= 8 * n, process)
    kill_process_group(process)

    ids = [json.loads(line)["id"] for line in predictions.read_text().splitlines()]
    # The lines of each connection keep their order.
    assert sorted(ids, key=lambda name: name[0]) == [f"{w}-{i}" for w in range(8) for i in range(n)]
