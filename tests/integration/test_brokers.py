"""The recipes for brokers and connections in docs/, run unchanged on this machine."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

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


@pytest.fixture(scope="module")
def kafka_option():
    """The kcat option for librdkafka's mock broker, with the messages in three partitions."""
    from confluent_kafka import Producer

    require_tool("kcat")
    require_tool("jq")
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=30).brokers.values()
    for i, message in enumerate(MESSAGES):
        producer.produce("digits", json.dumps(message).encode(), partition=i % 3)
    assert producer.flush(30) == 0
    yield f"-b {broker.host}:{broker.port}"
    producer.purge()


def test_kafka_messages_are_learned_once_despite_kills(
    kafka_option, start_recipe, tmp_path, report_figure
):
    """The recipe is ended by SIGKILL and SIGTERM in turn."""
    path, errors = tmp_path / "topic.npz", tmp_path / "errors"
    orderly_ends = kills = 0

    def run_until_signal(number):
        process = start_recipe("kafka", "errors", ("-b broker", kafka_option))
        # The roles of columns are printed after the first rows, and the position last.
        wait_for(lambda: "position: partition, offset" in errors.read_text(), process)
        process.send_signal(number)
        assert process.wait(60) == (143 if number == signal.SIGTERM else -9), errors.read_text()
        kill_process_group(process)  # the consumer's input

    while not path.exists() or count_samples(path) < 900:
        run_until_signal(signal.SIGKILL)
        kills += 1
        run_until_signal(signal.SIGTERM)
        orderly_ends += 1
    run_until_signal(signal.SIGTERM)
    live = LiveModel.load(path)

    report_figure(
        f"Kafka topic: {kills} kills, {orderly_ends + 1} other ends, each message learned once"
    )
    assert live.progress.samples == 900
    assert live.redeliveries.offsets == {("0",): 299, ("1",): 299, ("2",): 299}


def test_parallel_learners_of_a_topic_skip_redelivered_messages(
    kafka_option, start_recipe, tmp_path, run
):
    """Each learner receives the messages of the base again, and skips them."""
    with (tmp_path / "begin.jsonl").open("w") as file:
        for i, message in enumerate(MESSAGES[:300]):
            file.write(json.dumps(message | {"partition": i % 3, "offset": i // 3}) + "\n")
    base = tmp_path / "topic.npz"
    options = ["--position", "partition,offset"]
    run("learn", tmp_path / "begin.jsonl", "-m", base, *options, check=0)
    process = start_recipe("kafka-many", "errors", ("-b broker", kafka_option))
    assert process.wait(120) == 0, (tmp_path / "errors").read_text()
    live = LiveModel.load(tmp_path / "mean.npz")

    assert (count_samples(base), live.progress.samples) == (300, 900)
    assert [count_samples(tmp_path / f"part-{part}.npz") for part in range(3)] == [500] * 3
    assert live.redeliveries.offsets == {("0",): 299, ("1",): 299, ("2",): 299}


@pytest.fixture
def start_server(tmp_path):
    """A function that starts a server on a local port and returns the options of its clients."""
    started = []

    def start(command, port):
        log = (tmp_path / "log").open("w")
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
        log.close()
        started.append(process)
        wait_for(lambda: is_listening(port), process)
        return f"-h 127.0.0.1 -p {port}"

    yield start
    for process in started:
        process.terminate()
        process.wait(60)


def publish_samples(command, is_received):
    """Publish one sample until it is received, then other samples, and one with label 7."""
    sample = json.dumps(MESSAGES[0])
    while not is_received():
        subprocess.run([*command, sample], check=True, capture_output=True)
        time.sleep(0.05)
    for message in [*MESSAGES[1:20], {"x": [0, 0], "y": 7}]:
        subprocess.run([*command, json.dumps(message)], check=True, capture_output=True)


def test_samples_of_a_redis_channel_are_predicted(start_server, start_recipe, tmp_path):
    for tool in ("redis-server", "redis-cli"):
        require_tool(tool)
    port = find_free_port()
    client_options = start_server(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1"], port
    )
    process = start_recipe("redis", "errors", ("-h redis", client_options))
    predictions = tmp_path / "answers.jsonl"
    command = ["redis-cli", *client_options.split(), "PUBLISH", "samples"]
    publish_samples(command, lambda: predictions.exists() and predictions.read_text())
    wait_for(lambda: 7 in read_labels(predictions), process)

    assert [message["y"] for message in MESSAGES[1:20]] == read_labels(predictions)[-20:-1]


def read_labels(path):
    """Return the labels in the complete lines of a file of predictions."""
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line)["label"] for line in lines]


def test_samples_of_an_mqtt_topic_are_predicted(start_server, start_recipe, tmp_path):
    for tool in ("mosquitto", "mosquitto_sub", "mosquitto_pub"):
        require_tool(tool)
    port = find_free_port()
    client_options = start_server(["mosquitto", "-p", str(port)], port)
    predictions = (tmp_path / "answers").open("w+")
    subscriber = subprocess.Popen(
        ["mosquitto_sub", *client_options.split(), "-t", "predictions"], stdout=predictions
    )
    process = start_recipe("mqtt", "errors", ("-h mqtt", client_options))
    path = tmp_path / "answers"
    command = ["mosquitto_pub", *client_options.split(), "-t", "samples", "-m"]
    publish_samples(command, path.read_text)
    wait_for(lambda: 7 in read_labels(path), process)
    subscriber.terminate()
    subscriber.wait(60)
    predictions.close()

    assert [message["y"] for message in MESSAGES[1:20]] == read_labels(path)[-20:-1]


def test_concurrent_tcp_connections_tear_no_line(start_recipe, tmp_path, report_figure):
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

    report_figure(f"8 connections over TCP: {8 * n:,} lines, none was torn")
    ids = [json.loads(line)["id"] for line in predictions.read_text().splitlines()]
    for writer in range(8):
        sent = [f"{writer}-{i}" for i in range(n)]
        assert [name for name in ids if name.startswith(f"{writer}-")] == sent
    assert len(ids) == 8 * n
