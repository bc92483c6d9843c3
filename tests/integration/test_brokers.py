"""The recipes for brokers in docs/pipes.md, run unchanged with real brokers on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest
from helpers import (
    count_samples,
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
